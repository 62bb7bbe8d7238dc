//! Servers with malformed, endless, slow or missing responses: the client reports the right fault in time.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use eio_core::http::Error as HttpError;
use eio_core::ws::Opcode;
use eio_monoio::OwnedMessage;
use eio_monoio::client::{Client, Content, Fault};

use crate::support::client::{
    block_on, fault, for_each_transport, next_message, polling, status, websocket,
};
use crate::support::scripted::{self, Incoming};

#[test]
fn malformed_response_opens_no_session() {
    let cases: [(&[u8], Fault); 9] = [
        (b"", Fault::Lost),
        (b"HTTP/1.1 200 OK\r\nContent-", Fault::Lost),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", Fault::Http(HttpError::BadStatusLine)),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", Fault::Http(HttpError::BadStatusLine)),
        (b"HTTP/1.1 200 OK\nA: b\n\n", Fault::Http(HttpError::BareLf)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n0{", Fault::Http(HttpError::Truncated)),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            Fault::Http(HttpError::BadChunkLine),
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n0{",
            Fault::Http(HttpError::Truncated),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n0",
            Fault::Http(HttpError::RepeatedContentLength),
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(
            fault(polling(&scripted::start_with_reply(bytes))),
            expected,
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn invalid_first_packet_opens_no_session() {
    let body =
        |body: &'static str| scripted::start(move |request| drop(request.answer("200 OK", body)));
    assert_eq!(fault(polling(&body("4hello"))), Fault::NotOpened);
    assert_eq!(fault(polling(&body("6"))), Fault::NotOpened);
    assert_eq!(fault(polling(&body("1"))), Fault::NotOpened);
    // The answer of an Engine.IO 3 server.
    let v3 =
        r#"96:0{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":5000}2:40"#;
    assert_eq!(fault(polling(&body(v3))), Fault::Content(Content::EngineIo3));
    assert!(matches!(fault(polling(&body(""))), Fault::Packet(_)));
    for json in ["0", "0{", "0[]", r#"0{"sid":"a"}"#, r#"0{"sid":5,"upgrades":[]}"#, "0{}x"] {
        assert!(matches!(fault(polling(&body(json))), Fault::Open(_)), "{json}");
    }
}

#[test]
fn refusal_reports_status_and_body() {
    let version = r#"{"code":5,"message":"Unsupported protocol version"}"#;
    let url = scripted::start(move |request| drop(request.answer("400 Bad Incoming", version)));
    let refusal = status(400, version);
    assert_eq!(fault(polling(&url)), refusal);
    assert_eq!((refusal.status(), refusal.code()), (Some(400), Some(5)));
    assert_eq!(fault(websocket(&url)), refusal);
    // The body of a refusal is kept up to 1024 bytes.
    let url = scripted::start(|mut request| {
        request.send(b"HTTP/1.1 500 Oops\r\n\r\n");
        while request.stream.write_all(&[b'x'; 1024]).is_ok() {}
    });
    assert_eq!(fault(polling(&url)), status(500, &"x".repeat(1024)));
}

#[test]
fn endless_response_is_bounded() {
    let url = scripted::start(|mut request| {
        request.send(b"HTTP/1.1 200 OK\r\n");
        while request.stream.write_all(b"X-Header: and another one\r\n").is_ok() {}
    });
    assert_eq!(fault(polling(&url)), Fault::Http(HttpError::HeadTooLarge));
    let url = scripted::start(|mut request| {
        request.send(b"HTTP/1.1 200 OK\r\n\r\n");
        while request.stream.write_all(&[b'4'; 1024]).is_ok() {}
    });
    assert_eq!(fault(polling(&url).max_payload(10_000)), Fault::Http(HttpError::BodyTooLarge));
    let url =
        scripted::start_with_reply(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n");
    assert_eq!(fault(polling(&url)), Fault::Http(HttpError::BodyTooLarge));
}

#[test]
fn silent_server_times_out() {
    let brief = Duration::from_millis(200);
    let silent = scripted::start(Incoming::hold);
    let begun = Instant::now();
    assert_eq!(fault(polling(&silent).request_timeout(brief)), Fault::RequestTimeout);
    assert_eq!(fault(websocket(&silent).request_timeout(brief)), Fault::RequestTimeout);
    assert_eq!(fault(polling(&silent).open_timeout(brief)), Fault::OpenTimeout);
    assert_eq!(fault(websocket(&silent).open_timeout(brief)), Fault::OpenTimeout);
    // A server that opens a WebSocket and sends nothing on it.
    let silent_websocket = scripted::start(|request| {
        let stream = request.accept();
        scripted::hold(stream);
    });
    assert_eq!(fault(websocket(&silent_websocket).open_timeout(brief)), Fault::OpenTimeout);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn unresponsive_host_times_out() {
    // With a full backlog the kernel drops connection requests.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let _full: Vec<_> = (0..3)
        .map_while(|_| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok())
        .collect();
    let connect = polling(&format!("http://{address}")).connect_timeout(Duration::from_millis(300));
    let begun = Instant::now();
    assert_eq!(fault(connect), Fault::ConnectTimeout);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn reset_is_a_lost_connection() {
    let url = scripted::start(|request| request.reset());
    assert_eq!(fault(polling(&url)), Fault::Lost);
    assert_eq!(fault(websocket(&url)), Fault::Lost);
}

#[test]
fn slow_server_is_awaited_until_the_timeout() {
    /// Sends byte after byte with a pause before each.
    fn drip(stream: &mut TcpStream, bytes: &[u8], pause: u64) {
        for byte in bytes {
            thread::sleep(Duration::from_millis(pause));
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
        }
    }
    let dripping = |pause| {
        scripted::start(move |mut request| {
            let open = scripted::open_packet("", 25_000, 20_000);
            if request.is_websocket() {
                let mut stream = request.accept();
                drip(&mut stream, &scripted::frame(Opcode::Text, open.as_bytes(), None), pause);
                drip(&mut stream, &scripted::frame(Opcode::Text, b"4slow", None), pause);
                scripted::hold(stream);
                return;
            }
            let body = if request.is_handshake() { &open } else { "4slow" };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            drip(&mut request.stream, head.as_bytes(), pause);
            drip(&mut request.stream, body.as_bytes(), pause);
        })
    };
    let slow = dripping(1);
    for_each_transport(|driver, transport| {
        if let Some(transport) = transport {
            block_on(driver, async {
                let connect = Client::connect(&slow).transports([transport]);
                let client = connect.await.expect("connects");
                assert_eq!(next_message(&client).await, OwnedMessage::Text("slow".into()));
            });
        }
    });
    let endless = polling(&dripping(100)).request_timeout(Duration::from_millis(500));
    assert_eq!(fault(endless), Fault::RequestTimeout);
    let endless = websocket(&dripping(100)).open_timeout(Duration::from_millis(500));
    assert_eq!(fault(endless), Fault::OpenTimeout);
}
