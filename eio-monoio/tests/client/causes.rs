//! Every failure names its cause in words: the texts that an application logs.

use std::io::Write;
use std::time::Duration;

use eio_core::ws::Opcode;
use eio_monoio::client::{Client, Connect, ConnectError, Event};
use eio_monoio::{Driver, Transport};

use crate::support::client::{block_on, closed, connect_over, fault, polling, websocket};
use crate::support::configs::epoll_config;
use crate::support::own_process;
use crate::support::scripted::{self, Incoming};
use crate::support::test_server::TestServer;

/// The text of a failed attempt to connect.
fn failure(connect: Connect) -> String {
    fault(connect).to_string()
}

/// The text of a failed attempt over polling, if the server answers with these bytes.
fn after(reply: &'static [u8]) -> String {
    failure(polling(&scripted::start_with_reply(reply)))
}

/// The text of a failed attempt over polling, if the server answers with this status line and body.
fn answered(status: &'static str, body: &'static str) -> String {
    failure(polling(&scripted::start(move |request| drop(request.answer(status, body)))))
}

/// The text of a failed attempt over a WebSocket, if the server serves its request in this way.
fn over_websocket(serve: fn(Incoming)) -> String {
    failure(websocket(&scripted::start(serve)))
}

/// The text of the end of a WebSocket session in which the server sends these bytes after the open packet, with
/// `ping` for its interval and timeout.
fn end_after(bytes: Vec<u8>, ping: u32) -> String {
    let url = scripted::start(move |request| {
        let mut stream = request.accept();
        let open = scripted::open_packet("", ping, ping);
        _ = stream.write_all(&scripted::frame(Opcode::Text, open.as_bytes(), None));
        _ = stream.write_all(&bytes);
        scripted::hold(stream);
    });
    block_on(Driver::Epoll, async {
        let client = websocket(&url).max_payload(1_000).await.expect("connects");
        closed(&client).await.to_string()
    })
}

