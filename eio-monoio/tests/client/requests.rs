//! The requests of a client: URL, headers, cookies and bodies.

use std::sync::mpsc::channel;

use eio_monoio::Driver;
use eio_monoio::client::{Client, ConnectError, Event, Fault};

use crate::support::client::{block_on, polling};
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

#[test]
fn proxy_receives_a_connect_request() {
    let (heads, received) = channel();
    let proxy = scripted::start(move |mut request| {
        heads.send(request.head.clone()).ok();
        if request.head.contains("refused.example") {
            request.send("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
            return;
        }
        request.send("HTTP/1.1 200 Connection established\r\n\r\n");
        // The next requests are for the server, whose part this thread plays as well.
        let mut next = Incoming::read(request.stream);
        while let Some(request) = next {
            next = match request.is_handshake() {
                true => request.answer("200 OK", &scripted::open_packet("", 25_000, 20_000)),
                false => return request.hold(),
            };
        }
    });
    let proxy = proxy.replace("http://", "http://u:p@");
    block_on(Driver::Epoll, async {
        let client = polling("http://[2001:db8::1]:8080").proxy(&proxy).await.expect("connects");
        assert_eq!(client.sid().as_str(), "abc");
        let refused = polling("http://refused.example").proxy(&proxy).await;
        assert_eq!(refused.unwrap_err(), ConnectError::Failed(Fault::Proxy(407)));
    });
    let head = received.recv().unwrap();
    assert!(head.starts_with("CONNECT [2001:db8::1]:8080 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nProxy-Authorization: Basic dTpw\r\n"), "{head}");
}
