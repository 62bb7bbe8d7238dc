//! Handlers that await work of other threads: channels, another runtime, locks. Each answer arrives when the work is
//! done, and no misuse ends more than its session.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use eio_monoio::{
    ConnectRequest, Handler, Message, OwnedMessage, Refusal, Socket, blocking, sleep,
};

use crate::support::configs::{default_config, for_each_config};
use crate::support::test_server::TestServer;
use crate::support::websocket::WebSocket;

/// How long the work of the other thread takes.
const WORK: Duration = Duration::from_millis(20);

/// A runtime of another kind in the same process.
fn tokio() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().expect("a runtime")
    })
}

/// Runs `work` on a thread of its own after [`WORK`].
fn on_a_thread(work: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        thread::sleep(WORK);
        work();
    });
}

/// The ways to await, by name; each ends with a text.
async fn run(way: &str) -> String {
    match way {
        "tokio oneshot" => {
            let (tx, rx) = tokio::sync::oneshot::channel();
            on_a_thread(move || tx.send("sent").expect("the receiver waits"));
            rx.await.expect("a value").to_owned()
        }
        "futures oneshot" => {
            let (tx, rx) = futures_channel::oneshot::channel();
            on_a_thread(move || tx.send("sent").expect("the receiver waits"));
            rx.await.expect("a value").to_owned()
        }
        "tokio mpsc" => {
            let (tx, mut rx) = tokio::sync::mpsc::channel(1);
            on_a_thread(move || tx.blocking_send("sent").expect("the receiver waits"));
            rx.recv().await.expect("a value").to_owned()
        }
        "flume" => {
            let (tx, rx) = flume::bounded(1);
            on_a_thread(move || tx.send("sent").expect("the receiver waits"));
            rx.recv_async().await.expect("a value").to_owned()
        }
        "spawn on a runtime" => {
            let task = tokio().spawn(async {
                tokio::time::sleep(WORK).await;
                "spawned"
            });
            task.await.expect("a value").to_owned()
        }
        "spawn_blocking of a runtime" => {
            let work = || {
                thread::sleep(WORK);
                "blocked"
            };
            tokio().spawn_blocking(work).await.expect("a value").to_owned()
        }
        "HTTP by a runtime" => tokio().spawn(http_get()).await.expect("a response"),
        "shared lock" => shared_lock().await,
        "entered runtime" => {
            let _entered = tokio().enter();
            tokio::time::sleep(WORK).await;
            "slept".to_owned()
        }
        "blocking" => {
            let work = || {
                thread::sleep(WORK);
                "blocked"
            };
            blocking(work).await.to_owned()
        }
        "own timer" => {
            sleep(WORK).await;
            "slept".to_owned()
        }
        "polled by hand" => polled_by_hand().await,
        other => panic!("unknown way {other}"),
    }
}

/// Waits for a lock that another thread holds.
async fn shared_lock() -> String {
    static LOCK: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let (tx, rx) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let _held = LOCK.blocking_lock();
        tx.send(()).expect("the handler waits");
        thread::sleep(WORK);
    });
    rx.recv().expect("the lock is held");
    let _held = LOCK.lock().await;
    "locked".to_owned()
}

/// Keeps the waker of a poll where another thread finds it.
async fn polled_by_hand() -> String {
    let slot: Arc<Mutex<(bool, Option<Waker>)>> = Arc::default();
    let other = slot.clone();
    on_a_thread(move || {
        let mut slot = other.lock().unwrap();
        slot.0 = true;
        if let Some(waker) = slot.1.take() {
            waker.wake();
        }
    });
    poll_fn(|cx| {
        let mut slot = slot.lock().unwrap();
        slot.1 = Some(cx.waker().clone());
        if slot.0 { Poll::Ready("woken".to_owned()) } else { Poll::Pending }
    })
    .await
}

const WAYS: [&str; 12] = [
    "tokio oneshot",
    "futures oneshot",
    "tokio mpsc",
    "flume",
    "spawn on a runtime",
    "spawn_blocking of a runtime",
    "HTTP by a runtime",
    "shared lock",
    "entered runtime",
    "blocking",
    "own timer",
    "polled by hand",
];

/// A GET of a server that answers after [`WORK`].
async fn http_get() -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        // Unread input would turn the close into a reset.
        let mut request = [0; 18];
        socket.read_exact(&mut request).await.expect("a request");
        tokio::time::sleep(WORK).await;
        socket.write_all(b"HTTP/1.0 200 OK\r\n\r\nfetched").await.expect("the client reads");
    });
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("a connection");
    socket.write_all(b"GET / HTTP/1.0\r\n\r\n").await.expect("the server reads");
    let mut response = String::new();
    socket.read_to_string(&mut response).await.expect("a response");
    response.split("\r\n\r\n").nth(1).expect("a body").to_owned()
}

/// Runs what a message names and answers with the outcome.
struct Awaiting;

impl Handler for Awaiting {
    type Session = ();

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<(), Refusal> {
        if request.query("wait").is_some() {
            assert_eq!(run("tokio oneshot").await, "sent");
        }
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        let (socket, message) = (socket.clone(), OwnedMessage::from(message));
        async move {
            let Message::Text(way) = message.borrow() else { return };
            let answer = match misuse(way) {
                Some(misuse) => misuse.await,
                None => run(way).await,
            };
            socket.send(answer.as_str()).await.ok();
        }
    }
}

