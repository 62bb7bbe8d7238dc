//! What a server counts, as Prometheus would read it.

mod support;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use eio_monoio::{
    CloseReason, Config, ConnectRequest, Handler, Message, Metrics, Refusal, Remote, Server,
    Socket, Transport,
};
use http::{Request as HttpRequest, Response, header};
use support::app::{Host, eventually};
use support::matrix::{everywhere, somewhere};
use support::server::Server as Process;
use support::wire::{POLLING, Polling, Request, UNKNOWN_SID, WebSocket, Wire, target};

/// Echoes; `!fill` is answered with 1000 bytes, `!flood` with 32 MiB; `/metrics` is mounted.
struct Counted;

impl Handler for Counted {
    type Session = ();

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<(), Refusal> {
        match request.query("refuse") {
            Some(_) => Err(Refusal::unauthorized()),
            None => Ok(()),
        }
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        match message {
            Message::Text("!fill") => socket.send_volatile("x".repeat(1000).as_str()),
            // More than any socket buffer holds.
            Message::Text("!flood") => socket.send_volatile(&vec![7; 32 << 20][..]),
            message => socket.send_volatile(message),
        }
        async {}
    }

    async fn request(&self, _: HttpRequest<Vec<u8>>) -> Response<Cow<'static, [u8]>> {
        let server = Remote::current().expect("a handler runs on a worker");
        let text = server.metrics().to_string();
        Response::builder()
            .header(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)
            .body(Cow::Owned(text.into_bytes()))
            .expect("a response")
    }
}

/// A scrape: each series with its value, checked as `promtool check metrics` would, and more strictly.
fn read(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'), "the last line is not ended");
    let mut kinds = HashMap::new();
    let mut helped = HashSet::new();
    let mut family = String::new();
    let mut series = BTreeMap::new();
    let is_name = |name: &str| {
        let mut letters = name.bytes();
        letters.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && letters.all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(is_name(name) && help.ends_with('.'), "{line}");
            assert!(helped.insert(name.to_owned()), "twice: {line}");
            family = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(name, family, "HELP and TYPE belong together");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kinds.insert(name.to_owned(), kind.to_owned()), None, "twice: {line}");
        } else {
            let (key, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = key.split_once('{').unwrap_or((key, "}"));
            assert_eq!(name, family, "a series outside of its family");
            assert!(kinds.contains_key(name), "no TYPE before {line}");
            let labels = labels.strip_suffix('}').expect("labels in braces");
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (name, value) = label.split_once('=').expect("a label");
                assert!(is_name(name), "{line}");
                let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
                assert!(value.is_some_and(|value| !value.contains(['"', '\\'])), "{line}");
            }
            let value: f64 = value.parse().expect("a number");
            assert!(value >= 0.0, "{line}");
            assert_eq!(series.insert(key.to_owned(), value), None, "twice: {line}");
        }
    }
    assert_eq!(helped.len(), kinds.len(), "a HELP without a TYPE");
    series
}

/// The sum over all workers of the series that have this name and, if it is not empty, this label.
fn sum(series: &BTreeMap<String, f64>, name: &str, label: &str) -> f64 {
    let found = series.iter().filter(|(key, _)| {
        key.split('{').next() == Some(name) && (label.is_empty() || key.contains(label))
    });
    found.map(|(_, value)| value).sum()
}

fn scrape(address: SocketAddr) -> BTreeMap<String, f64> {
    let response = Wire::connect(address).request(&Request::get("/metrics"));
    assert_eq!(response.status, 200);
    let kind = response.header("Content-Type");
    assert_eq!(kind, Some("text/plain; version=0.0.4; charset=utf-8"));
    read(response.text())
}

