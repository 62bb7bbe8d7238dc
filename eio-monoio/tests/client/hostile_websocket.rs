//! Servers that violate the WebSocket protocol, miss pings or break an upgrade: only the session or the upgrade ends.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use eio_core::ws::{self, Opcode};
use eio_monoio::client::{self, Client, Event, Fault, SendError};
use eio_monoio::{CloseReason, Driver, OwnedMessage, Transport};

use crate::support::client::{
    block_on, closed, fault, for_each_connect, next_message, status, websocket,
};
use crate::support::configs::drivers;
use crate::support::parallel;
use crate::support::scripted::{self, Incoming};

#[test]
fn invalid_websocket_handshake_opens_no_session() {
    let switching = |lines: &'static str| {
        scripted::start(move |mut request| {
            request.send(format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n"));
        })
    };
    let wrong = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n";
    for lines in ["", "Upgrade: websocket\r\n", wrong] {
        let fault = fault(websocket(&switching(lines)));
        assert!(matches!(fault, Fault::Handshake(_)), "{lines}: {fault}");
    }
    assert_eq!(
        fault(websocket(&scripted::start_with_reply(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        ))),
        status(200, "ok")
    );
}

/// The end of a session over a WebSocket on which the server sends `bytes` after the open packet.
fn end_after(bytes: Vec<u8>) -> client::Closed {
    let url = scripted::start(move |request| {
        let mut stream = request.accept();
        let open = scripted::open_packet("", 25_000, 20_000);
        _ = stream.write_all(&scripted::frame(Opcode::Text, open.as_bytes(), None));
        _ = stream.write_all(&bytes);
        scripted::hold(stream);
    });
    block_on(Driver::Epoll, async {
        let client = websocket(&url)
            .max_payload(100_000)
            .close_timeout(Duration::from_millis(100))
            .await
            .expect("connects");
        closed(&client).await
    })
}

#[test]
fn websocket_violation_ends_the_session() {
    let masked = end_after(scripted::frame(Opcode::Text, b"4x", Some([1, 2, 3, 4])));
    assert_eq!(masked.reason, CloseReason::ParseError);
    assert_eq!(masked.detail, Some(Fault::WebSocket(ws::Error::Masked)));
    let large = end_after(scripted::frame(Opcode::Binary, &vec![0; 100_001], None));
    assert_eq!(large.reason, CloseReason::PayloadTooLarge);
    assert_eq!(large.detail, Some(Fault::WebSocket(ws::Error::TooBig)));
    for bad in [&b""[..], b"7", b"x", b"4\xff", b"b!"] {
        let closed = end_after(scripted::frame(Opcode::Text, bad, None));
        assert_eq!(closed.reason, CloseReason::ParseError, "{}", bad.escape_ascii());
        assert!(matches!(closed.detail, Some(Fault::Packet(_))), "{closed}");
    }
    let closed = end_after(scripted::frame(Opcode::Close, b"\x03\xf1end", None));
    assert_eq!(closed.reason, CloseReason::TransportClose);
    let close_frame = Fault::CloseFrame { code: Some(1009), reason: "end".into() };
    assert_eq!(closed.detail, Some(close_frame));
    let closed = end_after(scripted::frame(Opcode::Text, b"1", None));
    assert_eq!((closed.reason, closed.detail), (CloseReason::ServerDisconnect, None));
}

#[test]
fn missing_pings_end_the_session_after_interval_and_timeout() {
    let url = scripted::start(|request| {
        let open = scripted::open_packet("", 200, 200);
        if request.is_websocket() {
            let mut stream = request.accept();
            _ = stream.write_all(&scripted::frame(Opcode::Text, open.as_bytes(), None));
            scripted::hold(stream);
        } else if request.is_handshake() {
            // The GET that follows is held; it may use another connection.
            if let Some(next) = request.answer("200 OK", &open) {
                next.hold();
            }
        } else {
            request.hold();
        }
    });
    for_each_connect(&url, |connect, _| async move {
        let client = connect.await.expect("connects");
        let begun = Instant::now();
        let closed = closed(&client).await;
        assert_eq!((closed.reason, closed.detail), (CloseReason::PingTimeout, None));
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(380), "{took:?}");
        assert!(took < Duration::from_secs(20), "{took:?}");
        assert_eq!(client.send("late").await, Err(SendError::Closed));
    });
}

/// A server whose session works over polling, and that calls `serve` for the WebSocket of an upgrade.
fn upgrading(serve: impl Fn(Incoming) + Clone + Send + 'static) -> String {
    scripted::start(move |request| {
        if request.is_websocket() {
            return serve(request);
        }
        let mut next = Some(request);
        let mut answered = false;
        while let Some(request) = next {
            next = match (request.is_handshake(), request.is_post()) {
                (true, _) => request
                    .answer("200 OK", &scripted::open_packet(r#""websocket""#, 25_000, 20_000)),
                (false, true) => request.answer("200 OK", "ok"),
                (false, false) if !answered => {
                    answered = true;
                    thread::sleep(Duration::from_millis(600));
                    request.answer("200 OK", "4still here")
                }
                (false, false) => return request.hold(),
            };
        }
    })
}

#[test]
fn failed_upgrade_keeps_the_session() {
    let failures: [fn(Incoming); 6] = [
        |request| request.reset(),
        |request| drop(request.answer("503 Service Unavailable", "")),
        |request| scripted::reset(request.accept()),
        |request| drop(request.accept()),
        |request| {
            let mut stream = request.accept();
            _ = stream.write_all(&scripted::frame(Opcode::Text, b"3wrong", None));
            scripted::hold(stream);
        },
        // Never answers.
        Incoming::hold,
    ];
    let cases = failures.into_iter().enumerate().map(|(n, case)| (format!("failure {n}"), case));
    parallel::for_each(cases, |failure| {
        let url = upgrading(failure);
        block_on(Driver::Epoll, async {
            let connect = Client::connect(&url).upgrade_timeout(Duration::from_millis(300));
            let client = connect.await.expect("connects");
            assert!(matches!(client.next().await, Some(Event::UpgradeFailed(_))));
            assert_eq!(next_message(&client).await, OwnedMessage::Text("still here".into()));
            assert_eq!(client.transport(), Transport::Polling);
            client.send("hello").await.expect("queued");
            client.flushed().await;
        });
    });
}

#[test]
fn unread_pongs_are_bounded() {
    const HIGH_WATER: usize = 20_000;
    // Pings of the largest size: their pongs must fill the buffers of the kernel.
    let flood = scripted::frame(Opcode::Ping, &[b'x'; 125], None).repeat(100);
    let url = scripted::start(move |request| {
        socket2::SockRef::from(&request.stream).set_recv_buffer_size(4096).unwrap();
        let mut stream = request.accept();
        let open = scripted::open_packet("", 25_000, 20_000);
        _ = stream.write_all(&scripted::frame(Opcode::Text, open.as_bytes(), None));
        while stream.write_all(&flood).is_ok() {}
    });
    for driver in drivers() {
        block_on(driver, async {
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
            // A full queue does not delay the end.
            client.abort();
            client.ended().await;
        });
    }
}
