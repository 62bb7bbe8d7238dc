//! The memory of a client: no allocation for a message, little for an idle client, and no leak of descriptors.

use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use eio_monoio::client::{self, Client, Event};
use eio_monoio::{Driver, Running, Server, Transport};

use crate::allocator;
use crate::support::client::{TRANSPORTS, block_on, connect_over, next_message, websocket};
use crate::support::configs::epoll_config;
use crate::support::echo::Echo;
use crate::support::own_process;

#[test]
fn client_memory_is_bounded_and_released() {
    let test = "client_memory_is_bounded_and_released";
    own_process::for_each_driver(module_path!(), test, |driver| {
        let (server, url) = start_server();
        messages_do_not_allocate(driver, &url);
        let polling = idle_memory(driver, &url, Transport::Polling);
        let websocket = idle_memory(driver, &url, Transport::WebSocket);
        println!("heap of an idle client, {driver}: polling {polling} B, WebSocket {websocket} B");
        assert!(polling < 8 * 1024, "{polling}");
        assert!(websocket < 4 * 1024, "{websocket}");
        drop(server);
        descriptors_are_closed(driver);
    });
}

fn start_server() -> (Running, String) {
    let server = Server::new(Echo::<()>::new).config(epoll_config());
    let running = server.bind("127.0.0.1:0").expect("the server starts");
    let url = format!("http://{}", running.local_addr());
    (running, url)
}

fn messages_do_not_allocate(driver: Driver, url: &str) {
    let (text, binary) = ("hello".repeat(20), [7; 3000]);
    let calls = block_on(driver, async {
        let client = websocket(url).await.expect("connects");
        let exchange = async |rounds: usize| {
            for _ in 0..rounds {
                // Two at once, so that the queues hold more than one.
                client.send(text.as_str()).await.expect("queued");
                client.send(&binary).await.expect("queued");
                for _ in 0..2 {
                    assert!(matches!(client.next().await, Some(Event::Message(_))));
                }
            }
        };
        exchange(200).await;
        let before = allocator::calls_of_thread();
        exchange(1000).await;
        allocator::calls_of_thread() - before
    });
    println!("allocations in 2000 messages in each direction, {driver}: {calls}");
    // Timers of the runtime may expire: a few allocations, independent of the number of messages.
    assert!(calls < 20, "{calls} allocations in 2000 messages in each direction");
}

/// Bytes of heap for one more idle client.
fn idle_memory(driver: Driver, url: &str, transport: Transport) -> isize {
    const CLIENTS: isize = 100;
    block_on(driver, async {
        let mut clients = Vec::with_capacity(2 * CLIENTS as usize);
        // The first clients make the worker grow its shared memory.
        for _ in 0..CLIENTS {
            clients.push(connect_over(url, Some(transport)).await.expect("connects"));
        }
        client::sleep(Duration::from_millis(200)).await;
        let before = allocator::live_bytes_of_thread();
        for _ in 0..CLIENTS {
            clients.push(connect_over(url, Some(transport)).await.expect("connects"));
        }
        client::sleep(Duration::from_millis(200)).await;
        (allocator::live_bytes_of_thread() - before) / CLIENTS
    })
}

fn open_files() -> Vec<PathBuf> {
    let files = std::fs::read_dir("/proc/self/fd").expect("the list of descriptors");
    files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok()).collect()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("the list of descriptors").count()
}

