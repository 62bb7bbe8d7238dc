//! The cookie, the header hooks, the initial packet and the peer address.

use eio_monoio::{Cookie, Server};
use http::HeaderValue;

use crate::support::app::App;
use crate::support::configs::default_config;
use crate::support::connection::Connection;
use crate::support::log::Log;
use crate::support::polling::{Polling, sid_of};
use crate::support::request::{POLLING, Request, WEBSOCKET, target, upgrade_target};
use crate::support::test_server::TestServer;
use crate::support::wait::eventually;
use crate::support::websocket::WebSocket;

#[test]
fn only_the_polling_handshake_sets_the_cookie() {
    let cookie = Cookie::new("io").value(|sid| format!("{sid}.a"));
    let server = TestServer::start(default_config().cookie(cookie));
    let mut conn = Connection::open(server.addr());
    let opened = conn.request(&Request::get(POLLING));
    let sid = sid_of(opened.text());
    let expected = format!("io={sid}.a; Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(opened.header("Set-Cookie"), Some(expected.as_str()));

    let pushed = conn.request(&Request::post(&target(&sid), "4echo"));
    pushed.assert(200, "ok");
    assert_eq!(pushed.header("Set-Cookie"), None);
    let polled = conn.request(&Request::get(&target(&sid)));
    polled.assert(200, "4echo");
    assert_eq!(polled.header("Set-Cookie"), None);
    let refused = conn.request(&Request::get("/engine.io/?EIO=3&transport=polling"));
    assert_eq!((refused.status, refused.header("Set-Cookie")), (400, None));
    let switched = Connection::open(server.addr()).request(&Request::upgrade(WEBSOCKET));
    assert_eq!((switched.status, switched.header("Set-Cookie")), (101, None));
}

#[test]
fn invalid_cookie_value_sets_no_cookie() {
    let cookie = Cookie::new("io").value(|_| "a\r\nX-Evil: 1".into());
    let server = TestServer::start(default_config().workers(1).cookie(cookie));
    let opened = Connection::open(server.addr()).request(&Request::get(POLLING));
    assert_eq!(opened.status, 200);
    assert_eq!((opened.header("Set-Cookie"), opened.header("X-Evil")), (None, None));
}

#[test]
fn header_hooks_apply_to_every_response_or_the_first() {
    let log = Log::default();
    let running = Server::new(move || App::new(&log))
        .config(default_config())
        .headers(|request, headers| {
            let path = request.target().split('?').next().unwrap_or_default();
            headers.insert("x-every", HeaderValue::from_str(path).expect("visible ASCII"));
            headers.insert("content-length", HeaderValue::from_static("7"));
        })
        .initial_headers(|request, headers| {
            let name = request.transport().name();
            headers.insert("x-first", HeaderValue::from_static(name));
        })
        .bind("127.0.0.1:0")
        .expect("the server starts");
    let addr = running.local_addr();
    let check = |request: &Request, status: u16, first: Option<&str>| {
        let response = Connection::open(addr).request(request);
        assert_eq!(response.status, status, "{response:?}");
        assert_eq!(response.header("X-Every"), Some("/engine.io/"), "{response:?}");
        assert_eq!(response.header("X-First"), first, "{response:?}");
        response
    };
    let sid = sid_of(check(&Request::get(POLLING), 200, Some("polling")).text());
    check(&Request::post(&target(&sid), "4a"), 200, None).assert(200, "ok");
    check(&Request::get(&target(&sid)), 200, None).assert(200, "4a");
    check(&Request::upgrade(&upgrade_target(&sid)), 101, None);
    check(&Request::upgrade(WEBSOCKET), 101, Some("websocket"));
    check(&Request::get("/engine.io/?EIO=4&transport=x"), 400, None);
    check(&Request::get(&format!("{POLLING}&refuse=forbidden")), 403, None);
    let preflight = Request::new("OPTIONS", POLLING).header("Origin", "http://test");
    check(&preflight, 204, None);
    let elsewhere = Connection::open(addr).request(&Request::get("/elsewhere"));
    assert_eq!((elsewhere.status, elsewhere.header("X-Every")), (404, None));
    running.shutdown();
    running.join().expect("a clean shutdown");
}

#[test]
fn panic_in_a_header_hook_harms_no_session() {
    let log = Log::default();
    let running = Server::new(move || App::new(&log))
        .config(default_config().workers(1))
        .headers(|_, _| panic!("expected: this test panics"))
        .initial_headers(|_, _| panic!("expected: this test panics"))
        .bind("127.0.0.1:0")
        .expect("the server starts");
    Polling::open(running.local_addr()).assert_alive();
    WebSocket::open(running.local_addr()).0.assert_alive();
}

#[test]
fn initial_packet_follows_the_open_packet() {
    let server = TestServer::start(default_config().workers(1).initial_packet("hello"));
    let opened = Connection::open(server.addr()).request(&Request::get(POLLING));
    let (open, rest) = opened.text().split_once('\x1e').expect("two packets");
    assert_eq!(rest, "4hello");
    sid_of(open);
    let (mut socket, _) = WebSocket::open(server.addr());
    assert_eq!(socket.text(), "4hello");

    let server = TestServer::start(default_config().workers(1).initial_packet(&[1, 2, 3, 4][..]));
    let opened = Connection::open(server.addr()).request(&Request::get(POLLING));
    assert!(opened.text().ends_with("\x1ebAQIDBA=="), "{opened:?}");
    let (mut socket, _) = WebSocket::open(server.addr());
    assert_eq!(socket.binary(), [1, 2, 3, 4]);
    let mut socket = WebSocket::connect(server.addr(), &format!("{WEBSOCKET}&b64=1"));
    sid_of(&socket.text());
    assert_eq!(socket.text(), "bAQIDBA==");
}

#[test]
fn handshakes_over_the_rate_limit_are_refused() {
    let server = TestServer::start(default_config().max_handshakes_per_second(3));
    let mut session = Polling::open(server.addr());
    // Twenty handshakes at a limit of three per second. On a slow machine they may take several seconds, so the bound
    // depends on the time that has passed.
    let begun = std::time::Instant::now();
    let mut statuses: Vec<u16> = Vec::new();
    for n in 0..20 {
        let request = if n % 2 == 0 { Request::get(POLLING) } else { Request::upgrade(WEBSOCKET) };
        let response = Connection::open(server.addr()).request(&request);
        if response.status == 503 {
            assert_eq!(response.header("Retry-After"), Some("1"));
        }
        statuses.push(response.status);
    }
    let admitted = statuses.iter().filter(|status| **status != 503).count() as u64;
    assert!(admitted <= 3 * (begun.elapsed().as_secs() + 2), "{statuses:?}");
    session.assert_alive();
    // In the next second.
    eventually("a handshake", || {
        Connection::open(server.addr()).request(&Request::get(POLLING)).status == 200
    });
}

#[test]
fn trusted_proxy_determines_the_peer_address() {
    let log = Log::default();
    for (proxies, expected) in [(&["127.0.0.0/8"][..], "1.2.3.4:0"), (&["10.0.0.0/8"], "127.0.0.1")]
    {
        let log = log.clone();
        let running = Server::new(move || App::new(&log))
            .config(default_config().workers(1).trusted_proxies(proxies))
            .initial_headers(|request, headers| {
                let peer = request.peer_addr().expect("TCP").to_string();
                headers.insert("x-peer", HeaderValue::from_str(&peer).expect("an address"));
            })
            .bind("127.0.0.1:0")
            .expect("the server starts");
        let request = Request::get(POLLING).header("X-Forwarded-For", "6.6.6.6, 1.2.3.4");
        let response = Connection::open(running.local_addr()).request(&request);
        let peer = response.header("X-Peer").expect("the header");
        assert!(peer.starts_with(expected), "{peer}");
    }
}
