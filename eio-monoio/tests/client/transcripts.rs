//! Odd but legal servers: transcripts of responses that the client must accept, each with the rule that permits it.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use eio_core::ws::{Opcode, handshake};
use eio_monoio::client::Client;
use eio_monoio::{CloseReason, Driver, OwnedMessage};

use crate::support::client::{block_on, closed, next_message, polling, recv_heads, websocket};
use crate::support::scripted::{self, Incoming};

/// A server that sends `handshake` as it is in answer to the first request, and the message `hi` in answer to the next.
fn polling_server(handshake: Vec<u8>) -> String {
    scripted::start(move |request| {
        let mut next = Some(request);
        let mut sent = false;
        while let Some(mut request) = next {
            if request.is_handshake() {
                request.send(&handshake);
                // Without a length, the end of the connection is the end of the body.
                let persists = !handshake.starts_with(b"HTTP/1.1 200 OK\r\n\r\n");
                next = persists.then(|| Incoming::read(request.stream)).flatten();
            } else if request.is_post() {
                next = request.answer("200 OK", "ok");
            } else if sent {
                return request.hold();
            } else {
                sent = true;
                next = request.answer("200 OK", "4hi");
            }
        }
    })
}

const OPEN: &str =
    r#"0{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}"#;

/// `OPEN` in two chunks, with an extension and a trailer.
fn chunked() -> String {
    let (first, rest) = OPEN.split_at(10);
    format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na;name=\"v\"\r\n{first}\r\n{:X}\r\n{rest}\r\n0\r\nTrailer: x\r\n\r\n",
        rest.len()
    )
}

/// Responses that a server may send, each with the rule that allows it.
fn legal_handshakes() -> Vec<(&'static str, String)> {
    let with_head = |head: &str| format!("{head}\r\nContent-Length: {}\r\n\r\n{OPEN}", OPEN.len());
    let with_body =
        |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    vec![
        ("RFC 9112 section 7.1: chunks with extensions and trailers", chunked()),
        (
            "RFC 9112 section 6.3: a body that ends with the connection",
            format!("HTTP/1.1 200 OK\r\n\r\n{OPEN}"),
        ),
        ("RFC 9112 section 9.3: a response of HTTP/1.0", with_head("HTTP/1.0 200 OK")),
        (
            "RFC 9112 section 9.6: Connection: close",
            with_head("HTTP/1.1 200 OK\r\nConnection: close"),
        ),
        ("RFC 9112 section 4: an empty reason phrase", with_head("HTTP/1.1 200 ")),
        (
            "RFC 9110 section 15.2: interim responses",
            with_head(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK",
            ),
        ),
        (
            "RFC 9110 section 5.1: names in small letters, no space after the colon",
            with_head("HTTP/1.1 200 OK\r\ncontent-type:text/plain\r\nconnection:keep-alive"),
        ),
        (
            "RFC 9110 section 5.5: white space around a value, bytes of obs-text",
            with_head("HTTP/1.1 200 OK\r\nX-Name: \t \u{fc}\t "),
        ),
        (
            "RFC 9112 section 5: any number of fields",
            with_head(&format!("HTTP/1.1 200 OK{}", "\r\nX-Served-By: cache-1".repeat(30))),
        ),
        (
            "protocol.md 2.3.6: any Content-Type",
            with_head("HTTP/1.1 200 OK\r\nContent-Type: text/html"),
        ),
        (
            "RFC 9112 appendix C.2.2: Keep-Alive with other parameters",
            with_head("HTTP/1.1 200 OK\r\nKeep-Alive: max=1, timeout=1"),
        ),
        (
            "RFC 9110 section 8.4.1: Content-Encoding: identity",
            with_head("HTTP/1.1 200 OK\r\nContent-Encoding: identity"),
        ),
        (
            "RFC 6265 section 3: several cookies, one without attributes",
            with_head(
                "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nSet-Cookie: c=\"d\"; Secure; Expires=Fri, 31 Dec 9999 23:59:59 GMT",
            ),
        ),
        (
            "RFC 8259 section 4: keys in any order, unknown keys",
            with_body(
                r#"0 {"x":[{}], "pingTimeout":20000,"upgrades":["webtransport"],"pingInterval":25000,"sid":"abc"}"#,
            ),
        ),
        (
            "RFC 8259 section 6: numbers with fraction and exponent",
            with_body(
                r#"0{"sid":"abc","upgrades":[],"pingInterval":33333.333333333336,"pingTimeout":2e4,"maxPayload":1e+21}"#,
            ),
        ),
        (
            "RFC 8259 section 6: an exponent with a sign, a fraction of zeros",
            with_body(
                r#"0{"sid":"abc","upgrades":[],"pingInterval":2.5E+4,"pingTimeout":20000.00,"maxPayload":1e6}"#,
            ),
        ),
        (
            "protocol.md 3.3: a number beyond 64 bits",
            with_body(
                r#"0{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":99999999999999999999}"#,
            ),
        ),
        (
            "protocol.md 3.3: numbers as strings of digits",
            with_body(
                r#"0{"sid":"abc","upgrades":[],"pingInterval":"15000","pingTimeout":"5000","maxPayload":null}"#,
            ),
        ),
        (
            "protocol.md 3.3: messages after the open packet in one body",
            with_body(&format!("{OPEN}\u{1e}4hi")),
        ),
        (
            "protocol.md 3.8: a noop and a ping after the open packet",
            with_body(&format!("{OPEN}\u{1e}6\u{1e}2data")),
        ),
    ]
}

