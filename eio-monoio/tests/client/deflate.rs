//! permessage-deflate of the client, RFC 7692.

use std::io::Write;

use eio_core::ws;
use eio_core::ws::handshake::Mismatch;
use eio_monoio::client::Fault;
use eio_monoio::{Driver, OwnedMessage, PerMessageDeflate};

use crate::support::client::{block_on, closed, next_message, websocket};
use crate::support::configs::default_config;
use crate::support::deflate::{DeflatePeer, RSV1};
use crate::support::scripted;
use crate::support::test_server::TestServer;
use crate::support::websocket::{BINARY, PING, TEXT};

#[test]
fn own_client_and_server_agree_on_all_parameters() {
    let modes = [(true, true), (true, false), (false, true), (false, false)];
    let deflate = |(server, client)| {
        PerMessageDeflate::new()
            .threshold(10)
            .server_no_context_takeover(server)
            .client_no_context_takeover(client)
    };
    for server_mode in modes {
        let server = TestServer::start(default_config().per_message_deflate(deflate(server_mode)));
        for client_mode in modes {
            block_on(Driver::Auto, async {
                let offer = deflate(client_mode).client_max_window_bits(12);
                let client = websocket(&server.url()).per_message_deflate(offer).await;
                let client = client.expect("connects");
                for n in 0..50 {
                    let text = format!("{n} {}", "again and again ".repeat(n * 20));
                    client.send(text.as_str()).await.expect("queued");
                    assert_eq!(next_message(&client).await, OwnedMessage::Text(text));
                }
            });
        }
    }
}

/// A server that opens a WebSocket with `extensions` in its answer, sends `bytes` and waits for the end.
fn server(extensions: &'static str, bytes: Vec<u8>) -> String {
    scripted::start(move |request| {
        let mut stream = request.accept_with(extensions);
        _ = stream.write_all(&bytes);
        scripted::hold(stream);
    })
}

/// A short frame as a server sends it.
fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).ok().filter(|len| *len < 126).expect("short");
    [&[first, len], payload].concat()
}

#[test]
fn client_rejects_an_answer_outside_its_offer() {
    for (offers, answer) in [
        (false, "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        (true, "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        (true, "Sec-WebSocket-Extensions: x-webkit-deflate-frame\r\n"),
        (true, "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; x\r\n"),
        (true, "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover;\r\n"),
    ] {
        let url = server(answer, Vec::new());
        block_on(Driver::Auto, async {
            let connect = websocket(&url);
            let connect = match offers {
                true => connect.per_message_deflate(PerMessageDeflate::new()),
                false => connect,
            };
            let error = connect.await.expect_err("no session");
            assert_eq!(error.fault(), Some(&Fault::Handshake(Mismatch::Extension)), "{answer}");
        });
    }
}

#[test]
fn client_rejects_oversized_or_invalid_deflate_data() {
    let open = scripted::open_packet("", 25_000, 20_000);
    let open = unmasked(TEXT, open.as_bytes());
    let answer = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
    let large = DeflatePeer::new().compress(&[0; 100_001]);
    for (bytes, expected) in [
        (unmasked(BINARY | RSV1, &large), ws::Error::TooBig),
        (unmasked(BINARY | RSV1, &large[..large.len() - 9]), ws::Error::NotDeflate),
        (unmasked(TEXT | RSV1, &[0xff; 100]), ws::Error::NotDeflate),
        (unmasked(PING | RSV1, b""), ws::Error::ReservedBits),
    ] {
        let limit = if expected == ws::Error::TooBig { 100_000 } else { 200_000 };
        let url = server(answer, [&*open, &*bytes].concat());
        block_on(Driver::Auto, async {
            let connect = websocket(&url).max_payload(limit);
            let connect = connect.per_message_deflate(PerMessageDeflate::new());
            let client = connect.await.expect("connects");
            assert_eq!(closed(&client).await.detail, Some(Fault::WebSocket(expected)));
        });
    }
}
