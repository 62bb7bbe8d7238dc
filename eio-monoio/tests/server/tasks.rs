//! Tasks that handlers and other threads spawn: they run once, can be cancelled and end with the server.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use eio_monoio::{
    Config, ConnectRequest, Handler, Message, OwnedMessage, Refusal, SendError, Server, Socket,
    Task, sleep, spawn,
};

use crate::support::app::App;
use crate::support::configs::{brief_shutdown, default_config, drivers, for_each_config};
use crate::support::log::Log;
use crate::support::polling::Polling;
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

/// Echoes after 20 ms in a task; `cancel`, `panic` and `forever` are commands for the task.
struct Later {
    log: Log,
}

/// Writes a note when it is dropped.
struct Dropped(Log, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

impl Handler for Later {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        let (socket, message) = (socket.clone(), OwnedMessage::from(message));
        let text = message.clone();
        let dropped = Dropped(self.log.clone(), "dropped");
        let task: Task<usize> = spawn(async move {
            let _dropped = dropped;
            match text.borrow() {
                Message::Text("panic") => panic!("expected: this test panics"),
                Message::Text("cancel" | "forever") => std::future::pending::<()>().await,
                _ => sleep(Duration::from_millis(20)).await,
            }
            socket.try_send(&text).expect("the queue has room");
            text.borrow().len()
        });
        let log = self.log.clone();
        async move {
            match message.borrow() {
                // Dropped here, the task continues.
                Message::Text("forever") => return,
                Message::Text("cancel") => {
                    assert!(!task.is_finished());
                    task.cancel();
                }
                _ => {}
            }
            log.note(&format!("{:?}", task.await));
        }
    }
}

#[test]
fn task_runs_once_and_not_after_cancellation() {
    for_each_config(|config| {
        let server = TestServer::run(config, |log| Later { log: log.clone() });
        let (mut socket, _) = WebSocket::open(server.addr());
        for (text, result) in [("later", "Some(5)"), ("cancel", "None"), ("panic", "None")] {
            let before = server.log.notes().len();
            socket.send(&format!("4{text}"));
            if text == "later" {
                assert_eq!(socket.text(), "4later");
            }
            eventually("the end of the task", || server.log.notes().len() == before + 2);
            assert_eq!(server.log.notes()[before..], ["dropped", result], "{text}");
        }
        // Neither the panic nor the cancelled task ends the session.
        socket.send("4still here");
        assert_eq!(socket.text(), "4still here");
    });
}

#[test]
fn tasks_are_dropped_at_shutdown() {
    for_each_config(|config| {
        let log = Log::default();
        let (shared, made) = (log.clone(), log.clone());
        let make = move || {
            let dropped = Dropped(made.clone(), "of a worker");
            // An application may spawn while it is created.
            spawn(async move {
                let _dropped = dropped;
                loop {
                    sleep(Duration::from_millis(5)).await;
                }
            });
            Later { log: shared.clone() }
        };
        let workers =
            if thread::current().name().is_some_and(|n| n.ends_with('3')) { 3 } else { 1 };
        // A day: a shutdown that waits for tasks does not end.
        let config = config.shutdown_timeout(Duration::from_secs(86_400));
        let running =
            Server::new(make).config(config).bind("127.0.0.1:0").expect("the server starts");
        let mut polling = Polling::open(running.local_addr());
        polling.post_ok("4forever");
        let dropped = Dropped(log.clone(), "of a thread");
        running.remote().spawn(move || async move {
            let _dropped = dropped;
            std::future::pending::<()>().await;
        });
        polling.post_ok("4later");
        assert_eq!(polling.poll(), "4later");
        running.shutdown();
        running.join().expect("a clean shutdown");
        let notes = log.notes();
        let count = |what: &str| notes.iter().filter(|note| *note == what).count();
        assert_eq!(count("of a worker"), workers);
        assert_eq!((count("of a thread"), count("dropped")), (1, 2));
    });
}

#[test]
fn remote_spawn_runs_on_a_worker() {
    let server = TestServer::start(default_config());
    let (mut socket, sid) = WebSocket::open(server.addr());
    let (done, names) = std::sync::mpsc::channel();
    for n in 0..4 {
        let (done, remote, sid) =
            (done.clone(), server.remote(), sid.parse().expect("a valid sid"));
        server.remote().spawn(move || async move {
            sleep(Duration::from_millis(1)).await;
            let name = thread::current().name().map(str::to_owned);
            done.send(name.expect("a worker has a name")).expect("the test receives");
            assert_ne!(n, 2, "expected: this test panics");
            remote.send(&sid, "done").expect("the queue has room");
        });
    }
    server.remote().spawn(|| -> std::future::Ready<()> { panic!("expected: this test panics") });
    let mut seen: Vec<_> =
        (0..4).map(|_| names.recv_timeout(Duration::from_secs(20)).expect("a task")).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["eio-0", "eio-0", "eio-1", "eio-1"]);
    (0..3).for_each(|_| assert_eq!(socket.text(), "4done"));
    socket.assert_alive();
}

