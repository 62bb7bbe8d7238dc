//! What a client costs, and that nothing of it stays: allocations and descriptors of this process, in one test
//! of its own because both are shared by all threads.
#![allow(unsafe_code, reason = "a global allocator is unsafe to implement")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use eio_monoio::client::{self, Client, Event};
use eio_monoio::{Config, Driver, Message, Running, Server, Transport};
use support::client::{WAYS, by, drivers, message, within};

/// The system's allocator, counting what this thread asks for.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(calls: u64, bytes: isize) {
    // A thread that ends has no counters any more.
    _ = CALLS.try_with(|counter| counter.set(counter.get() + calls));
    _ = BYTES.try_with(|counter| counter.set(counter.get() + bytes));
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(0, -(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as isize - layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_client_costs_little_and_leaves_nothing() {
    let config = Config::new().workers(1).driver(Driver::Epoll);
    let echo = eio_monoio::Server::new(echo).config(config).bind("127.0.0.1:0").expect("binds");
    let url = format!("http://{}", echo.local_addr());
    for driver in drivers() {
        no_message_allocates(driver, &url);
        let (polling, websocket) = (
            idle_memory(driver, &url, Transport::Polling),
            idle_memory(driver, &url, Transport::WebSocket),
        );
        println!("heap of an idle client, {driver}: polling {polling} B, WebSocket {websocket} B");
        assert!(polling < 8 * 1024, "{polling}");
        assert!(websocket < 4 * 1024, "{websocket}");
    }
    drop(echo);
    for driver in drivers() {
        nothing_stays(driver);
    }
}

/// See the trait for what is left out here.
struct Echo;

fn echo() -> Echo {
    Echo
}

impl eio_monoio::Handler for Echo {
    type Session = ();

    async fn connect(&self, _: &eio_monoio::ConnectRequest<'_>) -> Result<(), eio_monoio::Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &eio_monoio::Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        socket.try_send(message).ok();
        async {}
    }
}

fn no_message_allocates(driver: Driver, url: &str) {
    let (text, binary) = ("hello".repeat(20), [7; 3000]);
    let per_round = within(driver, async {
        let client = by(url, Some(Transport::WebSocket)).await.expect("connects");
        let round = async |rounds: usize| {
            for _ in 0..rounds {
                // Two at once, so that the queues see more than one.
                client.send(text.as_str()).await.expect("queued");
                client.send(&binary).await.expect("queued");
                for _ in 0..2 {
                    assert!(matches!(client.next().await, Some(Event::Message(_))));
                }
            }
        };
        round(200).await;
        let before = CALLS.get();
        round(1000).await;
        CALLS.get() - before
    });
    println!("allocations in 2000 messages each way, {driver}: {per_round}");
    // Timers of the runtime may come due meanwhile: a handful, whatever the number of messages.
    assert!(per_round < 20, "{per_round} allocations in 2000 messages each way");
}

/// Bytes of heap that one more idle client takes.
fn idle_memory(driver: Driver, url: &str, transport: Transport) -> isize {
    const CLIENTS: isize = 100;
    within(driver, async {
        let mut clients = Vec::with_capacity(2 * CLIENTS as usize);
        // The first ones make the core grow what they share.
        for _ in 0..CLIENTS {
            clients.push(by(url, Some(transport)).await.expect("connects"));
        }
        client::sleep(Duration::from_millis(200)).await;
        let before = BYTES.get();
        for _ in 0..CLIENTS {
            clients.push(by(url, Some(transport)).await.expect("connects"));
        }
        client::sleep(Duration::from_millis(200)).await;
        (BYTES.get() - before) / CLIENTS
    })
}

fn open_files() -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir("/proc/self/fd").expect("there is a /proc");
    files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok()).collect()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("there is a /proc").count()
}