#[test]
fn what_happens_is_counted_once() {
    everywhere(|config| {
        let host = Host::run(config, |_| Counted);
        let address = host.addr();
        let mut polling: Vec<_> = (0..4).map(|_| Polling::open(address)).collect();
        let mut sockets: Vec<_> = (0..3).map(|_| WebSocket::open(address).0).collect();
        for session in &mut polling {
            session.push("4hello").assert(200, "ok");
            assert_eq!(session.poll(), "4hello");
        }
        for socket in &mut sockets {
            (0..5).for_each(|_| socket.assert_alive());
        }
        let mut upgraded = polling.pop().expect("a session");
        let mut socket = WebSocket::attach(address, &upgraded.sid);
        socket.send("2probe");
        assert_eq!(socket.text(), "3probe");
        upgraded.start_poll();
        upgraded.get.response().assert(200, "6");
        socket.send("5");
        socket.assert_alive();

        let get = |target: &str| Wire::connect(address).request(&Request::get(target));
        (0..3).for_each(|_| get(&target("nobody")).assert(400, UNKNOWN_SID));
        assert_eq!(get(&format!("{POLLING}&refuse=1")).status, 401);
        polling.pop().expect("a session").push("1").assert(200, "ok");

        let full = &mut polling[0];
        full.push("4!fill").assert(200, "ok");
        eventually("bytes that wait", || sum(&scrape(address), "eio_queued_bytes", "") >= 1000.0);
        assert_eq!(full.poll().len(), 1001);

        // The client may see what it caused a moment before the worker has counted it.
        let expected = [
            ("eio_sessions", "transport=\"polling\"", 2.0),
            ("eio_sessions", "transport=\"websocket\"", 4.0),
            ("eio_sessions_opened_total", "transport=\"polling\"", 4.0),
            ("eio_sessions_opened_total", "transport=\"websocket\"", 3.0),
            ("eio_sessions_closed_total", "", 1.0),
            ("eio_sessions_closed_total", "reason=\"client disconnect\"", 1.0),
            ("eio_upgrades_total", "result=\"completed\"", 1.0),
            ("eio_upgrades_total", "result=\"failed\"", 0.0),
            ("eio_messages_received_total", "transport=\"polling\"", 5.0),
            ("eio_messages_received_total", "transport=\"websocket\"", 16.0),
            ("eio_messages_sent_total", "", 21.0),
            ("eio_refusals_total", "status=\"400\"", 3.0),
            ("eio_refusals_total", "status=\"401\"", 1.0),
            ("eio_refusals_total", "status=\"503\"", 0.0),
            ("eio_connection_errors_total", "code=\"1\"", 3.0),
            ("eio_connection_errors_total", "", 3.0),
            ("eio_queued_bytes", "", 0.0),
            ("eio_tls_failures_total", "", 0.0),
        ];
        let wrong = || {
            let series = scrape(address);
            let wrong = expected.iter().map(|(name, label, _)| sum(&series, name, label));
            wrong.zip(expected).filter(|(is, (.., should))| is != should).collect::<Vec<_>>()
        };
        eventually("the right numbers", || wrong().is_empty());

        // Each message has its frame; a response its head.
        let total = host.remote().metrics().total();
        assert!(total.bytes_received() > 16 * 17 + 1000, "{total:?}");
        assert!(total.bytes_sent() > 16 * 12 + 1000, "{total:?}");
        assert!(total.connections_accepted() >= 15, "{total:?}");
        if host.running().workers() == 1 {
            assert_eq!(total.connections_moved(), 0);
        } else {
            // Sooner or later one comes in at another worker.
            eventually("a connection that moves", || {
                Wire::connect(address).request(&Request::post(&target(&polling[0].sid), "4hello"));
                host.remote().metrics().total().connections_moved() > 0
            });
            assert!(polling[0].poll().starts_with("4hello"));
        }

        drop((polling, sockets, socket, upgraded));
        eventually("the end of the WebSockets", || {
            let total = host.remote().metrics().total();
            total.sessions(Transport::WebSocket) == 0
                && total.sessions_closed(CloseReason::TransportClose) == 4
                && total.bytes_queued() == 0
        });
        let metrics = host.remote().metrics();
        assert_eq!(metrics.total().sessions(Transport::Polling), 2);
        assert_eq!(metrics.workers.len(), host.running().workers());
    });
}

#[test]
fn what_a_slow_client_leaves_is_counted_until_it_is_gone() {
    everywhere(|config| {
        let host = Host::run(config, |_| Counted);
        let (mut socket, _) = WebSocket::open(host.addr());
        let queued = || host.remote().metrics().total().bytes_queued();
        socket.send("4!flood");
        eventually("a queue", || queued() >= 16 << 20);
        drop(socket);
        eventually("its end", || queued() == 0);
        host.empties();
    });
}

#[test]
fn a_connection_too_many_is_counted() {
    let host = Host::run(somewhere().max_connections(2), |_| Counted);
    let _both = Polling::open(host.addr());
    assert_eq!(Wire::connect(host.addr()).response().status, 503);
    eventually("the refusal", || host.remote().metrics().total().refusals(503) == 1);
}

#[test]
fn an_upgrade_that_fails_is_counted_as_such() {
    let config = somewhere().upgrade_timeout(Duration::from_millis(50));
    let host = Host::run(config, |_| Counted);
    let session = Polling::open(host.addr());
    let _silent = WebSocket::attach(host.addr(), &session.sid);
    eventually("the failure", || host.remote().metrics().total().upgrades_failed() == 1);
    let total = host.remote().metrics().total();
    assert_eq!((total.upgrades(), total.sessions(Transport::Polling)), (0, 1));
}

#[test]
fn there_is_no_server_here() {
    assert!(Remote::current().is_none());
    let running = Server::new(|| Counted).config(Config::new().workers(2)).bind("127.0.0.1:0");
    let metrics = running.expect("a server").remote().metrics();
    assert_eq!((metrics.workers.len(), metrics.connections), (2, 0));
    read(&metrics.to_string());
}

#[test]
fn the_site_example_mounts_them() {
    let site = Process::run(Process::command("site"));
    let series = scrape(site.addr());
    assert_eq!(sum(&series, "eio_sessions", ""), 0.0);
    assert!(sum(&series, "eio_received_bytes_total", "") > 0.0);
}