type Misuse = Pin<Box<dyn Future<Output = String>>>;

/// Mistakes that an application may make.
fn misuse(name: &str) -> Option<Misuse> {
    Some(match name {
        "sender dropped" => Box::pin(async {
            let (tx, rx) = tokio::sync::oneshot::channel::<()>();
            on_a_thread(move || drop(tx));
            format!("{}", rx.await.is_err())
        }),
        "panic in the other thread" => Box::pin(async {
            let task = tokio().spawn(async { panic!("expected: this test panics") });
            format!("{}", task.await.is_err_and(|error| error.is_panic()))
        }),
        "panic in blocking" => {
            Box::pin(async { blocking(|| panic!("expected: this test panics")).await })
        }
        "timer without its runtime" => Box::pin(async {
            tokio::time::sleep(WORK).await;
            String::new()
        }),
        "runtime blocked on" => Box::pin(async { tokio().block_on(async { "waited".to_owned() }) }),
        "waker kept for ever" => Box::pin(async {
            poll_fn(|cx| {
                let waker = cx.waker().clone();
                thread::spawn(move || {
                    for _ in 0..1000 {
                        waker.wake_by_ref();
                        thread::yield_now();
                    }
                });
                Poll::Ready(())
            })
            .await;
            "ready".to_owned()
        }),
        "waker dropped on another thread" => Box::pin(async {
            let polls = AtomicBool::new(false);
            poll_fn(|cx| {
                let waker = cx.waker().clone();
                let first = !polls.swap(true, Ordering::Relaxed);
                thread::spawn(move || if first { waker.wake() } else { drop(waker) });
                if first { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            "dropped".to_owned()
        }),
        _ => return None,
    })
}

#[test]
fn handler_awaits_work_of_other_threads() {
    for_each_config(|config| {
        let server = TestServer::run(config, |_| Awaiting);
        let (mut socket, _) = WebSocket::open(server.addr());
        for way in WAYS {
            let begun = Instant::now();
            socket.send(&format!("4{way}"));
            let answer = socket.text();
            assert!(answer.starts_with('4') && answer.len() > 1, "{way}: {answer}");
            // Far above the work itself, and below what only another message would wake.
            assert!(begun.elapsed() < Duration::from_secs(10), "{way}");
        }
    });
}

#[test]
fn connect_awaits_work_of_other_threads() {
    let server = TestServer::run(default_config(), |_| Awaiting);
    let target = "/engine.io/?EIO=4&transport=websocket&wait=1";
    let mut socket = WebSocket::connect(server.addr(), target);
    assert!(socket.text().starts_with('0'));
    socket.send("4own timer");
    assert_eq!(socket.text(), "4slept");
}

#[test]
fn misuse_ends_no_more_than_its_session() {
    for_each_config(|config| {
        let server = TestServer::run(config, |_| Awaiting);
        let (mut bystander, _) = WebSocket::open(server.addr());
        for (name, answer) in [
            ("sender dropped", Some("4true")),
            ("panic in the other thread", Some("4true")),
            ("panic in blocking", None),
            ("timer without its runtime", None),
            ("runtime blocked on", Some("4waited")),
            ("waker kept for ever", Some("4ready")),
            ("waker dropped on another thread", Some("4dropped")),
        ] {
            let (mut socket, _) = WebSocket::open(server.addr());
            socket.send(&format!("4{name}"));
            match answer {
                Some(answer) => assert_eq!(socket.text(), answer, "{name}"),
                // RFC 6455 7.4.1: 1011, a server error.
                None => {
                    assert_eq!(socket.text(), "1", "{name}");
                    assert_eq!(socket.expect_close(), Some(1011), "{name}");
                }
            }
            bystander.send("4own timer");
            assert_eq!(bystander.text(), "4slept", "after {name}");
        }
    });
}

#[test]
fn ten_thousand_awaits_at_once_all_end() {
    /// Awaits of each message.
    const AWAITS: usize = 100;

    struct Many;

    impl Handler for Many {
        type Session = ();

        async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
            Ok(())
        }

        fn message<'s>(
            &'s self,
            socket: &Socket<()>,
            _: Message<'_>,
        ) -> impl Future<Output = ()> + use<'s> {
            let socket = socket.clone();
            async move {
                let wait = |n| {
                    tokio().spawn(async move {
                        tokio::time::sleep(WORK).await;
                        n
                    })
                };
                let tasks: Vec<_> = (0..AWAITS).map(wait).collect();
                let mut sum = 0;
                for task in tasks {
                    sum += task.await.expect("a value");
                }
                socket.send(sum.to_string().as_str()).await.ok();
            }
        }
    }

    for_each_config(|config| {
        let server = TestServer::run(config, |_| Many);
        let mut sockets: Vec<_> = (0..100).map(|_| WebSocket::open(server.addr()).0).collect();
        sockets.iter_mut().for_each(|socket| socket.send("4go"));
        for socket in &mut sockets {
            assert_eq!(socket.text(), format!("4{}", AWAITS * (AWAITS - 1) / 2));
        }
    });
}
