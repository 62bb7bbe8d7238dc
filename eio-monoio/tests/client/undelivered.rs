//! Messages that a client has not sent when its session ends.

use std::io::Write;

use eio_core::ws::Opcode;
use eio_monoio::client::{Client, Handle};
use eio_monoio::{Driver, OwnedMessage, PerMessageDeflate};

use crate::support::client::{block_on, closed, polling, websocket};
use crate::support::configs::drivers;
use crate::support::scripted::{self, reset};

const OPEN: &str = concat!(
    r#"0{"sid":"abc","upgrades":[],"pingInterval":25000,"#,
    r#""pingTimeout":20000,"maxPayload":100000000}"#
);

/// A server that reads nothing of a session over a WebSocket, and resets the connection soon.
fn deaf(deflate: &'static str) -> String {
    scripted::start(move |request| {
        let mut stream = request.accept_with(deflate);
        socket2::SockRef::from(&stream).set_recv_buffer_size(4096).expect("SO_RCVBUF");
        _ = stream.write_all(&scripted::frame(Opcode::Text, OPEN.as_bytes(), None));
        // A part of the first message has arrived, but nothing more is read.
        _ = stream.peek(&mut [0; 1]);
        std::thread::sleep(std::time::Duration::from_millis(200));
        reset(stream);
    })
}

/// Two messages, of which the kernel does not accept the first completely.
fn messages() -> [OwnedMessage; 2] {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let large = (0..8 << 20).map(|_| next()).collect();
    [OwnedMessage::Binary(large), "next".into()]
}

#[test]
fn messages_that_the_kernel_has_not_accepted_are_undelivered() {
    let none: fn() -> Option<PerMessageDeflate> = || None;
    let alone: fn() -> Option<PerMessageDeflate> = || Some(PerMessageDeflate::new());
    let accepted = "Sec-WebSocket-Extensions: permessage-deflate; \
                    server_no_context_takeover; client_no_context_takeover\r\n";
    for driver in drivers() {
        for (options, lines) in [(none, ""), (alone, accepted)] {
            let url = deaf(lines);
            block_on(driver, async {
                let mut connect = websocket(&url).outbound_high_water(64 << 20);
                if let Some(deflate) = options() {
                    connect = connect.per_message_deflate(deflate);
                }
                let client = connect.await.expect("connects");
                for message in messages() {
                    client.send(message).await.expect("queued");
                }
                closed(&client).await;
                assert_eq!(client.queued(), 0);
                assert!(client.undelivered().await == messages(), "{driver} {lines}");
                assert_eq!(client.undelivered().await, []);
            });
        }
    }
}

#[test]
fn messages_of_an_unanswered_post_are_undelivered() {
    for driver in drivers() {
        let url = scripted::start(|request| {
            let mut next = Some(request);
            while let Some(request) = next {
                next = match (request.is_handshake(), request.is_post()) {
                    (true, _) => request.answer("200 OK", OPEN),
                    (false, true) => return,
                    (false, false) => return request.hold(),
                };
            }
        });
        block_on(driver, async {
            let client = polling(&url).await.expect("connects");
            for text in ["first", "second", "third"] {
                client.send(text).await.expect("queued");
            }
            closed(&client).await;
            let expected = ["first", "second", "third"].map(OwnedMessage::from);
            assert_eq!(client.undelivered().await, expected, "{driver}");
        });
    }
}

#[test]
fn a_handle_returns_undelivered_messages() {
    let url = deaf("");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let connect = websocket(&url).outbound_high_water(64 << 20);
        let handle = Handle::connect(Driver::Auto, connect).await.expect("connects");
        for message in messages() {
            handle.send(message).await.expect("queued");
        }
        while handle.next().await.is_some() {}
        assert!(handle.undelivered().await == messages());
    });
}

#[test]
fn nothing_is_undelivered_after_a_disconnect() {
    let config = crate::support::configs::default_config();
    let server = crate::support::test_server::TestServer::start(config);
    block_on(Driver::Auto, async {
        let client = Client::connect(&server.url()).await.expect("connects");
        client.send("delivered").await.expect("queued");
        client.disconnect().await;
        assert_eq!(client.undelivered().await, []);
    });
}