#[test]
fn legal_responses_to_a_polling_handshake_open_a_session() {
    for (rule, handshake) in legal_handshakes() {
        let url = polling_server(handshake.into_bytes());
        block_on(Driver::Epoll, async {
            let client = polling(&url).await.unwrap_or_else(|error| panic!("{rule}: {error}"));
            assert_eq!(client.sid().as_str(), "abc", "{rule}");
            assert_eq!(next_message(&client).await, OwnedMessage::Text("hi".into()), "{rule}");
        });
    }
}

#[test]
fn legal_websocket_servers_open_a_session() {
    let open = scripted::open_packet("", 25_000, 20_000);
    let text = |payload: &str| scripted::frame(Opcode::Text, payload.as_bytes(), None);
    let mut fragments = text("4h");
    fragments[0] &= 0x7f;
    fragments.extend(scripted::frame(Opcode::Ping, b"between", None));
    fragments.extend(scripted::frame(Opcode::Continuation, b"i", None));
    let transcripts = [
        (
            "RFC 6455 section 4.1: values in any case",
            "UPGRADE: WebSocket\r\nconnection: keep-alive, upgrade\r\n",
            text("4hi"),
        ),
        (
            "RFC 6455 section 4.2.2: an empty list of extensions",
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Extensions: \r\n",
            text("4hi"),
        ),
        (
            "RFC 6455 section 5.4: fragments, with a ping between them",
            "Upgrade: websocket\r\nConnection: Upgrade\r\n",
            fragments,
        ),
        (
            "RFC 6455 section 5.5.3: an unsolicited pong",
            "Upgrade: websocket\r\nConnection: Upgrade\r\n",
            [scripted::frame(Opcode::Pong, b"x", None), text("4hi")].concat(),
        ),
        (
            "protocol.md 3.8: a noop and a ping with data",
            "Upgrade: websocket\r\nConnection: Upgrade\r\n",
            [text("6"), text("2data"), text("4hi")].concat(),
        ),
    ];
    for (rule, lines, frames) in transcripts {
        let frames = [text(&open), frames].concat();
        let url = scripted::start(move |mut request| {
            let key =
                request.head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
            let accept = handshake::accept_key(key.expect("a key"));
            let head = format!(
                "HTTP/1.1 101 \r\n{lines}Sec-WebSocket-Accept: {}\r\n\r\n",
                str::from_utf8(&accept).expect("base64")
            );
            // RFC 6455 section 4.1: frames may follow the handshake in the same segment.
            request.send([head.as_bytes(), &frames].concat());
            request.hold();
        });
        block_on(Driver::Epoll, async {
            let client = websocket(&url).await.unwrap_or_else(|error| panic!("{rule}: {error}"));
            assert_eq!(next_message(&client).await, OwnedMessage::Text("hi".into()), "{rule}");
        });
    }
}

