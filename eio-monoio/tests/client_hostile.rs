//! The client against servers that break the rules, fall silent or vanish: each ends in the right reason, in
//! time, and no client is harmed by more than its session.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use eio_core::buffer::Writer;
use eio_core::http::Error as HttpError;
use eio_core::ws::{self, Opcode, handshake};
use eio_monoio::client::{self, Client, Connect, ConnectError, Event, Fault, SendError};
use eio_monoio::{CloseReason, Driver, OwnedMessage, Transport};
use support::client::{drivers, end, message, within};

/// A request that came, and its connection.
struct Request {
    stream: TcpStream,
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn read(mut stream: TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..end + 2]).into_owned();
                let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
                let length = length.map_or(0, |length| length.parse().unwrap());
                if bytes.len() >= end + 4 + length {
                    return Some(Self { stream, head, body: bytes[end + 4..].to_vec() });
                }
            }
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            }
        }
    }

    fn is_post(&self) -> bool {
        self.head.starts_with("POST ")
    }

    fn is_websocket(&self) -> bool {
        self.head.contains("transport=websocket")
    }

    fn is_first(&self) -> bool {
        !self.head.contains("sid=")
    }

    /// Answers and reads the next request of this connection.
    fn answer(mut self, status: &str, body: &str) -> Option<Self> {
        self.send(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        Self::read(self.stream)
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The client may be gone already; whether that is right is the client's side to say.
        _ = self.stream.write_all(bytes.as_ref());
    }

    /// Accepts a WebSocket.
    fn accept(mut self) -> TcpStream {
        let key = self.head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let accept = handshake::accept_key(key.expect("a key"));
        let accept = str::from_utf8(&accept).unwrap().to_owned();
        self.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        ));
        self.stream
    }

    /// Falls silent until the client hangs up.
    fn hold(mut self) {
        while matches!(self.stream.read(&mut [0; 1024]), Ok(1..)) {}
    }
}

