//! The requests of a client: URL, headers, cookies and bodies.

use std::io::Write;
use std::sync::mpsc::{Receiver, channel};

use eio_core::ws::Opcode;
use eio_core::ws::handshake::Mismatch;
use eio_monoio::Driver;
use eio_monoio::client::{Client, ConnectError, Event, Fault};

use crate::support::client::{block_on, fault, polling, websocket};
use crate::support::scripted::{self, Incoming};

#[test]
fn requests_carry_configured_url_headers_and_cookies() {
    let (heads, received) = channel();
    let url = scripted::start(move |request| {
        let open = scripted::open_packet("", 25_000, 20_000);
        let mut next = Some(request);
        while let Some(request) = next {
            heads.send((request.head.clone(), request.body.clone())).ok();
            let cookie = "200 OK\r\nSet-Cookie: lb=7; Path=/; HttpOnly";
            next = match (request.is_handshake(), request.is_post()) {
                (true, _) => request.answer(cookie, &open),
                (false, true) => request.answer("200 OK", "ok"),
                (false, false) => return request.hold(),
            };
        }
    });
    let url = url.replace("http://", "http://user:secret@") + "/chat/?room=1&EIO=3";
    block_on(Driver::Epoll, async {
        let connect = polling(&url).header("X-Token", "t").header("Cookie", "own=1");
        let client = connect.timestamp(None).await.expect("connects");
        client.send("hello").await.expect("queued");
        client.send(&[1, 2, 3]).await.expect("queued");
        client.flushed().await;
    });
    let requests: Vec<_> = received.try_iter().collect();
    assert!(requests.len() >= 3);
    for (head, _) in &requests {
        assert!(head.contains(" /chat/?room=1&EIO=4&transport=polling"), "{head}");
        assert!(head.contains("\r\nAuthorization: Basic dXNlcjpzZWNyZXQ=\r\n"), "{head}");
        assert!(head.contains("\r\nX-Token: t\r\n"), "{head}");
        assert!(head.contains("\r\nUser-Agent: eio-monoio/"), "{head}");
        let cookie = if head.contains("sid=abc") { "own=1; lb=7" } else { "own=1" };
        assert!(head.contains(&format!("\r\nCookie: {cookie}\r\n")), "{head}");
    }
    let sent: Vec<u8> = requests
        .iter()
        .filter(|(head, _)| head.starts_with("POST"))
        .flat_map(|(_, body)| [body, &b"\x1e"[..]].concat())
        .collect();
    assert!(sent.starts_with(b"4hello\x1ebAQID\x1e"), "{}", sent.escape_ascii());
}

