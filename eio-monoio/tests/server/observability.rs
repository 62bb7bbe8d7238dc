//! Times of handlers, the lag of workers and the log of refusals, as an operator reads them.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use eio_monoio::{
    Config, ConnectRequest, Driver, Handler, HandlerCall, Message, Refusal, Server, Socket,
    Transport,
};

use crate::support::configs::{default_config, for_each_config};
use crate::support::connection::Connection;
use crate::support::own_process;
use crate::support::polling::Polling;
use crate::support::prometheus::parse;
use crate::support::request::{POLLING, Request, target};
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

/// Echoes; `wait N` awaits and `block N` blocks the worker for N milliseconds before.
struct Slow;

impl Handler for Slow {
    type Session = ();

    async fn connect(&self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        let (socket, mut wait) = (socket.clone(), Duration::ZERO);
        if let Message::Text(text) = message
            && let Some((verb, millis)) = text.split_once(' ')
        {
            let time = Duration::from_millis(millis.parse().expect("a number"));
            match verb {
                "block" => thread::sleep(time),
                _ => wait = time,
            }
        }
        async move {
            if !wait.is_zero() {
                eio_monoio::sleep(wait).await;
            }
            _ = socket.try_send("done");
        }
    }
}

#[test]
fn handlers_and_handshakes_are_timed() {
    for_each_config(|config| {
        let server = TestServer::run(config.time_messages(1), |_| Slow);
        let time = |call| server.remote().metrics().total().handler_time(call);
        let (mut socket, _) = WebSocket::open(server.addr());
        let mut polling = Polling::open(server.addr());
        for (message, times) in [("4hello", 1), ("4block 20", 2), ("4wait 20", 3)] {
            socket.send(message);
            assert_eq!(socket.text(), "4done");
            eventually("the time", || time(HandlerCall::Message).count() == times);
        }
        assert!(time(HandlerCall::Message).sum() >= Duration::from_millis(40));
        // While the handler is busy, messages wait in the inbox.
        socket.send("4wait 20");
        socket.send("4wait 20");
        assert_eq!((socket.text(), socket.text()), ("4done".into(), "4done".into()));
        polling.post_ok("4wait 20");
        assert_eq!(polling.poll(), "4done");
        eventually("the time", || time(HandlerCall::Message).count() == 6);
        assert!(time(HandlerCall::Message).sum() >= Duration::from_millis(100));
        assert_eq!(time(HandlerCall::Open).count(), 2);
        assert_eq!(time(HandlerCall::Connect).count(), 2);
        let total = server.remote().metrics().total();
        assert_eq!(total.handshake_time(Transport::WebSocket).count(), 1);
        assert_eq!(total.handshake_time(Transport::Polling).count(), 1);
        drop(socket);
        eventually("the end", || time(HandlerCall::Disconnect).count() == 1);
    });
}

#[test]
fn one_of_n_messages_is_timed() {
    for (one_of, expected) in [(0, 0), (10, 10)] {
        let server = TestServer::run(default_config().workers(1).time_messages(one_of), |_| Slow);
        let (mut socket, _) = WebSocket::open(server.addr());
        for _ in 0..100 {
            socket.send("4hello");
            assert_eq!(socket.text(), "4done");
        }
        let total = server.remote().metrics().total();
        assert_eq!(total.handler_time(HandlerCall::Message).count(), expected, "1 of {one_of}");
        assert_eq!(total.messages_received(Transport::WebSocket), 100);
    }
}

#[test]
fn metrics_name_driver_limits_and_process() {
    for_each_config(|config| {
        let config = config.max_connections(77).max_payload(4321).max_handshakes_per_second(1000);
        let server = TestServer::run(config, |_| Slow);
        let metrics = server.remote().metrics();
        let workers = metrics.workers.len();
        assert_eq!(metrics.total().driver(), Some(server.running().driver()));
        let series = parse(&metrics.to_string());
        let value = |key: &str| *series.get(key).unwrap_or_else(|| panic!("no {key}"));
        let driver = server.running().driver();
        for worker in 0..workers {
            let key = format!("eio_worker_info{{worker=\"{worker}\",driver=\"{driver}\"}}");
            assert!((value(&key) - 1.0).abs() < f64::EPSILON);
        }
        for (key, expected) in [
            ("eio_max_connections", 77.0),
            ("eio_max_payload_bytes", 4321.0),
            ("eio_max_handshakes_per_second", 1000.0),
            ("eio_outbound_high_water_bytes", f64::from(1 << 20)),
        ] {
            assert!((value(key) - expected).abs() < f64::EPSILON, "{key}");
        }
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_threads") > workers as f64);
        assert!(series.keys().any(|key| key.starts_with("eio_build_info{version=")));
    });
}

