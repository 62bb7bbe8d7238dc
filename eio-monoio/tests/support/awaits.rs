//! Ways to await the work of other threads (channels, another runtime, locks), and ways to do it wrong.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use eio_monoio::{blocking, sleep};

/// How long the work of the other thread takes.
pub(crate) const WORK: Duration = Duration::from_millis(20);

/// A runtime of another kind in the same process.
pub(crate) fn tokio() -> &'static tokio::runtime::Runtime {
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
pub(crate) async fn run(way: &str) -> String {
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

pub(crate) const WAYS: [&str; 12] = [
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

pub(crate) type Misuse = Pin<Box<dyn Future<Output = String>>>;

/// Mistakes that an application may make.
pub(crate) fn misuse(name: &str) -> Option<Misuse> {
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

/// The misuses, each with its answer; `None`: the task that does it panics.
pub(crate) const MISUSES: [(&str, Option<&str>); 7] = [
    ("sender dropped", Some("true")),
    ("panic in the other thread", Some("true")),
    ("panic in blocking", None),
    ("timer without its runtime", None),
    ("runtime blocked on", Some("waited")),
    ("waker kept for ever", Some("ready")),
    ("waker dropped on another thread", Some("dropped")),
];

/// Awaits `count` tasks of another runtime at once; the sum of their numbers.
pub(crate) async fn await_many(count: usize) -> usize {
    let wait = |n| {
        tokio().spawn(async move {
            tokio::time::sleep(WORK).await;
            n
        })
    };
    let tasks: Vec<_> = (0..count).map(wait).collect();
    let mut sum = 0;
    for task in tasks {
        sum += task.await.expect("a value");
    }
    sum
}