#[test]
fn upgrade_request_carries_sid_headers_and_cookies() {
    let (heads, received) = channel();
    let url = scripted::start(move |request| {
        if request.is_websocket() {
            heads.send(request.head.clone()).ok();
            return drop(request.accept());
        }
        let open = scripted::open_packet(r#""websocket""#, 25_000, 20_000);
        let cookie = "200 OK\r\nSet-Cookie: lb=gr\u{fc}n; Path=/; HttpOnly";
        if let Some(next) = request.answer(cookie, &open) {
            next.hold();
        }
    });
    let url = url.replace("http://", "http://user:secret@") + "/chat/?room=1";
    block_on(Driver::Epoll, async {
        let connect = Client::connect(&url).header("X-Token", "t").header("User-Agent", "own/1");
        let client = connect.header("Cookie", "own=1").await.expect("connects");
        assert!(matches!(client.next().await, Some(Event::UpgradeFailed(_))));
    });
    let head = received.recv().unwrap();
    let target = "GET /chat/?room=1&EIO=4&transport=websocket&sid=abc HTTP/1.1\r\n";
    assert!(head.starts_with(target), "{head}");
    for line in [
        "Authorization: Basic dXNlcjpzZWNyZXQ=",
        "X-Token: t",
        "User-Agent: own/1",
        "Cookie: own=1; lb=gr\u{fc}n",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
    assert_eq!(head.matches("User-Agent").count(), 1, "{head}");
}

/// A proxy that also plays the part of the server, and the heads of the requests that it receives.
fn scripted_proxy() -> (String, Receiver<String>) {
    let (heads, received) = channel();
    let proxy = scripted::start(move |mut request| {
        heads.send(request.head.clone()).ok();
        if request.head.contains("refused.example") {
            request.send("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
            return;
        }
        let mut next = Some(request);
        while let Some(mut request) = next {
            if request.head.starts_with("CONNECT") {
                request.send("HTTP/1.1 200 Connection established\r\n\r\n");
                next = Incoming::read(request.stream);
            } else if request.is_websocket() {
                let mut stream = request.accept();
                let open = scripted::open_packet("", 25_000, 20_000);
                _ = stream.write_all(&scripted::frame(Opcode::Text, open.as_bytes(), None));
                return scripted::hold(stream);
            } else if request.is_handshake() {
                next = request.answer("200 OK", &scripted::open_packet("", 25_000, 20_000));
            } else {
                return request.hold();
            }
        }
    });
    (proxy.replace("http://", "http://u:p@"), received)
}

#[test]
fn proxy_receives_absolute_urls_without_tls_and_connect_for_websockets() {
    let (proxy, received) = scripted_proxy();
    block_on(Driver::Epoll, async {
        let url = "http://[2001:db8::1]:8080";
        for connect in [polling(url), websocket(url)] {
            let client = connect.proxy(&proxy).await.expect("connects");
            assert_eq!(client.sid().as_str(), "abc");
        }
        for refused in [polling("http://refused.example"), websocket("ws://refused.example")] {
            let refused = refused.proxy(&proxy).await;
            assert_eq!(refused.unwrap_err(), ConnectError::Failed(Fault::Proxy(407)));
        }
    });
    let heads: Vec<_> = received.try_iter().collect();
    let first = "GET http://[2001:db8::1]:8080/engine.io/?EIO=4&transport=polling&t=";
    assert!(heads[0].starts_with(first), "{heads:?}");
    assert!(heads[0].contains("\r\nHost: [2001:db8::1]:8080\r\n"), "{heads:?}");
    let connect = "CONNECT [2001:db8::1]:8080 HTTP/1.1\r\n";
    assert!(heads.iter().any(|head| head.starts_with(connect)), "{heads:?}");
    for head in &heads {
        assert!(head.contains("\r\nProxy-Authorization: Basic dTpw\r\n"), "{head}");
    }
}

#[test]
fn host_field_is_settable() {
    let (heads, received) = channel();
    let url = scripted::start(move |request| _ = heads.send(request.head));
    for connect in [polling(&url), websocket(&url)] {
        fault(connect.header("Host", "app.example"));
        let head = received.recv().expect("a request");
        assert!(head.contains("\r\nHost: app.example\r\n"), "{head}");
        assert_eq!(head.matches("Host").count(), 1, "{head}");
    }
}

#[test]
fn only_websockets_offer_subprotocols_and_the_server_may_select_one() {
    let (heads, received) = channel();
    let url = scripted::start(move |request| {
        heads.send(request.head.clone()).ok();
        if request.is_websocket() {
            let line = match request.head.contains("none") {
                true => "",
                false => "Sec-WebSocket-Protocol: v2\r\n",
            };
            let mut stream = request.accept_with(line);
            let open = scripted::open_packet("", 25_000, 20_000);
            _ = stream.write_all(&scripted::frame(Opcode::Text, open.as_bytes(), None));
            scripted::hold(stream);
        }
    });
    block_on(Driver::Epoll, async {
        for offered in ["v1, v2", "none"] {
            let connect = websocket(&url).header("Sec-WebSocket-Protocol", offered);
            drop(connect.await.expect("connects"));
            let head = received.recv().expect("a request");
            assert!(head.contains(&format!("\r\nSec-WebSocket-Protocol: {offered}\r\n")), "{head}");
        }
    });
    let not_offered = websocket(&url).header("Sec-WebSocket-Protocol", "v1");
    assert_eq!(fault(not_offered), Fault::Handshake(Mismatch::Protocol));
    received.try_iter().for_each(drop);
    fault(polling(&url).header("Sec-WebSocket-Protocol", "v1"));
    assert!(!received.recv().expect("a request").contains("Protocol"));
}
