//! Tasks beside the handlers: they run, they can be cancelled, they hold nothing up, and they end with the server.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::app::{App, Host, Log, eventually};
use crate::support::matrix::{everywhere, somewhere};
use crate::support::wire::{Polling, WebSocket};
use eio_monoio::{
    Config, ConnectRequest, Handler, Message, OwnedMessage, Refusal, SendError, Server, Socket,
    Task, sleep, spawn,
};

/// Says after 20 ms in a task what it was told, but obeys `cancel`, `panic` and `forever`.
struct Later {
    log: Log,
}

/// Notes that it was dropped.
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
                Message::Text("panic") => panic!("as told"),
                Message::Text("cancel" | "forever") => std::future::pending::<()>().await,
                _ => sleep(Duration::from_millis(20)).await,
            }
            socket.try_send(&text).expect("room");
            text.borrow().len()
        });
        let log = self.log.clone();
        async move {
            match message.borrow() {
                // Dropped here, it runs on.
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
fn a_task_never_runs_twice_nor_after_it_was_cancelled() {
    everywhere(|config| {
        let host = Host::run(config, |log| Later { log: log.clone() });
        let (mut socket, _) = WebSocket::open(host.addr());
        for (told, ended) in [("later", "Some(5)"), ("cancel", "None"), ("panic", "None")] {
            let before = host.log.notes().len();
            socket.send(&format!("4{told}"));
            if told == "later" {
                assert_eq!(socket.text(), "4later");
            }
            eventually("the end of the task", || host.log.notes().len() == before + 2);
            assert_eq!(host.log.notes()[before..], ["dropped", ended], "{told}");
        }
        // Neither the panic nor the cancelled task was the session's end.
        socket.send("4still here");
        assert_eq!(socket.text(), "4still here");
    });
}

#[test]
fn a_task_never_holds_up_the_end_of_the_server_and_never_outlives_it() {
    everywhere(|config| {
        let log = Log::default();
        let (theirs, made) = (log.clone(), log.clone());
        let make = move || {
            let dropped = Dropped(made.clone(), "of a worker");
            // The application may spawn as soon as it is made.
            spawn(async move {
                let _dropped = dropped;
                loop {
                    sleep(Duration::from_millis(5)).await;
                }
            });
            Later { log: theirs.clone() }
        };
        let workers =
            if thread::current().name().is_some_and(|n| n.ends_with('3')) { 3 } else { 1 };
        // A day, so that a shutdown that waits for tasks is seen to.
        let config = config.shutdown_timeout(Duration::from_secs(86_400));
        let running = Server::new(make).config(config).bind("127.0.0.1:0").expect("a server");
        let mut polling = Polling::open(running.local_addr());
        polling.say("4forever");
        let dropped = Dropped(log.clone(), "of a thread");
        running.remote().spawn(move || async move {
            let _dropped = dropped;
            std::future::pending::<()>().await;
        });
        polling.say("4later");
        assert_eq!(polling.poll(), "4later");
        running.shutdown();
        running.join().expect("an orderly end");
        let notes = log.notes();
        let count = |what: &str| notes.iter().filter(|note| *note == what).count();
        assert_eq!(count("of a worker"), workers);
        assert_eq!((count("of a thread"), count("dropped")), (1, 2));
    });
}

#[test]
fn a_job_of_another_thread_never_stays_on_that_thread() {
    let host = Host::start(somewhere());
    let (mut socket, sid) = WebSocket::open(host.addr());
    let (done, names) = std::sync::mpsc::channel();
    for n in 0..4 {
        let (done, remote, sid) = (done.clone(), host.remote(), sid.parse().expect("a sid"));
        host.remote().spawn(move || async move {
            sleep(Duration::from_millis(1)).await;
            let name = thread::current().name().map(str::to_owned);
            done.send(name.expect("a worker has a name")).expect("the test listens");
            assert_ne!(n, 2, "as told");
            remote.send(&sid, "done").expect("room");
        });
    }
    host.remote().spawn(|| -> std::future::Ready<()> { panic!("as told") });
    let mut seen: Vec<_> =
        (0..4).map(|_| names.recv_timeout(Duration::from_secs(20)).expect("a job")).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["eio-0", "eio-0", "eio-1", "eio-1"]);
    (0..3).for_each(|_| assert_eq!(socket.text(), "4done"));
    socket.assert_alive();
}

#[test]
fn a_job_for_a_server_that_has_ended_is_never_kept() {
    let log = Log::default();
    let theirs = log.clone();
    let running = Server::new(move || App::new(&theirs))
        .config(Config::new().workers(1))
        .bind("127.0.0.1:0")
        .expect("a server");
    let remote = running.remote();
    running.shutdown();
    running.join().expect("an orderly end");
    let dropped = Dropped(log.clone(), "dropped");
    remote.spawn(move || async move {
        let _dropped = dropped;
    });
    assert_eq!(log.notes(), ["dropped"]);
}

/// Blocks its core at the text `block`, until the gate opens.
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
fn what_waits_for_a_core_that_is_behind_never_fills_the_memory() {
    everywhere(|config| {
        let gate = Arc::new(Mutex::new(()));
        let theirs = gate.clone();
        let config = config.workers(1).mailbox_high_water(10_000);
        let host =
            Host::run(config, move |log| Blocking { log: log.clone(), gate: theirs.clone() });
        let remote = host.remote();
        let (mut socket, sid) = WebSocket::open(host.addr());
        let sid = sid.parse().expect("a sid");
        let closed = gate.lock().expect("nobody panicked");
        socket.send("4block");
        eventually("a core that is behind", || host.log.notes() == ["blocked"]);
        let news = "x".repeat(1000);
        let taken = (0..100).find(|_| remote.send(&sid, news.as_str()) == Err(SendError::Full));
        // Each counts 64 bytes more than it has, and the last one may overshoot.
        assert_eq!(taken, Some(10));
        assert_eq!(remote.broadcast("to all"), Err(SendError::Full));
        assert_eq!(remote.send_many([sid.clone()], "to some"), Err(SendError::Full));
        // Orders that are no messages are taken.
        remote.spawn({
            let (remote, sid) = (host.remote(), sid.clone());
            move || async move { remote.send(&sid, "behind").expect("room") }
        });
        drop(closed);
        (0..10).for_each(|_| assert_eq!(socket.text(), format!("4{news}")));
        assert_eq!(socket.text(), "4behind");
    });
}