/// RFC 9110 section 15.2: interim responses; and the header fields of a content delivery network.
#[test]
fn interim_responses_and_thirty_fields_precede_a_websocket() {
    let url = scripted::start(move |mut request| {
        let key = request.head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let accept = handshake::accept_key(key.expect("a key"));
        let accept = str::from_utf8(&accept).expect("base64");
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(2);
        let fields: String = (0..30).map(|n| format!("X-Served-By-{n}: cache-{n}\r\n")).collect();
        let head = format!(
            "HTTP/1.1 100 Continue\r\n\r\n{hints}HTTP/1.1 101 Switching Protocols\r\n{fields}\
             Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        let open = scripted::open_packet("", 25_000, 20_000);
        let frame = |text: &str| scripted::frame(Opcode::Text, text.as_bytes(), None);
        request.send([head.as_bytes(), &frame(&open), &frame("4hi")].concat());
        request.hold();
    });
    block_on(Driver::Epoll, async {
        let client = websocket(&url).await.expect("connects");
        assert_eq!(next_message(&client).await, OwnedMessage::Text("hi".into()));
    });
}

/// RFC 6455 section 7.1.5: a close frame without a code is legal.
#[test]
fn close_frame_without_a_code_ends_the_session() {
    let url = scripted::start(|request| {
        let mut stream = request.accept();
        let open = scripted::open_packet("", 25_000, 20_000);
        _ = stream.write_all(&scripted::frame(Opcode::Text, open.as_bytes(), None));
        _ = stream.write_all(&scripted::frame(Opcode::Close, b"", None));
        scripted::hold(stream);
    });
    block_on(Driver::Epoll, async {
        let client = websocket(&url).await.expect("connects");
        let closed = closed(&client).await;
        assert_eq!(closed.reason, CloseReason::TransportClose);
        assert_eq!(closed.to_string(), "transport close (close frame without a code)");
    });
}

/// docs/protocol.md 3.11: python-engineio sends a noop on the WebSocket after `3probe`.
#[test]
fn noop_after_the_probe_does_not_disturb_an_upgrade() {
    let url = scripted::start(|request| {
        if request.is_websocket() {
            let mut stream = request.accept();
            for packet in ["3probe", "6", "4hi"] {
                _ = stream.write_all(&scripted::frame(Opcode::Text, packet.as_bytes(), None));
                thread::sleep(Duration::from_millis(300));
            }
            return scripted::hold(stream);
        }
        let mut next = Some(request);
        while let Some(request) = next {
            let open = scripted::open_packet(r#""websocket""#, 25_000, 20_000);
            let handshake = request.is_handshake();
            next = request.answer("200 OK", if handshake { &open } else { "6" });
            thread::sleep(Duration::from_millis(50));
        }
    });
    block_on(Driver::Epoll, async {
        let client = Client::connect(&url).await.expect("connects");
        assert_eq!(next_message(&client).await, OwnedMessage::Text("hi".into()));
    });
}

/// RFC 9112 section 9.3.1: a server may end an idle connection at any time, so also when a request arrives. gunicorn
/// does so after 2 s and announces nothing; RFC 9110 section 9.2.2 forbids to repeat a POST.
#[test]
fn no_post_is_lost_on_a_connection_that_the_server_ends_after_two_seconds() {
    let url = scripted::start(|request| {
        let mut next = Some(request);
        let mut answered = None::<Instant>;
        while let Some(request) = next {
            // The server ends the connection while the request is under way.
            if request.is_post()
                && answered.is_some_and(|since| since.elapsed().as_millis() > 1_500)
            {
                return;
            }
            let open = scripted::open_packet("", 25_000, 20_000);
            next = match (request.is_handshake(), request.is_post()) {
                (true, _) => request.answer("200 OK", &open),
                (false, true) => {
                    answered = Some(Instant::now());
                    request.answer("200 OK", "ok")
                }
                (false, false) => return request.hold(),
            };
        }
    });
    block_on(Driver::Epoll, async {
        let client = polling(&url).await.expect("connects");
        for _ in 0..4 {
            client.send("hello").await.expect("the session is open");
            client.flushed().await;
            eio_monoio::sleep(Duration::from_millis(1_800)).await;
        }
        client.send("last").await.expect("the session is open");
        client.flushed().await;
    });
}

/// RFC 6265 section 5.2.1: a server deletes a cookie by a date in the past, in any of the forms of section 5.1.1.
#[test]
fn deleted_cookie_is_not_sent_again() {
    let (heads, received) = std::sync::mpsc::channel();
    let url = scripted::start(move |request| {
        let mut next = Some(request);
        while let Some(request) = next {
            heads.send(request.head.clone()).ok();
            let cookies = "Set-Cookie: a=1\r\nSet-Cookie: b=2; Path=/\r\nSet-Cookie: c=\"x y\"";
            let deletes = "Set-Cookie: a=; Path=/; Expires=Thu, 01-Jan-1970 00:00:01 GMT";
            let open = scripted::open_packet("", 25_000, 20_000);
            next = match (request.is_handshake(), request.head.contains("a=1")) {
                (true, _) => request.answer(&format!("200 OK\r\n{cookies}"), &open),
                (false, true) => request.answer(&format!("200 OK\r\n{deletes}"), "4hi"),
                (false, false) => return request.hold(),
            };
        }
    });
    block_on(Driver::Epoll, async {
        let client = polling(&url).await.expect("connects");
        assert_eq!(next_message(&client).await, OwnedMessage::Text("hi".into()));
        let heads = recv_heads(&received, 3).await;
        assert!(heads[1].contains("\r\nCookie: a=1; b=2; c=\"x y\"\r\n"), "{heads:?}");
        assert!(heads[2].contains("\r\nCookie: b=2; c=\"x y\"\r\n"), "{heads:?}");
    });
}