/// The log of this process at DEBUG, for a test that runs in a process of its own.
#[derive(Clone, Default)]
struct DebugLog(Arc<Mutex<Vec<u8>>>);

impl DebugLog {
    fn start() -> Self {
        let log = Self::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        subscriber.with_max_level(tracing::Level::DEBUG).init();
        log
    }

    /// The lines that have all of these parts.
    fn lines(&self, parts: &[&str]) -> Vec<String> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let has_all = |line: &&str| parts.iter().all(|part| line.contains(part));
        text.lines().filter(has_all).map(str::to_owned).collect()
    }
}

impl Write for DebugLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn blocked_worker_is_measured_and_logged() {
    let test = "blocked_worker_is_measured_and_logged";
    own_process::for_each_driver(module_path!(), test, |driver: Driver| {
        const BLOCKED: Duration = Duration::from_millis(600);
        let log = DebugLog::start();
        let config = Config::new().driver(driver).workers(2);
        let config = config.lag_interval(Duration::from_millis(10));
        let server = TestServer::run(config.lag_warning(Duration::from_millis(100)), |_| Slow);
        let metrics = || server.remote().metrics();
        eventually("measurements", || {
            metrics().workers.iter().all(|worker| worker.lag().count() >= 3)
        });
        let (mut socket, _) = WebSocket::open(server.addr());
        socket.send(&format!("4block {}", BLOCKED.as_millis()));
        let blocked = || metrics().total().unresponsive();
        eventually("the gauge", || blocked() >= BLOCKED / 3);
        eventually("the warning", || log.lines(&["WARN", "a worker does not respond"]).len() == 1);
        assert_eq!(socket.text(), "4done");
        eventually("the end", || log.lines(&["INFO", "the worker responds again"]).len() == 1);
        let slow = metrics().workers.into_iter().filter(|worker| {
            let lag = worker.lag();
            let quick =
                lag.buckets().find(|(bound, _)| *bound == Some(BLOCKED / 6)).expect("a bound");
            lag.count() > quick.1
        });
        assert_eq!(slow.count(), 1, "one worker was blocked");
        eventually("no gauge", || blocked() < BLOCKED / 3);
    });
}

/// The requests of peers that are refused, and the words of the line.
fn refused(addr: SocketAddr) -> Vec<(SocketAddr, &'static str)> {
    let mut peers = Vec::new();
    let mut ask = |bytes: &[u8], words| {
        let mut conn = Connection::open(addr);
        peers.push((conn.stream().local_addr().expect("an address"), words));
        conn.write(bytes);
        assert!(conn.response().status >= 400);
    };
    for _ in 0..3 {
        ask(b"nonsense\r\n\r\n", "not an HTTP/1.1 request");
        ask(&Request::get(&target("unknown")).bytes(), "no session with this sid");
        let origin = Request::get(POLLING).header("Origin", "https://page.example");
        ask(&origin.bytes(), "Config::cors");
    }
    peers
}

#[test]
fn each_refusal_is_logged_at_debug_with_its_peer() {
    let test = "each_refusal_is_logged_at_debug_with_its_peer";
    own_process::for_each_driver(module_path!(), test, |driver: Driver| {
        let log = DebugLog::start();
        let config = default_config().driver(driver);
        let server = Server::new(|| Slow).config(config).bind("127.0.0.1:0").expect("it starts");
        let peers = refused(server.local_addr());
        for (peer, words) in peers {
            let peer = format!("client={peer}");
            eventually("the line", || log.lines(&[&peer, words]).len() == 1);
        }
        // Warnings, which a default level shows, are not more than one a second.
        assert_eq!(log.lines(&["WARN", "Config::cors"]).len(), 1);
        assert_eq!(log.lines(&["DEBUG", "Config::cors"]).len(), 2);

        let (socket, sid) = WebSocket::open(server.local_addr());
        let peer = socket.conn.stream().local_addr().expect("an address");
        let client = format!("client={peer} session {sid}");
        eventually("the session", || log.lines(&[&client, "session opened"]).len() == 1);
        drop(socket);
        eventually("its end", || log.lines(&[&client, "session closed"]).len() == 1);
    });
}

#[test]
fn shutdown_timeout_names_what_is_cut_off() {
    let test = "shutdown_timeout_names_what_is_cut_off";
    own_process::for_each_driver(module_path!(), test, |driver: Driver| {
        let log = DebugLog::start();
        let server = TestServer::run(default_config().driver(driver).workers(1), |_| Slow);
        let (mut socket, _) = WebSocket::open(server.addr());
        socket.send("4wait 60000");
        let received = || server.remote().metrics().total().messages_received(Transport::WebSocket);
        eventually("the message", || received() == 1);
        drop(server);
        let lines = log.lines(&["WARN", "shutdown timeout; cutting off", "handlers=1"]);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("connections=1"), "{lines:?}");
    });
}
