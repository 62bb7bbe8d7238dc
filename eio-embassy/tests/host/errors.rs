//! One script for each error: the client reports the cause, and sends the right close frame.

use eio_core::http::WriteError;
use eio_core::session::Timing;
use eio_core::ws::handshake::Mismatch;
use eio_core::ws::{CloseCode, Error as WsError, Opcode};
use eio_core::{http, open, packet};
use eio_embassy::{Buffers, Client, Closed, Config, Error, IoError, Timeout};
use embassy_futures::join::join;
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::ErrorKind;

use crate::clock::run;
use crate::peer::{Frame, Peer, QUIET};
use crate::pipe::{Reader, UNLIMITED, Writer, pair};
use crate::random;

type Far = Peer<Reader, Writer>;

/// The error of `connect`, or of the first `recv` that fails. Later calls return the same error.
fn error_of(config: &Config<'_>, script: impl AsyncFnOnce(&mut Far)) -> Error {
    let ((reader, writer), far) = pair(UNLIMITED);
    let mut peer = Peer::new(far);
    let near = async {
        let mut buffers = Buffers::<1024, 512>::new();
        let mut client = Client::connect(reader, writer, config, &mut buffers, random(1)).await?;
        let error = loop {
            if let Err(error) = client.recv().await {
                break error;
            }
        };
        assert_eq!(client.recv().await.err(), Some(error));
        assert_eq!(client.send("x").await, Err(error));
        assert_eq!(client.disconnect().await, Err(error));
        Err::<(), Error>(error)
    };
    run(join(near, async {
        script(&mut peer).await;
    }))
    .0
    .unwrap_err()
}

fn on_connect(answer: &str) -> Error {
    error_of(&Config::new("test"), async |peer| {
        peer.request().await;
        peer.write(answer.as_bytes()).await;
        peer.writer.reset();
    })
}

/// The error of a session that executes `script` after the open packet.
fn in_session(script: impl AsyncFnOnce(&mut Far)) -> Error {
    error_of(&Config::new("test"), async |peer| {
        peer.open(QUIET, 1_000).await;
        script(peer).await;
    })
}

/// The error for an invalid frame, which the client answers with one close frame with this code.
fn violation(payload: &[u8], code: u16) -> Error {
    in_session(async |peer| {
        peer.write(payload).await;
        // Head, masking key and masked code, read without the decoder, which drops frames after a close frame.
        let frame = peer.raw(2 + 4 + 2).await;
        assert_eq!(frame[..2], [0x88, 0x82]);
        assert_eq!(u16::from_be_bytes([frame[6] ^ frame[2], frame[7] ^ frame[3]]), code);
        assert_eq!(peer.next().await, Frame::End);
    })
}