#[test]
fn remote_spawn_on_a_stopped_server_drops_the_task() {
    let log = Log::default();
    let shared = log.clone();
    let running = Server::new(move || App::new(&shared))
        .config(default_config().workers(1))
        .bind("127.0.0.1:0")
        .expect("the server starts");
    let remote = running.remote();
    running.shutdown();
    running.join().expect("a clean shutdown");
    let dropped = Dropped(log.clone(), "dropped");
    remote.spawn(move || async move {
        let _dropped = dropped;
    });
    assert_eq!(log.notes(), ["dropped"]);
}

/// Blocks its worker at the text `block` until the gate opens.
struct Blocking {
    log: Log,
    gate: Arc<Mutex<()>>,
}

impl Handler for Blocking {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        _: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        if message == Message::Text("block") {
            self.log.note("blocked");
            drop(self.gate.lock());
        }
        async {}
    }
}

#[test]
fn mailbox_of_a_blocked_worker_is_bounded() {
    for_each_config(|config| {
        let gate = Arc::new(Mutex::new(()));
        let shared = gate.clone();
        let config = config.workers(1).mailbox_high_water(10_000);
        let server =
            TestServer::run(config, move |log| Blocking { log: log.clone(), gate: shared.clone() });
        let remote = server.remote();
        let (mut socket, sid) = WebSocket::open(server.addr());
        let sid = sid.parse().expect("a valid sid");
        let closed = gate.lock().expect("no panic");
        socket.send("4block");
        eventually("a blocked worker", || server.log.notes() == ["blocked"]);
        let text = "x".repeat(1000);
        let refused = (0..100).find(|_| remote.send(&sid, text.as_str()) == Err(SendError::Full));
        // Each message counts 64 bytes more than its length, and the last one may exceed the mark.
        assert_eq!(refused, Some(10));
        assert_eq!(remote.broadcast("to all"), Err(SendError::Full));
        assert_eq!(remote.send_many([sid.clone()], "to some"), Err(SendError::Full));
        // Tasks are accepted: the mark is for messages.
        remote.spawn({
            let (remote, sid) = (server.remote(), sid.clone());
            move || async move { remote.send(&sid, "last").expect("the queue has room") }
        });
        drop(closed);
        (0..10).for_each(|_| assert_eq!(socket.text(), format!("4{text}")));
        assert_eq!(socket.text(), "4last");
    });
}

/// Starts tasks that never let their worker idle, until `stopped`.
struct Restless {
    stopped: Arc<AtomicBool>,
}

impl Restless {
    /// Two tasks that wake each other.
    fn wake_each_other(&self) {
        let wakers = Rc::new(RefCell::new([None::<Waker>, None]));
        for n in 0..2 {
            let (wakers, stopped) = (wakers.clone(), self.stopped.clone());
            spawn(poll_fn(move |cx| {
                let mut wakers = wakers.borrow_mut();
                wakers[n] = Some(cx.waker().clone());
                if let Some(other) = &wakers[1 - n] {
                    other.wake_by_ref();
                }
                if stopped.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
            }));
        }
    }

    /// Each task spawns the next one.
    fn spawn_next(stopped: Arc<AtomicBool>) {
        if !stopped.load(Ordering::Relaxed) {
            spawn(async move { Self::spawn_next(stopped) });
        }
    }
}

impl Handler for Restless {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        match message {
            Message::Text("wake") => self.wake_each_other(),
            Message::Text("spawn") => Self::spawn_next(self.stopped.clone()),
            echo => socket.try_send(echo).expect("the queue has room"),
        }
        async {}
    }
}

#[test]
fn tasks_without_a_pause_do_not_starve_sessions_and_timers() {
    for command in ["4wake", "4spawn"] {
        for driver in drivers() {
            let stopped = Arc::<AtomicBool>::default();
            let shared = stopped.clone();
            let config = brief_shutdown(Config::new()).driver(driver).workers(1);
            let config = config.ping_interval(Duration::from_millis(50));
            let server = TestServer::run(config, move |_| Restless { stopped: shared.clone() });
            let served = thread::scope(|scope| {
                let served = scope.spawn(|| {
                    let (mut restless, _) = WebSocket::open(server.addr());
                    restless.send(command);
                    let (mut other, _) = WebSocket::open(server.addr());
                    for _ in 0..3 {
                        assert_eq!(other.text(), "2");
                        other.send("3");
                        other.send("4echo");
                        assert_eq!(other.text(), "4echo");
                    }
                });
                let served = served.join();
                // Also after a failure: the server could not end.
                stopped.store(true, Ordering::Relaxed);
                served
            });
            assert!(served.is_ok(), "{command}, {driver}");
        }
    }
}
