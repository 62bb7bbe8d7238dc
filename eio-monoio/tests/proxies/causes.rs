//! Every refusal and every end that an operator can see names its cause at the default level.

use std::time::Duration;

use eio_monoio::{Config, ConnectRequest, Cors, Handler, Message, Refusal, Socket};

use crate::log;
use crate::support::configs::default_config;
use crate::support::connection::Connection;
use crate::support::polling::{Polling, sid_of};
use crate::support::request::{POLLING, Request, WEBSOCKET, target};
use crate::support::test_server::TestServer;
use crate::support::websocket::{WebSocket, frame};

/// Refuses a session whose request has `X-Refuse`, and waits for ever if it has `X-Wait`.
pub(crate) struct Choosy;

impl Handler for Choosy {
    type Session = ();

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<(), Refusal> {
        if request.header("x-wait").is_some() {
            std::future::pending::<()>().await;
        }
        request.header("x-refuse").map_or(Ok(()), |_| Err(Refusal::forbidden()))
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<()>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        socket.try_send(message).ok();
        async {}
    }
}

/// The action of the peer. It returns the connections that the effect needs.
pub(crate) type Act = fn(&TestServer) -> Box<dyn std::any::Any>;

/// The request of one connection.
fn ask(server: &TestServer, request: &Request) -> Box<dyn std::any::Any> {
    let mut conn = Connection::open(server.addr());
    conn.send(request);
    Box::new(conn)
}

fn raw(server: &TestServer, bytes: &[u8]) -> Box<dyn std::any::Any> {
    let mut conn = Connection::open(server.addr());
    conn.write(bytes);
    Box::new(conn)
}

fn query(query: &str) -> Request {
    Request::get(&format!("/engine.io/?{query}"))
}

/// The action and the words of the line.
pub(crate) const REFUSALS: [(Act, &[&str]); 27] = [
    (
        |server| ask(server, &Request::get(POLLING).header("Origin", "https://page.example")),
        &["WARN", "Config::cors", "Origin: https://page.example, Host: test"],
    ),
    (
        |server| ask(server, &query("EIO=4&transport=telegraph")),
        &["no transport that is enabled", "telegraph"],
    ),
    (
        |server| ask(server, &Request::get(&target("gone"))),
        &["no session with this sid", "balancer"],
    ),
    (
        |server| ask(server, &Request::post(POLLING, "4a")),
        &["a handshake is a GET", "POST /engine.io/"],
    ),
    (
        |server| ask(server, &Request::get(WEBSOCKET)),
        &[
            "WARN",
            "without Upgrade: websocket",
            "proxy",
            "GET /engine.io/ EIO=4 transport=websocket",
        ],
    ),
    (|server| ask(server, &Request::upgrade(POLLING)), &["transport=polling with Upgrade"]),
    (|server| ask(server, &query("EIO=4&transport=polling&j=0")), &["JSONP"]),
    (
        |server| {
            let polling = Polling::open(server.addr());
            ask(server, &query(&format!("EIO=3&transport=polling&sid={}", polling.sid)))
        },
        &["another protocol version", "EIO=3"],
    ),
    (
        |server| {
            let (ws, sid) = WebSocket::open(server.addr());
            let refused = ask(server, &Request::get(&target(&sid)));
            Box::new((ws, refused))
        },
        &["polling for a session whose transport is WebSocket"],
    ),
    (
        |server| {
            let request = Request::get(WEBSOCKET)
                .header("Upgrade", "websocket")
                .header("Connection", "Upgrade")
                .header("Sec-WebSocket-Version", "8")
                .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
            ask(server, &request)
        },
        &["not that of RFC 6455", "no single Sec-WebSocket-Version: 13"],
    ),
    (
        |server| ask(server, &Request::get(POLLING).header("X-Refuse", "1")),
        &["by Handler::connect", "refused with status 403"],
    ),
    (
        |server| ask(server, &query("EIO=3&transport=polling")),
        &["does not speak Engine.IO 4", "EIO=3"],
    ),
    (|server| ask(server, &Request::new("PUT", &target("a"))), &["neither GET nor POST", "PUT"]),
    (
        |server| raw(server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        &["TLS handshake on a port without TLS"],
    ),
    (
        |server| raw(server, b"PROXY TCP4 192.0.2.1 192.0.2.2 5 80\r\nGET / HTTP/1.1\r\n\r\n"),
        &["WARN", "PROXY protocol", "trusted_proxies"],
    ),
    (
        |server| {
            raw(server, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x05\0\x50")
        },
        &["WARN", "PROXY protocol", "trusted_proxies"],
    ),
    (
        |server| raw(server, b"EHLO mail.example\r\n\r\n"),
        &["not an HTTP/1.1 request", "malformed request line"],
    ),
    (
        |server| {
            raw(server, format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000)).as_bytes())
        },
        &["larger than Config::max_head_size"],
    ),
    (
        |server| {
            raw(
                server,
                format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(101)).as_bytes(),
            )
        },
        &["WARN", "more header fields than Config::max_headers"],
    ),
    (
        |server| raw(server, b"GET / HTTP/1.1\r\nHost: a"),
        &["no complete request head within Config::head_timeout"],
    ),
    (
        |server| {
            let mut polling = Polling::open(server.addr());
            polling.post.send(&Request::post(&target(&polling.sid), "4".repeat(2000)));
            Box::new(polling)
        },
        &["a body larger than Config::max_payload", " session "],
    ),
    (
        |server| {
            let mut polling = Polling::open(server.addr());
            polling.begin_post("4abc");
            Box::new(polling)
        },
        &["no complete body within Config::body_timeout"],
    ),
    (
        |server| {
            let mut polling = Polling::open(server.addr());
            polling.start_poll();
            let second = ask(server, &Request::get(&target(&polling.sid)));
            Box::new((polling, second))
        },
        &["two GETs or two POSTs at once", "a GET is already held"],
    ),
    (
        |server| {
            let mut polling = Polling::open(server.addr());
            polling.post.send(&Request::post(&target(&polling.sid), "9what"));
            Box::new(polling)
        },
        &["not an Engine.IO packet", "a packet of an unknown type"],
    ),
    (
        |server| {
            let mut polling = Polling::open(server.addr());
            polling.post.send(&Request::post(&target(&polling.sid), "2"));
            Box::new(polling)
        },
        &["may not send now", "a client must not send a ping"],
    ),
    (
        |server| {
            let request = Request::upgrade(WEBSOCKET).header("Content-Length", "1").body("x");
            ask(server, &request)
        },
        &["a WebSocket handshake with a body"],
    ),
    (
        |server| ask(server, &Request::get(POLLING).header("X-Wait", "1")),
        &["WARN", "did not end within Config::connect_timeout"],
    ),
];