/// Drops clients at each of their awaits, in every state.
fn descriptors_are_closed(driver: Driver) {
    let silent = TcpListener::bind("127.0.0.1:0").expect("binds");
    let silent = format!("http://{}", silent.local_addr().expect("an address"));
    let before = descriptors();
    let (server, url) = start_server();
    for target in [&url, &silent] {
        for transport in TRANSPORTS {
            on_a_runtime(driver, &url, async |limit| {
                drop_everywhere(25, limit, || async {
                    let client = connect_over(target, transport).await?;
                    client.send("hello").await.ok();
                    next_message(&client).await;
                    client.send("world").await.ok();
                    client.disconnect().await;
                    client.reconnect().await
                })
                .await;
            });
        }
    }
    on_a_runtime(driver, &url, async |limit| {
        // During the TLS handshake; without the feature the client fails before it connects.
        let silent_tls = silent.replace("http://", "https://");
        drop_everywhere(6, limit, || async { connect_over(&silent_tls, None).await }).await;
        // During name resolution, and after a refused connection.
        drop_everywhere(4, limit, || async { connect_over("http://localhost:1", None).await })
            .await;
    });
    on_a_runtime(driver, &url, async |mut limit| {
        for answer in INVALID_ANSWERS {
            let url = start_with_answer(answer);
            for transport in TRANSPORTS {
                let connect = connect_over(&url, transport);
                let connected = connect.upgrade_timeout(Duration::from_millis(100)).await;
                if let Ok(client) = connected {
                    while !matches!(client.next().await, None | Some(Event::UpgradeFailed(_))) {}
                }
            }
            // The listener stays open in its thread.
            limit += 1;
            wait_for_descriptors(limit).await;
        }
    });
    drop(server);
    // The server may close its last connections a moment later.
    let limit = before + INVALID_ANSWERS.len();
    for _ in 0..100 {
        if descriptors() <= limit {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("{:?}, {limit} before", open_files());
}

/// Runs `test` on a runtime that has opened the descriptors that it opens once, with their number.
fn on_a_runtime(driver: Driver, url: &str, test: impl AsyncFnOnce(usize)) {
    block_on(driver, async {
        drop(Client::connect(url).await.expect("connects"));
        let (mut open, mut unchanged) = (descriptors(), 0);
        while unchanged < 10 {
            client::sleep(Duration::from_millis(10)).await;
            unchanged = if descriptors() == open { unchanged + 1 } else { 0 };
            open = descriptors();
        }
        test(open).await;
    });
}

/// The answers of servers that refuse, break the protocol and reset, the last one during an upgrade.
const INVALID_ANSWERS: [&[u8]; 7] = [
    b"",
    b"garbage\r\n\r\n",
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0{",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n0{}",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 82\r\n\r\n0{\"sid\":\"a\",\"upgrades\":[\"websocket\"],\"pingInterval\":9000,\"pingTimeout\":9000,\"x\":1}",
];

/// A server that answers handshakes with `answer` and resets every connection.
fn start_with_answer(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // The client may close at any time.
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

/// Drops the future of `make` after no poll, after one, and so on up to `most`; each time all its descriptors must be
/// closed.
async fn drop_everywhere<F: Future>(most: usize, limit: usize, make: impl Fn() -> F) {
    let mut uncut = 0;
    for polls in 0..most {
        let was_cut = drop_after(polls, Box::pin(make())).await;
        wait_for_descriptors(limit).await;
        uncut = if was_cut { 0 } else { uncut + 1 };
        // With more polls the future would end in the same way.
        if uncut == 2 {
            break;
        }
    }
}

/// Drops a future after it was polled `polls` times, which is `true`, or after it completed or was not woken for a while.
async fn drop_after<F: Future>(polls: usize, future: Pin<Box<F>>) -> bool {
    let mut future = Some(future);
    let mut left = polls;
    let mut idle = Box::pin(client::sleep(Duration::from_millis(50)));
    poll_fn(|cx| {
        let is_idle = idle.as_mut().poll(cx).is_ready();
        let Some(running) = &mut future else { return Poll::Ready(false) };
        if left > 0 && !is_idle && running.as_mut().poll(cx).is_pending() {
            left -= 1;
            return Poll::Pending;
        }
        let was_cut = left == 0;
        future = None;
        Poll::Ready(was_cut)
    })
    .await
}

/// Waits until there are at most `limit` descriptors.
async fn wait_for_descriptors(limit: usize) {
    for _ in 0..100 {
        if descriptors() <= limit {
            return;
        }
        client::sleep(Duration::from_millis(20)).await;
    }
    panic!("{:?}, expected {limit}", open_files());
}