/// Clients that die at each of their awaits, whatever they were doing.
fn nothing_stays(driver: Driver) {
    let deaf = TcpListener::bind("127.0.0.1:0").expect("binds");
    let deaf = format!("http://{}", deaf.local_addr().expect("an address"));
    let outside = descriptors();
    let (server, url) = local_server();
    for living_or_deaf in [&url, &deaf] {
        for way in WAYS {
            on_a_core(driver, &url, async |before| {
                for polls in 0..25 {
                    let life = async {
                        let client = by(living_or_deaf, way).await?;
                        client.send("hello").await.ok();
                        message(&client).await;
                        client.send("world").await.ok();
                        client.disconnect().await;
                        client.reconnect().await
                    };
                    dies_after(polls, Box::pin(life)).await;
                    settled(before).await;
                }
            });
        }
    }
    on_a_core(driver, &url, async |before| {
        // In the middle of the TLS handshake; without the feature that fails before there is a connection.
        let silent_tls = deaf.replace("http://", "https://");
        for polls in 0..6 {
            dies_after(polls, Box::pin(async { by(&silent_tls, None).await })).await;
            settled(before).await;
        }
        // A client that is being resolved, and one that never gets an answer.
        for polls in 0..4 {
            dies_after(polls, Box::pin(async { by("http://localhost:1", None).await })).await;
        }
        settled(before).await;
    });
    on_a_core(driver, &url, async |mut before| {
        // Servers that refuse, cheat and vanish, the last one in the middle of an upgrade.
        for answer in MISBEHAVIOUR {
            let url = misbehaving(answer);
            for way in WAYS {
                let connected = by(&url, way).upgrade_timeout(Duration::from_millis(100)).await;
                if let Ok(client) = connected {
                    while !matches!(client.next().await, None | Some(Event::UpgradeFailed(_))) {}
                }
            }
            // The listener, in its thread, stays.
            before += 1;
            settled(before).await;
        }
    });
    // The server's side of the last ones may still be closing.
    drop(server);
    let outside = outside + MISBEHAVIOUR.len();
    for _ in 0..100 {
        if descriptors() <= outside {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{:?}, {outside} before", open_files());
}

/// Runs this on a core that has opened whatever a core opens once, with the number of descriptors by then.
fn on_a_core(driver: Driver, url: &str, test: impl AsyncFnOnce(usize)) {
    within(driver, async {
        drop(Client::connect(url).await.expect("connects"));
        client::sleep(Duration::from_millis(500)).await;
        test(descriptors()).await;
    });
}

const MISBEHAVIOUR: [&[u8]; 7] = [
    b"",
    b"garbage\r\n\r\n",
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0{",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n0{}",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 82\r\n\r\n0{\"sid\":\"a\",\"upgrades\":[\"websocket\"],\"pingInterval\":9000,\"pingTimeout\":9000,\"x\":1}",
];

/// A server that answers what may begin a session with this, and resets every connection.
fn misbehaving(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // A client may be gone at any time.
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            if !String::from_utf8_lossy(&request[..read]).contains("sid=") {
                _ = stream.write_all(answer);
            }
            _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    });
    url
}

fn local_server() -> (Running, String) {
    let config = Config::new().workers(1).driver(Driver::Epoll);
    let running = Server::new(echo).config(config).bind("127.0.0.1:0").expect("binds");
    let url = format!("http://{}", running.local_addr());
    (running, url)
}

/// Drops a future when it was polled so often, or was not woken for a while.
async fn dies_after<F: Future>(polls: usize, future: Pin<Box<F>>) {
    let mut future = Some(future);
    let mut left = polls;
    let mut patience = Box::pin(client::sleep(Duration::from_millis(50)));
    poll_fn(|cx| {
        let patient = patience.as_mut().poll(cx).is_pending();
        let Some(living) = &mut future else { return Poll::Ready(()) };
        if left == 0 || !patient || living.as_mut().poll(cx).is_ready() {
            future = None;
            return Poll::Ready(());
        }
        left -= 1;
        Poll::Pending
    })
    .await;
}

/// Waits until there are no more descriptors than that.
async fn settled(limit: usize) {
    for _ in 0..100 {
        if descriptors() <= limit {
            return;
        }
        client::sleep(Duration::from_millis(20)).await;
    }
    panic!("{:?}, expected {limit}", open_files());
}
