//! A drain: readiness is false first, then sessions close evenly over a time, and then the server shuts down.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use eio_monoio::{CloseReason, Config, ConnectRequest, Handler, Message, Refusal, Server, Socket};

use crate::support::configs::for_each_config;
use crate::support::connection::Connection;
use crate::support::polling::Polling;
use crate::support::request::{POLLING, Request};
use crate::support::websocket::WebSocket;

/// Longer than a test waits.
const LONG: Duration = Duration::from_secs(60);

/// Keeps the time of each disconnect callback.
struct Timing {
    closed: Arc<Mutex<Vec<Instant>>>,
}

impl Handler for Timing {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        // Echoes five times, so that messages are queued when the session closes.
        (0..5).for_each(|_| socket.try_send(message).expect("the queue has room"));
        async {}
    }

    async fn disconnect(&self, _: &Socket<()>, reason: CloseReason) {
        assert_eq!(reason, CloseReason::ServerDisconnect);
        self.closed.lock().expect("no panic").push(Instant::now());
    }
}

fn start(config: Config) -> (eio_monoio::Running, Arc<Mutex<Vec<Instant>>>) {
    let closed = Arc::new(Mutex::new(Vec::new()));
    let shared = closed.clone();
    let server = Server::new(move || Timing { closed: shared.clone() });
    (server.config(config).bind("127.0.0.1:0").expect("the server starts"), closed)
}

#[test]
fn sessions_close_evenly_over_the_drain_time() {
    const WEBSOCKETS: usize = 900;
    const POLLING_SESSIONS: usize = 100;
    const SESSIONS: usize = WEBSOCKETS + POLLING_SESSIONS;
    const SLICES: usize = 4;
    /// 1.2 times the share of a slice is 400 ms more than the slice: a worker may be late by that.
    const SLICE: Duration = Duration::from_secs(2);
    const WAIT: Duration = Duration::from_millis(200);
    for_each_config(|config| {
        let config = config.drain_wait(WAIT).drain_time(SLICE * SLICES as u32);
        let (running, closed) = start(config.shutdown_grace(LONG).shutdown_timeout(LONG));
        let addr = running.local_addr();
        let mut sockets: Vec<_> = (0..WEBSOCKETS).map(|_| WebSocket::open(addr).0).collect();
        let mut polling: Vec<_> = (0..POLLING_SESSIONS).map(|_| Polling::open(addr)).collect();
        polling.iter_mut().for_each(Polling::start_poll);
        let remote = running.remote();
        assert!(remote.is_ready());

        let begun = Instant::now();
        running.drain();
        running.drain();
        assert!(!remote.is_ready());
        for socket in &mut sockets {
            assert_eq!((socket.text().as_str(), socket.expect_close()), ("1", Some(1001)));
        }
        for polling in &mut polling {
            assert_eq!(polling.poll_response(), "1");
        }
        drop((sockets, polling));
        running.join().expect("a clean shutdown");

        let closed = closed.lock().expect("no panic");
        assert_eq!(closed.len(), SESSIONS);
        let mut slices = [0; SLICES];
        for at in &*closed {
            let since = at.duration_since(begun).checked_sub(WAIT).expect("not before the wait");
            slices[(since.as_millis() / SLICE.as_millis()).min(SLICES as u128 - 1) as usize] += 1;
        }
        let most = SESSIONS as f64 / SLICES as f64 * 1.2;
        assert!(slices.iter().all(|count| f64::from(*count) <= most), "{slices:?}");
    });
}

#[test]
fn each_session_closes_after_its_queue() {
    for_each_config(|config| {
        let config = config.drain_time(Duration::from_millis(100));
        let (running, _) = start(config.shutdown_grace(LONG).shutdown_timeout(LONG));
        let (mut socket, _) = WebSocket::open(running.local_addr());
        let mut polling = Polling::open(running.local_addr());
        socket.send("4hello");
        polling.post_ok("4hello");
        running.drain();
        for _ in 0..5 {
            assert_eq!(socket.text(), "4hello");
        }
        assert_eq!((socket.text().as_str(), socket.expect_close()), ("1", Some(1001)));
        let (messages, close) = (["4hello"; 5].join("\u{1e}"), "\u{1e}1");
        // The poll may come before the close.
        let body = polling.poll();
        if body == messages {
            assert_eq!(polling.poll(), "1");
        } else {
            assert_eq!(body, messages + close);
        }
        drop((socket, polling));
        running.join().expect("a clean shutdown");
    });
}

fn handshake(addr: SocketAddr) -> (u16, Option<String>) {
    let response = Connection::open(addr).request(&Request::get(POLLING));
    (response.status, response.header("Retry-After").map(str::to_owned))
}

#[test]
fn handshakes_are_accepted_while_a_drain_waits() {
    for_each_config(|config| {
        let (running, _) = start(config.drain_wait(LONG).shutdown_timeout(Duration::ZERO));
        let (mut socket, _) = WebSocket::open(running.local_addr());
        running.drain();
        assert!(!running.remote().is_ready());
        thread::sleep(Duration::from_millis(100));
        assert_eq!(handshake(running.local_addr()), (200, None));
        socket.send("4still here");
        assert_eq!(socket.text(), "4still here");
        // A shutdown ends the wait.
        running.shutdown();
        running.join().expect("a clean shutdown");
    });
}

#[test]
fn handshakes_are_refused_while_sessions_close() {
    for_each_config(|config| {
        let config = config.workers(1).drain_time(LONG).shutdown_timeout(Duration::ZERO);
        let (running, closed) = start(config);
        let sockets: Vec<_> = (0..600).map(|_| WebSocket::open(running.local_addr()).0).collect();
        running.drain();
        crate::support::wait::eventually("the first close", || {
            !closed.lock().expect("no panic").is_empty()
        });
        assert_eq!(handshake(running.local_addr()), (503, Some("1".into())));
        drop(sockets);
        // Nothing is left to close: the drain does not take its whole time.
        running.join().expect("a clean shutdown");
    });
}