pub(crate) const ENDS: [(Act, &[&str]); 6] = [
    (
        |server| {
            let (mut ws, _) = WebSocket::open(server.addr());
            // A frame without a mask.
            ws.conn.write([0x81, 0x02, b'4', b'a']);
            Box::new(ws)
        },
        &["broke a rule of RFC 6455", "mask"],
    ),
    (
        |server| {
            let (mut ws, _) = WebSocket::open(server.addr());
            ws.conn.write(frame(0x81, &[b'4'; 2000]));
            Box::new(ws)
        },
        &["more than Config::max_payload"],
    ),
    (
        |server| {
            let (ws, _) = WebSocket::open(server.addr());
            drop(ws);
            Box::new(())
        },
        &["the WebSocket was lost without a close frame", " session "],
    ),
    (
        |server| {
            let mut polling = Polling::open(server.addr());
            polling.hold_poll_after("4a", "4a");
            drop(polling);
            Box::new(())
        },
        &["the connection of a held GET was closed", "ping_interval + ping_timeout"],
    ),
    (|server| Box::new(Polling::open(server.addr())), &["no pong within Config::ping_timeout"]),
    (
        |server| {
            let polling = Polling::open(server.addr());
            let mut ws = WebSocket::attach(server.addr(), &polling.sid);
            ws.send("4not a probe");
            Box::new((polling, ws))
        },
        &["upgrade to WebSocket failed"],
    ),
];

fn config() -> Config {
    default_config().max_payload(1000)
}

fn brief() -> Config {
    let brief = Duration::from_millis(300);
    config().head_timeout(brief).body_timeout(brief).connect_timeout(brief)
}

#[track_caller]
fn assert_logged(config: Config, cases: &[(Act, &[&str])]) {
    let _turn = log::record();
    for (act, words) in cases {
        // A server of its own: a cause is logged once a second.
        let server = TestServer::run(config.clone(), |_| Choosy);
        let before = log::text().len();
        let held = act(&server);
        log::expect_after(before, words);
        drop(held);
    }
}

#[test]
fn refusals_name_their_cause() {
    assert_logged(brief(), &REFUSALS);
}

#[test]
fn ends_name_their_cause() {
    let brief = Duration::from_millis(300);
    assert_logged(config().ping_interval(brief).ping_timeout(brief), &ENDS);
}

/// A flood costs one line a second, which says how many it stands for; a secret in the query is not logged.
#[test]
fn a_flood_costs_one_line_a_second_for_each_cause() {
    let _turn = log::record();
    let config = default_config().cors(Cors::SameOrigin);
    let server = TestServer::start(config);
    let mut conn = Connection::open(server.addr());
    let me = conn.stream().local_addr().expect("an address").to_string();
    let started = std::time::Instant::now();
    for _ in 0..200 {
        let query = format!("{POLLING}&token=hunter2");
        conn.request(&Request::get(&query).header("Origin", "https://flood.example"));
        conn.request(&query_without_version());
    }
    let lines = |words: &str| {
        let text = log::text();
        text.lines().filter(|line| line.contains(&me) && line.contains(words)).count()
    };
    let most = 1 + started.elapsed().as_secs() as usize;
    for words in ["Config::cors", "does not speak Engine.IO 4"] {
        assert!((1..=most).contains(&lines(words)), "{words}: {}", log::text());
    }
    std::thread::sleep(Duration::from_millis(1_050));
    conn.request(&query_without_version());
    log::expect(&[&me, "does not speak Engine.IO 4", "omitted=199"]);
    assert!(!log::text().contains("hunter2"));
}

fn query_without_version() -> Request {
    query("EIO=3&transport=polling&token=hunter2")
}

#[test]
fn a_sid_is_not_logged_for_an_unknown_session() {
    let _turn = log::record();
    let server = TestServer::start(default_config());
    let mut conn = Connection::open(server.addr());
    let sid = sid_of(conn.request(&Request::get(POLLING)).text());
    let mut other = Connection::open(server.addr());
    other.write(Request::get(&target(&format!("{sid}x"))).bytes());
    other.response();
    let me = other.stream().local_addr().expect("an address").to_string();
    assert!(!log::expect(&[&me, "no session with this sid"]).contains(&sid));
}