/// Ends a connection by RST.
fn reset(stream: TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

fn frame(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut memory = vec![0; payload.len() + 16];
    let mut out = Writer::new(&mut memory);
    ws::encode(&mut out, opcode, b"", payload, mask).unwrap();
    out.written().to_vec()
}

/// A server that does this with each connection, in a thread of its own.
fn server(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    url
}

/// A server that does this with each first request of a connection.
fn requests(serve: impl Fn(Request) + Clone + Send + 'static) -> String {
    server(move |stream| {
        if let Some(request) = Request::read(stream) {
            serve(request);
        }
    })
}

fn open_packet(upgrades: &str, interval: u32, timeout: u32) -> String {
    format!(
        r#"0{{"sid":"abc","upgrades":[{upgrades}],"pingInterval":{interval},"pingTimeout":{timeout},"maxPayload":1000}}"#
    )
}

fn polling(url: &str) -> Connect {
    Client::connect(url).transports([Transport::Polling])
}

fn websocket(url: &str) -> Connect {
    Client::connect(url).transports([Transport::WebSocket])
}

/// The fault of a connection that must fail.
fn fault(connect: Connect) -> Fault {
    let faults = drivers().map(|driver| {
        let connect = connect.clone();
        within(driver, async {
            match connect.await {
                Err(ConnectError::Failed(fault)) => fault,
                other => panic!("{other:?}"),
            }
        })
    });
    let same = |one, other| {
        assert_eq!(one, other, "the drivers differ");
        one
    };
    faults.reduce(same).expect("a driver")
}

/// Answers every handshake GET with these bytes, then closes.
fn replying(bytes: &'static [u8]) -> String {
    requests(move |mut request| request.send(bytes))
}

#[test]
fn a_response_that_is_not_one_is_no_session() {
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
        assert_eq!(fault(polling(&replying(bytes))), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_first_packet_that_opens_nothing_is_no_session() {
    let body = |body: &'static str| requests(move |request| drop(request.answer("200 OK", body)));
    assert_eq!(fault(polling(&body("4hello"))), Fault::NotOpened);
    assert_eq!(fault(polling(&body("6"))), Fault::NotOpened);
    assert_eq!(fault(polling(&body("1"))), Fault::NotOpened);
    // What a server of Engine.IO 3 answers.
    let v3 =
        r#"96:0{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":5000}2:40"#;
    assert!(matches!(fault(polling(&body(v3))), Fault::Packet(_)));
    assert!(matches!(fault(polling(&body(""))), Fault::Packet(_)));
    for json in ["0", "0{", "0[]", r#"0{"sid":"a"}"#, r#"0{"sid":5,"upgrades":[]}"#, "0{}x"] {
        assert!(matches!(fault(polling(&body(json))), Fault::Open(_)), "{json}");
    }
}

#[test]
fn a_refusal_is_told_with_status_and_body() {
    let version = r#"{"code":5,"message":"Unsupported protocol version"}"#;
    let url = requests(move |request| drop(request.answer("400 Bad Request", version)));
    let told = Fault::Status { status: 400, body: version.into() };
    assert_eq!(fault(polling(&url)), told);
    assert_eq!((told.status(), told.code()), (Some(400), Some(5)));
    assert_eq!(fault(websocket(&url)), told);
    let url = replying(b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n");
    assert_eq!(fault(polling(&url)), Fault::Status { status: 302, body: String::new() });
    // A refusal without an end is told as far as it is worth telling.
    let url = requests(|mut request| {
        request.send(b"HTTP/1.1 500 Oops\r\n\r\n");
        while request.stream.write_all(&[b'x'; 1024]).is_ok() {}
    });
    assert_eq!(fault(polling(&url)), Fault::Status { status: 500, body: "x".repeat(1024) });
}

#[test]
fn an_endless_response_does_not_take_all_memory() {
    let url = requests(|mut request| {
        request.send(b"HTTP/1.1 200 OK\r\n");
        while request.stream.write_all(b"X-Header: and another one\r\n").is_ok() {}
    });
    assert_eq!(fault(polling(&url)), Fault::Http(HttpError::HeadTooLarge));
    let url = requests(|mut request| {
        request.send(b"HTTP/1.1 200 OK\r\n\r\n");
        while request.stream.write_all(&[b'4'; 1024]).is_ok() {}
    });
    assert_eq!(fault(polling(&url).max_payload(10_000)), Fault::Http(HttpError::BodyTooLarge));
    let url = replying(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n");
    assert_eq!(fault(polling(&url)), Fault::Http(HttpError::BodyTooLarge));
}

#[test]
fn a_silent_server_is_given_up_in_time() {
    let brief = Duration::from_millis(200);
    let silent = requests(Request::hold);
    let begun = Instant::now();
    assert_eq!(fault(polling(&silent).request_timeout(brief)), Fault::RequestTimeout);
    assert_eq!(fault(websocket(&silent).request_timeout(brief)), Fault::RequestTimeout);
    assert_eq!(fault(polling(&silent).open_timeout(brief)), Fault::OpenTimeout);
    assert_eq!(fault(websocket(&silent).open_timeout(brief)), Fault::OpenTimeout);
    // It opens a WebSocket and says nothing on it.
    let mute = requests(|request| {
        let mut stream = request.accept();
        while matches!(stream.read(&mut [0; 64]), Ok(1..)) {}
    });
    assert_eq!(fault(websocket(&mute).open_timeout(brief)), Fault::OpenTimeout);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_host_that_takes_no_connection_is_given_up_in_time() {
    // A full backlog drops what knocks.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
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
fn a_reset_is_a_lost_connection() {
    let url = requests(|request| reset(request.stream));
    assert_eq!(fault(polling(&url)), Fault::Lost);
    assert_eq!(fault(websocket(&url)), Fault::Lost);
}

#[test]
fn a_websocket_that_is_not_one_is_no_session() {
    let switching = |lines: &'static str| {
        requests(move |mut request| {
            request.send(format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n"));
        })
    };
    let wrong = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n";
    for lines in ["", "Upgrade: websocket\r\n", wrong] {
        let fault = fault(websocket(&switching(lines)));
        assert!(matches!(fault, Fault::Handshake(_)), "{lines}: {fault}");
    }
    assert_eq!(
        fault(websocket(&replying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))),
        Fault::Status { status: 200, body: "ok".into() }
    );
}

/// The end of a session over a WebSocket on which the server sends `bytes` behind the open packet.
fn end_after(bytes: Vec<u8>) -> client::Closed {
    let url = requests(move |request| {
        let mut stream = request.accept();
        let open = open_packet("", 25_000, 20_000);
        _ = stream.write_all(&frame(Opcode::Text, open.as_bytes(), None));
        _ = stream.write_all(&bytes);
        let mut rest = [0; 1024];
        while matches!(stream.read(&mut rest), Ok(1..)) {}
    });
    within(Driver::Epoll, async {
        let client = websocket(&url)
            .max_payload(100_000)
            .close_timeout(Duration::from_millis(100))
            .await
            .expect("connects");
        end(&client).await
    })
}

#[test]
fn a_server_that_breaks_the_websocket_protocol_ends_its_session_only() {
    let masked = end_after(frame(Opcode::Text, b"4x", Some([1, 2, 3, 4])));
    assert_eq!(masked.reason, CloseReason::ParseError);
    assert_eq!(masked.detail, Some(Fault::WebSocket(ws::Error::Masked)));
    let large = end_after(frame(Opcode::Binary, &vec![0; 100_001], None));
    assert_eq!(large.reason, CloseReason::PayloadTooLarge);
    assert_eq!(large.detail, Some(Fault::WebSocket(ws::Error::TooBig)));
    for bad in [&b""[..], b"7", b"x", b"4\xff", b"b!"] {
        let closed = end_after(frame(Opcode::Text, bad, None));
        assert_eq!(closed.reason, CloseReason::ParseError, "{}", bad.escape_ascii());
        assert!(matches!(closed.detail, Some(Fault::Packet(_))), "{closed}");
    }
    let closed = end_after(frame(Opcode::Close, b"\x03\xf1bye", None));
    assert_eq!(closed.reason, CloseReason::TransportClose);
    let told = Fault::CloseFrame { code: Some(1009), reason: "bye".into() };
    assert_eq!(closed.detail, Some(told));
    let closed = end_after(frame(Opcode::Text, b"1", None));
    assert_eq!((closed.reason, closed.detail), (CloseReason::ServerDisconnect, None));
}

#[test]
fn missing_pings_end_a_session_at_interval_and_timeout() {
    let url = requests(|request| {
        let open = open_packet("", 200, 200);
        if request.is_websocket() {
            let mut stream = request.accept();
            _ = stream.write_all(&frame(Opcode::Text, open.as_bytes(), None));
            let mut rest = [0; 1024];
            while matches!(stream.read(&mut rest), Ok(1..)) {}
        } else if request.is_first() {
            // The GET that follows, on whichever connection, is held.
            if let Some(next) = request.answer("200 OK", &open) {
                next.hold();
            }
        } else {
            request.hold();
        }
    });
    for driver in drivers() {
        for transport in [Transport::Polling, Transport::WebSocket] {
            within(driver, async {
                let client = Client::connect(&url).transports([transport]).await.expect("connects");
                let begun = Instant::now();
                let closed = end(&client).await;
                assert_eq!((closed.reason, closed.detail), (CloseReason::PingTimeout, None));
                let took = begun.elapsed();
                assert!(took >= Duration::from_millis(380), "{took:?}");
                assert!(took < Duration::from_secs(20), "{took:?}");
                assert_eq!(client.send("late").await, Err(SendError::Closed));
            });
        }
    }
}

/// A server whose session works over polling, and does this with the WebSocket of an upgrade.
fn upgrading(serve: impl Fn(Request) + Clone + Send + 'static) -> String {
    requests(move |request| {
        if request.is_websocket() {
            return serve(request);
        }
        let mut next = Some(request);
        let mut greeted = false;
        while let Some(request) = next {
            next = match (request.is_first(), request.is_post()) {
                (true, _) => {
                    request.answer("200 OK", &open_packet(r#""websocket""#, 25_000, 20_000))
                }
                (false, true) => request.answer("200 OK", "ok"),
                (false, false) if !greeted => {
                    greeted = true;
                    std::thread::sleep(Duration::from_millis(600));
                    request.answer("200 OK", "4still here")
                }
                (false, false) => return request.hold(),
            };
        }
    })
}

#[test]
fn an_upgrade_that_fails_costs_the_session_nothing() {
    let failures: [fn(Request); 6] = [
        |request| reset(request.stream),
        |request| drop(request.answer("503 Service Unavailable", "")),
        |request| reset(request.accept()),
        |request| drop(request.accept()),
        |request| {
            let mut stream = request.accept();
            _ = stream.write_all(&frame(Opcode::Text, b"3wrong", None));
            let mut rest = [0; 64];
            while matches!(stream.read(&mut rest), Ok(1..)) {}
        },
        // Silent for good.
        Request::hold,
    ];
    for failure in failures {
        let url = upgrading(failure);
        within(Driver::Epoll, async {
            let connect = Client::connect(&url).upgrade_timeout(Duration::from_millis(300));
            let client = connect.await.expect("connects");
            assert!(matches!(client.next().await, Some(Event::UpgradeFailed(_))));
            assert_eq!(message(&client).await, OwnedMessage::Text("still here".into()));
            assert_eq!(client.transport(), Transport::Polling);
            client.send("hello").await.expect("queued");
            client.flushed().await;
        });
    }
}

#[test]
fn a_polling_session_ends_with_its_requests() {
    // What becomes of the GET and of the POST behind the handshake.
    type Rule = fn(Request);
    let hold: Rule = Request::hold;
    let refuse: Rule = |request| drop(request.answer("400 Bad Request", r#"{"code":1}"#));
    let vanish: Rule = |request| drop(request);
    let garbage: Rule = |request| drop(request.answer("200 OK", "4a\u{1e}?"));
    let close: Rule = |request| drop(request.answer("200 OK", "4a\u{1e}1\u{1e}4b"));
    let cut: Rule = |mut request| request.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n4a");
    let status = Fault::Status { status: 400, body: r#"{"code":1}"#.into() };
    let cases: [(Rule, Rule, CloseReason, Option<Fault>); 9] = [
        (refuse, hold, CloseReason::TransportError, Some(status.clone())),
        (vanish, hold, CloseReason::TransportError, Some(Fault::Lost)),
        (hold, refuse, CloseReason::TransportError, Some(status)),
        (hold, vanish, CloseReason::TransportError, Some(Fault::Lost)),
        (hold, hold, CloseReason::TransportError, Some(Fault::RequestTimeout)),
        (cut, hold, CloseReason::TransportError, Some(Fault::Http(HttpError::Truncated))),
        (hold, cut, CloseReason::TransportError, Some(Fault::Http(HttpError::Truncated))),
        (close, hold, CloseReason::ServerDisconnect, None),
        (
            garbage,
            hold,
            CloseReason::ParseError,
            Some(Fault::Packet(eio_core::packet::Error::UnknownType)),
        ),
    ];
    for (get, post, reason, detail) in cases {
        let url = requests(move |request| {
            let open = open_packet("", 25_000, 20_000);
            let mut next = Some(request);
            while let Some(request) = next {
                next = match (request.is_first(), request.is_post()) {
                    (true, _) => request.answer("200 OK", &open),
                    (false, true) => return post(request),
                    (false, false) => return get(request),
                };
            }
        });
        within(Driver::Epoll, async {
            let connect = polling(&url).request_timeout(Duration::from_secs(1));
            let client = connect.await.expect("connects");
            // Against the GET's rule if that ends it first.
            client.send("x").await.ok();
            let closed = end(&client).await;
            assert_eq!((closed.reason, closed.detail), (reason, detail));
        });
    }
}

#[test]
fn a_kept_connection_that_the_server_closed_costs_the_session_nothing() {
    // Every response promises to keep the connection, and the promise is never kept.
    let url = requests(|mut request| {
        let body = match (request.is_first(), request.is_post()) {
            (true, _) => open_packet("", 25_000, 20_000),
            (false, true) => "ok".into(),
            (false, false) => {
                std::thread::sleep(Duration::from_millis(20));
                "4again".into()
            }
        };
        request.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    });
    for driver in drivers() {
        within(driver, async {
            let client = polling(&url).await.expect("connects");
            for _ in 0..30 {
                assert_eq!(message(&client).await, OwnedMessage::Text("again".into()));
            }
        });
    }
}

#[test]
fn what_a_session_sends_is_what_was_asked_for() {
    let (tell, told) = std::sync::mpsc::channel();
    let url = requests(move |request| {
        let open = open_packet("", 25_000, 20_000);
        let mut next = Some(request);
        while let Some(request) = next {
            tell.send((request.head.clone(), request.body.clone())).ok();
            let cookie = "200 OK\r\nSet-Cookie: lb=7; Path=/; HttpOnly";
            next = match (request.is_first(), request.is_post()) {
                (true, _) => request.answer(cookie, &open),
                (false, true) => request.answer("200 OK", "ok"),
                (false, false) => return request.hold(),
            };
        }
    });
    let url = url.replace("http://", "http://user:secret@") + "/chat/?room=1&EIO=3";
    within(Driver::Epoll, async {
        let connect = polling(&url).header("X-Token", "t").header("Cookie", "own=1");
        let client = connect.timestamp(None).await.expect("connects");
        client.send("hello").await.expect("queued");
        client.send(&[1, 2, 3]).await.expect("queued");
        client.flushed().await;
    });
    let requests: Vec<_> = told.try_iter().collect();
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
fn the_websocket_of_an_upgrade_reaches_the_process_that_has_the_session() {
    let (tell, told) = std::sync::mpsc::channel();
    let url = requests(move |request| {
        if request.is_websocket() {
            tell.send(request.head.clone()).ok();
            return drop(request.accept());
        }
        let open = open_packet(r#""websocket""#, 25_000, 20_000);
        let cookie = "200 OK\r\nSet-Cookie: lb=gr\u{fc}n; Path=/; HttpOnly";
        if let Some(next) = request.answer(cookie, &open) {
            next.hold();
        }
    });
    let url = url.replace("http://", "http://user:secret@") + "/chat/?room=1";
    within(Driver::Epoll, async {
        let connect = Client::connect(&url).header("X-Token", "t").header("User-Agent", "own/1");
        let client = connect.header("Cookie", "own=1").await.expect("connects");
        assert!(matches!(client.next().await, Some(Event::UpgradeFailed(_))));
    });
    let head = told.recv().unwrap();
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
fn a_slow_server_is_waited_for_but_not_for_ever() {
    /// Sends this byte for byte.
    fn drip(stream: &mut TcpStream, bytes: &[u8], pause: u64) {
        for byte in bytes {
            std::thread::sleep(Duration::from_millis(pause));
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
        }
    }
    let dripping = |pause| {
        requests(move |mut request| {
            let open = open_packet("", 25_000, 20_000);
            if request.is_websocket() {
                let mut stream = request.accept();
                drip(&mut stream, &frame(Opcode::Text, open.as_bytes(), None), pause);
                drip(&mut stream, &frame(Opcode::Text, b"4slow", None), pause);
                while matches!(stream.read(&mut [0; 64]), Ok(1..)) {}
                return;
            }
            let body = if request.is_first() { &open } else { "4slow" };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            drip(&mut request.stream, head.as_bytes(), pause);
            drip(&mut request.stream, body.as_bytes(), pause);
        })
    };
    let patient = dripping(1);
    for driver in drivers() {
        for transport in [Transport::Polling, Transport::WebSocket] {
            within(driver, async {
                let connect = Client::connect(&patient).transports([transport]);
                let client = connect.await.expect("connects");
                assert_eq!(message(&client).await, OwnedMessage::Text("slow".into()));
            });
        }
    }
    let endless = polling(&dripping(100)).request_timeout(Duration::from_millis(500));
    assert_eq!(fault(endless), Fault::RequestTimeout);
    let endless = websocket(&dripping(100)).open_timeout(Duration::from_millis(500));
    assert_eq!(fault(endless), Fault::OpenTimeout);
}

#[test]
fn a_server_that_floods_with_pings_and_takes_no_pong_does_not_take_all_memory() {
    const HIGH_WATER: usize = 20_000;
    // With all that a ping may carry: the kernels' buffers are to be filled by the pongs.
    let flood = frame(Opcode::Ping, &[b'x'; 125], None).repeat(100);
    let url = requests(move |request| {
        socket2::SockRef::from(&request.stream).set_recv_buffer_size(4096).unwrap();
        let mut stream = request.accept();
        let open = open_packet("", 25_000, 20_000);
        _ = stream.write_all(&frame(Opcode::Text, open.as_bytes(), None));
        while stream.write_all(&flood).is_ok() {}
    });
    for driver in drivers() {
        within(driver, async {
            let connect = websocket(&url).outbound_high_water(HIGH_WATER);
            let client = connect.await.expect("connects");
            while client.queued() < HIGH_WATER {
                client::sleep(Duration::from_millis(10)).await;
            }
            for _ in 0..30 {
                let queued = client.queued();
                assert!(queued < HIGH_WATER + 200, "{queued} bytes of pongs");
                client::sleep(Duration::from_millis(10)).await;
            }
            // Nor does it hold up the end.
            client.abort();
            client.ended().await;
        });
    }
}

#[test]
fn a_proxy_is_asked_to_connect() {
    let (tell, told) = std::sync::mpsc::channel();
    let proxy = requests(move |mut request| {
        tell.send(request.head.clone()).ok();
        if request.head.contains("refused.example") {
            request.send("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
            return;
        }
        request.send("HTTP/1.1 200 Connection established\r\n\r\n");
        // Whatever comes next is for the server, which is this thread too.
        let mut next = Request::read(request.stream);
        while let Some(request) = next {
            next = match request.is_first() {
                true => request.answer("200 OK", &open_packet("", 25_000, 20_000)),
                false => return request.hold(),
            };
        }
    });
    let proxy = proxy.replace("http://", "http://u:p@");
    within(Driver::Epoll, async {
        let client = polling("http://[2001:db8::1]:8080").proxy(&proxy).await.expect("connects");
        assert_eq!(client.sid().as_str(), "abc");
        let refused = polling("http://refused.example").proxy(&proxy).await;
        assert_eq!(refused.unwrap_err(), ConnectError::Failed(Fault::Proxy(407)));
    });
    let head = told.recv().unwrap();
    assert!(head.starts_with("CONNECT [2001:db8::1]:8080 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nProxy-Authorization: Basic dTpw\r\n"), "{head}");
}
