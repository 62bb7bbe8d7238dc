//! The cookie, and the headers that the application adds.

use crate::support::app::{App, Host, Log};
use crate::support::wire::{
    POLLING, Polling, Request, WEBSOCKET, WebSocket, Wire, opening, sid_of, target,
};
use eio_monoio::{Config, Cookie, Server};
use http::HeaderValue;

#[test]
fn the_cookie_is_set_by_the_polling_handshake_and_by_nothing_else() {
    let cookie = Cookie::new("io").value(|sid| format!("{sid}.a"));
    let host = Host::start(Config::new().workers(2).cookie(cookie));
    let mut wire = Wire::connect(host.addr());
    let opened = wire.request(&Request::get(POLLING));
    let sid = sid_of(opened.text());
    let expected = format!("io={sid}.a; Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(opened.header("Set-Cookie"), Some(expected.as_str()));

    let pushed = wire.request(&Request::post(&target(&sid), "4echo"));
    pushed.assert(200, "ok");
    assert_eq!(pushed.header("Set-Cookie"), None);
    let polled = wire.request(&Request::get(&target(&sid)));
    polled.assert(200, "4echo");
    assert_eq!(polled.header("Set-Cookie"), None);
    let refused = wire.request(&Request::get("/engine.io/?EIO=3&transport=polling"));
    assert_eq!((refused.status, refused.header("Set-Cookie")), (400, None));
    let switched = Wire::connect(host.addr()).request(&opening(WEBSOCKET));
    assert_eq!((switched.status, switched.header("Set-Cookie")), (101, None));
}

#[test]
fn an_illegal_value_sets_no_cookie_and_harms_no_session() {
    let cookie = Cookie::new("io").value(|_| "a\r\nX-Evil: 1".into());
    let host = Host::start(Config::new().workers(1).cookie(cookie));
    let opened = Wire::connect(host.addr()).request(&Request::get(POLLING));
    assert_eq!(opened.status, 200);
    assert_eq!((opened.header("Set-Cookie"), opened.header("X-Evil")), (None, None));
}

#[test]
fn the_applications_headers_are_on_every_response_and_the_initial_ones_on_the_first() {
    let log = Log::default();
    let running = Server::new(move || App::new(&log))
        .config(Config::new().workers(2))
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
        .expect("a server");
    let addr = running.local_addr();
    let check = |request: &Request, status: u16, first: Option<&str>| {
        let response = Wire::connect(addr).request(request);
        assert_eq!(response.status, status, "{response:?}");
        assert_eq!(response.header("X-Every"), Some("/engine.io/"), "{response:?}");
        assert_eq!(response.header("X-First"), first, "{response:?}");
        response
    };
    let sid = sid_of(check(&Request::get(POLLING), 200, Some("polling")).text());
    check(&Request::post(&target(&sid), "4a"), 200, None).assert(200, "ok");
    check(&Request::get(&target(&sid)), 200, None).assert(200, "4a");
    check(&opening(&format!("{WEBSOCKET}&sid={sid}")), 101, None);
    check(&opening(WEBSOCKET), 101, Some("websocket"));
    check(&Request::get("/engine.io/?EIO=4&transport=x"), 400, None);
    check(&Request::get(&format!("{POLLING}&refuse=forbidden")), 403, None);
    let preflight = Request::new("OPTIONS", POLLING).header("Origin", "http://test");
    check(&preflight, 204, None);
    let elsewhere = Wire::connect(addr).request(&Request::get("/elsewhere"));
    assert_eq!((elsewhere.status, elsewhere.header("X-Every")), (404, None));
    running.shutdown();
    running.join().expect("an orderly end");
}

#[test]
fn a_panic_while_adding_headers_harms_no_session() {
    let log = Log::default();
    let running = Server::new(move || App::new(&log))
        .config(Config::new().workers(1))
        .headers(|_, _| panic!("as told"))
        .initial_headers(|_, _| panic!("as told"))
        .bind("127.0.0.1:0")
        .expect("a server");
    Polling::open(running.local_addr()).assert_alive();
    WebSocket::open(running.local_addr()).0.assert_alive();
}

#[test]
fn the_initial_packet_comes_with_the_handshake() {
    let host = Host::start(Config::new().workers(1).initial_packet("hello"));
    let opened = Wire::connect(host.addr()).request(&Request::get(POLLING));
    let (open, rest) = opened.text().split_once('\x1e').expect("two packets");
    assert_eq!(rest, "4hello");
    sid_of(open);
    let (mut socket, _) = WebSocket::open(host.addr());
    assert_eq!(socket.text(), "4hello");

    let host = Host::start(Config::new().workers(1).initial_packet(&[1, 2, 3, 4][..]));
    let opened = Wire::connect(host.addr()).request(&Request::get(POLLING));
    assert!(opened.text().ends_with("\x1ebAQIDBA=="), "{opened:?}");
    let (mut socket, _) = WebSocket::open(host.addr());
    assert_eq!(socket.binary(), [1, 2, 3, 4]);
    let mut socket = WebSocket::connect(host.addr(), &format!("{WEBSOCKET}&b64=1"));
    sid_of(&socket.text());
    assert_eq!(socket.text(), "bAQIDBA==");
}

#[test]
fn a_crowd_is_told_to_come_later_and_the_sessions_there_are_served() {
    let host = Host::start(Config::new().workers(2).max_handshakes_per_second(3));
    let mut session = Polling::open(host.addr());
    // More than three seconds' worth, in less than three seconds or the machine is too slow to tell.
    let begun = std::time::Instant::now();
    let mut statuses: Vec<u16> = Vec::new();
    for n in 0..20 {
        let request = if n % 2 == 0 { Request::get(POLLING) } else { opening(WEBSOCKET) };
        let response = Wire::connect(host.addr()).request(&request);
        if response.status == 503 {
            assert_eq!(response.header("Retry-After"), Some("1"));
        }
        statuses.push(response.status);
    }
    let admitted = statuses.iter().filter(|status| **status != 503).count() as u64;
    assert!(admitted <= 3 * (begun.elapsed().as_secs() + 2), "{statuses:?}");
    session.assert_alive();
    // The next second begins.
    crate::support::app::eventually("a handshake", || {
        Wire::connect(host.addr()).request(&Request::get(POLLING)).status == 200
    });
}

#[test]
fn the_client_behind_a_trusted_proxy_is_who_the_proxy_says() {
    let log = Log::default();
    for (proxies, expected) in [(&["127.0.0.0/8"][..], "1.2.3.4:0"), (&["10.0.0.0/8"], "127.0.0.1")]
    {
        let log = log.clone();
        let running = Server::new(move || App::new(&log))
            .config(Config::new().workers(1).trusted_proxies(proxies))
            .initial_headers(|request, headers| {
                let peer = request.peer_addr().expect("TCP").to_string();
                headers.insert("x-peer", HeaderValue::from_str(&peer).expect("an address"));
            })
            .bind("127.0.0.1:0")
            .expect("a server");
        let request = Request::get(POLLING).header("X-Forwarded-For", "6.6.6.6, 1.2.3.4");
        let response = Wire::connect(running.local_addr()).request(&request);
        let peer = response.header("X-Peer").expect("the header");
        assert!(peer.starts_with(expected), "{peer}");
    }
}