/// The text of an upgrade that the server serves in this way.
fn failed_upgrade(serve: fn(Incoming)) -> String {
    let url = scripted::start(move |request| {
        if request.is_websocket() {
            return serve(request);
        }
        let open = scripted::open_packet(r#""websocket""#, 25_000, 20_000);
        match request.is_handshake() {
            true => request.answer("200 OK", &open).into_iter().for_each(Incoming::hold),
            false => request.hold(),
        }
    });
    block_on(Driver::Epoll, async {
        let client = Client::connect(&url).await.expect("connects");
        match client.next().await {
            Some(Event::UpgradeFailed(why)) => why.to_string(),
            other => panic!("{other:?}"),
        }
    })
}

/// The text of a connection that is not attempted.
fn refused(connect: Connect) -> String {
    let outcome = block_on(Driver::Epoll, async { connect.await.map(drop) });
    match outcome {
        Err(error @ (ConnectError::Url(_) | ConnectError::Option(..))) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check(table: &[(String, &str)]) {
    for (text, words) in table {
        assert!(text.contains(words), "{text:?} does not say {words:?}");
        assert!(text.len() < 250, "{text}");
    }
}

#[test]
fn failed_connections_name_their_cause() {
    let brief = Duration::from_millis(200);
    let silent = scripted::start(Incoming::hold);
    let through = |status: &'static str| {
        let proxy = scripted::start(move |request| drop(request.answer(status, "")));
        websocket("ws://127.0.0.1:1").proxy(&proxy)
    };
    let silent_proxy = websocket("ws://127.0.0.1:1").proxy(&silent).connect_timeout(brief);
    check(&[
        (failure(polling("http://no-such-host.invalid")), "cannot resolve the host"),
        (failure(polling("http://127.0.0.1:1")), "cannot connect: Connection refused"),
        (failure(silent_proxy), "connection timed out"),
        (
            failure(through("407 Proxy Authentication Required")),
            "the proxy answered CONNECT with status 407",
        ),
        (failure(through("502 Bad Gateway")), "the proxy answered CONNECT with status 502"),
        (after(b"\x15\x03\x01\x00\x02\x02\x28"), "expects TLS on this port: use https"),
        (after(b""), "connection lost"),
        (failure(polling(&silent).request_timeout(brief)), "no response in time"),
        (failure(polling(&silent).open_timeout(brief)), "no open packet in time"),
        (refused(Client::connect("htp://a")), "the scheme is not http, https, ws or wss"),
        (refused(Client::connect("http://a").max_payload(0)), "max_payload: 0 is outside"),
        (
            refused(Client::connect("http://a").header("Upgrade", "x")),
            "Upgrade is set by the client",
        ),
    ]);
    if cfg!(feature = "tls") {
        // Every server answers the first bytes of TLS, which are no request line, at once.
        let server = TestServer::start(epoll_config());
        let plain = server.url().replace("http", "https");
        check(&[(failure(polling(&plain)), "does not speak TLS on this port: use http")]);
    }
}

#[test]
fn refusals_name_their_cause() {
    const MOVED: &[u8] =
        b"HTTP/1.1 301 Moved\r\nLocation: https://b.example/\r\nContent-Length: 0\r\n\r\n";
    let version = r#"{"code":5,"message":"Unsupported protocol version"}"#;
    let page = "<!DOCTYPE html><title>Not Found</title>";
    check(&[
        (after(MOVED), "status 301, moved to https://b.example/"),
        (answered("401 Unauthorized", r#""token expired""#), "status 401: \\\"token expired"),
        (answered("403 Forbidden", ""), "status 403"),
        (answered("404 Not Found", page), "status 404, an HTML page"),
        (answered("400 Bad Request", version), "Unsupported protocol version"),
        (answered("503 Service Unavailable", ""), "status 503"),
        (over_websocket(|request| drop(request.answer("400 Bad Request", "no"))), "status 400: no"),
    ]);
}

#[test]
fn responses_of_other_servers_are_named() {
    const GZIP: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08";
    let v3 =
        r#"96:0{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":5000}2:40"#;
    check(&[
        (
            answered("200 OK", "<!DOCTYPE html><title>Log in</title>"),
            "the response is an HTML page",
        ),
        (after(GZIP), "the response is compressed"),
        (answered("200 OK", v3), "the server speaks Engine.IO 3"),
        (answered("200 OK", "hello"), "packet"),
        (answered("200 OK", "4hello"), "the first packet is not an open packet"),
        (answered("200 OK", "0{}"), "the handshake has no sid"),
        (after(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"), "status line"),
        (
            after(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n0{"),
            "the stream ended inside a body",
        ),
        (
            failure(
                polling(&scripted::start(|request| drop(request.answer("200 OK", "0{sid}"))))
                    .max_payload(3),
            ),
            "large",
        ),
        (
            over_websocket(|mut request| request.send("HTTP/1.1 101 Switching Protocols\r\n\r\n")),
            "no Upgrade: websocket",
        ),
        (
            over_websocket(|request| {
                scripted::hold(request.accept_with("Sec-WebSocket-Extensions: x\r\n"))
            }),
            "extension that was not offered",
        ),
        (
            over_websocket(|request| {
                scripted::hold(request.accept_with("Sec-WebSocket-Protocol: x\r\n"))
            }),
            "subprotocol that was not offered",
        ),
    ]);
}

#[test]
fn ends_of_sessions_and_upgrades_name_their_cause() {
    const LONG: u32 = 25_000;
    let close = scripted::frame(Opcode::Close, b"\x03\xe9going away", None);
    let masked = scripted::frame(Opcode::Text, b"4a", Some([1; 4]));
    let large = scripted::frame(Opcode::Binary, &[0; 1_001], None);
    check(&[
        (end_after(close, LONG), "transport close (close frame with code 1001: going away)"),
        (end_after(masked, LONG), "masked"),
        (end_after(large, LONG), "payload too large"),
        (end_after(scripted::frame(Opcode::Text, b"x", None), LONG), "parse error"),
        (end_after(scripted::frame(Opcode::Text, b"1", None), LONG), "server disconnect"),
        (end_after(Vec::new(), 100), "ping timeout"),
        (
            failed_upgrade(|request| drop(request.answer("400 Bad Request", r#"{"code":3}"#))),
            "the WebSocket of the upgrade was lost (status 400: {\\\"code\\\":3})",
        ),
        (
            failed_upgrade(Incoming::reset),
            "the WebSocket of the upgrade was lost (connection lost)",
        ),
        (
            failed_upgrade(|request| {
                let mut stream = request.accept();
                _ = stream.write_all(&scripted::frame(Opcode::Text, b"3wrong", None));
                scripted::hold(stream);
            }),
            "unexpected packet during the upgrade",
        ),
    ]);
}

#[test]
fn too_many_open_files_are_named() {
    own_process::for_each_driver(module_path!(), "too_many_open_files_are_named", |driver| {
        let server = scripted::start(Incoming::hold);
        for transport in [Transport::Polling, Transport::WebSocket] {
            block_on(driver, async {
                let connect = connect_over(&server, Some(transport));
                let mut files = Vec::new();
                while let Ok(file) = std::fs::File::open("/dev/null") {
                    files.push(file);
                }
                let error = connect.await.expect_err("no descriptor is left");
                drop(files);
                let text = error.to_string();
                assert!(text.contains("too many open files (EMFILE)"), "{text}");
                assert!(error.fault().is_some_and(|fault| fault.is_temporary()));
            });
        }
    });
}