#[test]
fn refused_websocket_contains_status_and_code() {
    let body = |status: &str, body: &str| {
        let len = body.len();
        on_connect(&format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\n\r\n{body}"))
    };
    assert_eq!(
        body("400 Bad Request", r#"{"code":3,"message":"Bad request"}"#),
        Error::Status { status: 400, code: Some(3) }
    );
    assert_eq!(
        body("403 Forbidden", r#"{"code":4,"message":"no"}"#),
        Error::Status { status: 403, code: Some(4) }
    );
    assert_eq!(body("401 Unauthorized", "\"no\""), Error::Status { status: 401, code: None });
    assert_eq!(body("404 Not Found", ""), Error::Status { status: 404, code: None });
    // The client does not wait for the rest of a large body.
    assert_eq!(
        on_connect("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 100000\r\n\r\n<html>"),
        Error::Status { status: 502, code: None }
    );
    // The reference server refuses a WebSocket without a length: the body ends with the connection.
    let raw = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n{\"code\":1}";
    assert_eq!(on_connect(raw), Error::Status { status: 400, code: Some(1) });
    let chunked = "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\na\r\n{\"code\":2}\r\n0\r\n\r\n";
    assert_eq!(on_connect(chunked), Error::Status { status: 400, code: Some(2) });
}

#[test]
fn code_5_is_unsupported_version() {
    let body = r#"{"code":5,"message":"Unsupported protocol version"}"#;
    let len = body.len();
    let answer = format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {len}\r\n\r\n{body}");
    assert_eq!(on_connect(&answer), Error::UnsupportedVersion);
}

#[test]
fn invalid_handshake_responses_have_distinct_errors() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    assert_eq!(on_connect(&format!("{head}\r\n")), Error::Handshake(Mismatch::Accept));
    let accept = "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";
    assert_eq!(on_connect(&format!("{head}{accept}")), Error::Handshake(Mismatch::Accept));
    assert_eq!(on_connect("HTTP/1.1 101 X\r\n\r\n"), Error::Handshake(Mismatch::Upgrade));
    assert_eq!(on_connect("SSH-2.0-OpenSSH_9.2\r\n\r\n"), Error::Http(http::Error::BadStatusLine));
    assert_eq!(on_connect("HTTP/1.1 200 OK\n"), Error::Http(http::Error::BareLf));
    let long = format!("HTTP/1.1 101 X\r\nX: {}", "a".repeat(2_000));
    assert_eq!(on_connect(&long), Error::Http(http::Error::HeadTooLarge));
}

#[test]
fn tls_port_is_named() {
    // The alert that OpenSSL and rustls answer a request with, and a handshake.
    for record in [&b"\x15\x03\x01\x00\x02\x02\x46"[..], b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76"] {
        let error = error_of(&Config::new("test"), async |peer| {
            peer.request().await;
            peer.write(record).await;
        });
        assert_eq!(error, Error::Http(http::Error::Tls));
    }
}

#[test]
fn server_that_never_pings_is_named() {
    let timing = Timing { ping_interval_ms: 5_000, ping_timeout_ms: 2_000, ..QUIET };
    let error = error_of(&Config::new("test"), async |peer| {
        peer.open(timing, 1_000).await;
        assert_eq!(peer.next().await, Frame::Close(Some(1001)));
    });
    assert_eq!(error, Error::TimedOut(Timeout::FirstPing));
}

#[test]
fn broken_connection_reports_the_io_error() {
    let reset = Error::Io(IoError(ErrorKind::ConnectionReset));
    assert_eq!(on_connect(""), reset);
    assert_eq!(in_session(async |peer| peer.writer.reset()), reset);
}

#[test]
fn open_timeout_expires_without_a_response() {
    let began = Instant::now();
    let error = error_of(&Config::new("test"), async |peer| {
        peer.request().await;
        Timer::after(Duration::from_secs(100)).await;
    });
    assert_eq!(error, Error::TimedOut(Timeout::Open));
    assert_eq!(began.elapsed().as_secs(), 100);
    let error = error_of(&Config::new("test"), async |peer| {
        peer.upgrade().await;
        Timer::after(Duration::from_secs(100)).await;
    });
    assert_eq!(error, Error::TimedOut(Timeout::Open));
}

#[test]
fn session_times_out_after_ping_interval_and_timeout() {
    let timing = Timing { ping_interval_ms: 5_000, ping_timeout_ms: 2_000, ..QUIET };
    let began = Instant::now();
    let error = error_of(&Config::new("test"), async |peer| {
        peer.open(timing, 1_000).await;
        Timer::after(Duration::from_millis(4_900)).await;
        peer.text("2").await;
        assert_eq!(peer.next().await, Frame::Text("3".into()));
        // Messages do not count as a heartbeat.
        peer.text("4x").await;
        assert_eq!(peer.next().await, Frame::Close(Some(1001)));
        let waited = began.elapsed().as_millis();
        assert!((11_900..=11_901).contains(&waited), "{waited}");
    });
    assert_eq!(error, Error::TimedOut(Timeout::Ping));
}

#[test]
fn close_reports_its_cause() {
    let by_frame = |payload: &'static [u8], code: Option<u16>| {
        in_session(async |peer| {
            peer.frame(true, Opcode::Close, payload).await;
            assert_eq!(peer.next().await, Frame::Close(code), "the answer has the same code");
        })
    };
    let going_away = Error::Closed(Closed::CloseFrame(Some(CloseCode::GOING_AWAY)));
    assert_eq!(by_frame(&[0x03, 0xe9], Some(1001)), going_away);
    assert_eq!(by_frame(&[], None), Error::Closed(Closed::CloseFrame(None)));
    let by_packet = in_session(async |peer| {
        peer.text("1").await;
        assert_eq!(peer.next().await, Frame::Close(Some(1000)));
    });
    assert_eq!(by_packet, Error::Closed(Closed::ServerDisconnect));
    let silently = error_of(&Config::new("test"), async |peer| {
        peer.open(QUIET, 1_000).await;
        peer.close();
    });
    assert_eq!(silently, Error::Closed(Closed::TransportClose));
}

#[test]
fn first_packet_must_be_an_open_packet() {
    let first = |text: &'static str| {
        error_of(&Config::new("test"), async |peer| {
            peer.upgrade().await;
            peer.text(text).await;
            assert!(matches!(peer.next().await, Frame::Close(_)));
        })
    };
    assert_eq!(first("4hello"), Error::NotOpened);
    assert_eq!(first("2"), Error::NotOpened);
    assert_eq!(first("0{}"), Error::Open(open::Error::Missing("sid")));
    assert_eq!(first("0"), Error::Open(open::Error::Json));
}

#[test]
fn invalid_packet_ends_the_session() {
    assert_eq!(violation(b"\x81\x00", 1002), Error::Packet(packet::Error::Empty));
    assert_eq!(violation(b"\x81\x017", 1002), Error::Packet(packet::Error::UnknownType));
    // Base64, which only a request with `b64=1` asks for.
    assert_eq!(violation(b"\x81\x05bAQI=", 1002), Error::Packet(packet::Error::UnknownType));
    assert_eq!(violation(b"\x81\x024\xff", 1007), Error::Packet(packet::Error::Utf8));
}

#[test]
fn invalid_frame_ends_the_session_with_1002() {
    for (frame, error) in [
        (&b"\x81\x80\0\0\0\0"[..], WsError::Masked),
        (b"\xc1\x00", WsError::ReservedBits),
        (b"\x83\x00", WsError::ReservedOpcode),
        (b"\x80\x00", WsError::NothingToContinue),
        (b"\x09\x00", WsError::FragmentedControl),
    ] {
        assert_eq!(violation(frame, 1002), Error::WebSocket(error));
    }
}

#[test]
fn message_larger_than_the_buffer_is_refused_with_1009() {
    let max = Buffers::<1024, 512>::MAX_MESSAGE;
    let head = |len: usize| [&[0x82, 126][..], &(len as u16).to_be_bytes()].concat();
    assert_eq!(violation(&head(max + 1), 1009), Error::ReceivedTooLarge);
    // The same in fragments.
    let half = vec![0; max / 2];
    let fragments = [&[0x02, 126], &(half.len() as u16).to_be_bytes()[..], &half].concat();
    let rest = [&[0x80, 126][..], &(max as u16).to_be_bytes()].concat();
    assert_eq!(violation(&[fragments, rest].concat(), 1009), Error::ReceivedTooLarge);
}

#[test]
fn buffers_are_reusable_after_an_error() {
    let mut buffers = Buffers::<1024, 512>::new();
    let config = Config::new("test");
    for round in 0..3 {
        let ((reader, writer), far) = pair(UNLIMITED);
        let mut peer = Peer::new(far);
        run(join(
            async {
                let mut client = Client::connect(reader, writer, &config, &mut buffers, random(1))
                    .await
                    .unwrap();
                client.send("hello").await.unwrap();
                assert!(client.recv().await.is_ok());
                assert_eq!(client.recv().await.err(), Some(Error::ReceivedTooLarge), "{round}");
            },
            async {
                peer.open(QUIET, 1_000).await;
                assert_eq!(peer.next().await, Frame::Text("4hello".into()));
                peer.text("4hi").await;
                peer.frame(true, Opcode::Binary, &[0; 2_000]).await;
                assert_eq!(peer.next().await, Frame::Close(Some(1009)));
            },
        ));
    }
}

#[test]
fn message_larger_than_max_payload_is_not_sent() {
    let ((reader, writer), far) = pair(UNLIMITED);
    let mut peer = Peer::new(far);
    run(join(
        async {
            let mut buffers = Buffers::<1024, 512>::new();
            let config = Config::new("test");
            let mut client =
                Client::connect(reader, writer, &config, &mut buffers, random(1)).await.unwrap();
            let too_long = Err(Error::TooLarge { max: 1_000 });
            assert_eq!(client.send(&[0; 1_001][..]).await, too_long);
            // The type of a text message is one more byte.
            assert_eq!(client.send("a".repeat(1_000).as_str()).await, too_long);
            // docs/protocol.md 1.9: as over polling.
            assert_eq!(client.send("a\u{1e}b").await, Err(Error::Separator));
            client.send(&[0; 1_000][..]).await.unwrap();
            client.flushed().await.unwrap();
        },
        async {
            peer.open(QUIET, 1_000).await;
            assert_eq!(peer.next().await, Frame::Binary(vec![0; 1_000]));
        },
    ));
}

#[test]
fn disconnect_times_out_without_a_close_frame() {
    let ((reader, writer), far) = pair(UNLIMITED);
    let mut peer = Peer::new(far);
    run(join(
        async {
            let mut buffers = Buffers::<1024, 512>::new();
            let config = Config::new("test");
            let mut client =
                Client::connect(reader, writer, &config, &mut buffers, random(1)).await.unwrap();
            let began = Instant::now();
            assert_eq!(client.disconnect().await, Err(Error::TimedOut(Timeout::Close)));
            assert_eq!(began.elapsed().as_secs(), 5);
        },
        async {
            peer.open(QUIET, 1_000).await;
            Timer::after(Duration::from_secs(60)).await;
        },
    ));
}

#[test]
fn invalid_config_sends_no_request() {
    for (config, error) in [
        (Config::new("test\r\nX: y"), WriteError::IllegalValue),
        (Config::new("test").path("/a b"), WriteError::IllegalValue),
        (Config::new("test").query("a b"), WriteError::IllegalValue),
        (Config::new("test").headers(&[("A", "\n")]), WriteError::IllegalValue),
        (Config::new("test").query(&"a".repeat(500)), WriteError::Overflow),
    ] {
        let error_was = error_of(&config, async |peer| assert!(peer.received_nothing()));
        assert_eq!(error_was, Error::Request(error));
    }
}

#[test]
fn every_error_has_a_distinct_message() {
    let errors = [
        Error::Io(IoError(ErrorKind::ConnectionReset)),
        Error::Resolve,
        Error::Connect,
        Error::TimedOut(Timeout::Resolve),
        Error::TimedOut(Timeout::Connect),
        Error::TimedOut(Timeout::Open),
        Error::TimedOut(Timeout::Ping),
        Error::TimedOut(Timeout::FirstPing),
        Error::TimedOut(Timeout::Close),
        Error::Status { status: 400, code: None },
        Error::Status { status: 400, code: Some(3) },
        Error::UnsupportedVersion,
        Error::Handshake(Mismatch::Accept),
        Error::Http(http::Error::BareLf),
        Error::Http(http::Error::Tls),
        Error::NotOpened,
        Error::Open(open::Error::Json),
        Error::Request(WriteError::IllegalValue),
        Error::Request(WriteError::Overflow),
        Error::Closed(Closed::ServerDisconnect),
        Error::Closed(Closed::CloseFrame(None)),
        Error::Closed(Closed::CloseFrame(Some(CloseCode::NORMAL))),
        Error::Closed(Closed::TransportClose),
        Error::Closed(Closed::ClientDisconnect),
        Error::WebSocket(WsError::Masked),
        Error::Packet(packet::Error::Empty),
        Error::ReceivedTooLarge,
        Error::TooLarge { max: 7 },
        Error::Unfinished,
        Error::Separator,
        Error::UpgradeFailed,
    ];
    let texts: std::collections::HashSet<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), errors.len());
}
