//! Servers that differ from engine.io in what HTTP allows: content delivery networks, proxies, other implementations.

use eio_embassy::{Buffers, Client, Config, Error, Message};
use embassy_futures::join::join;

use crate::clock::run;
use crate::peer::{Peer, accept};
use crate::pipe::{UNLIMITED, pair};
use crate::random;

const OPEN: &str = r#"{"sid":"a_session","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":100}"#;

/// Opens a session on a server that sends `before`, the response to the request with `fields`, the open packet, and a
/// message, which the client receives.
fn opens(before: &str, fields: &str, open: &str) -> Result<(), Error> {
    let ((reader, writer), far) = pair(UNLIMITED);
    let mut peer = Peer::new(far);
    run(join(
        async {
            let mut buffers = Buffers::<2048, 512>::new();
            let config = Config::new("test");
            let mut client =
                Client::connect(reader, writer, &config, &mut buffers, random(1)).await?;
            assert_eq!(client.recv().await, Ok(Message::Text("hello")));
            Ok(())
        },
        async {
            let accept = accept(&peer.request().await);
            let head = format!(
                "{before}HTTP/1.1 101 Switching Protocols\r\n{fields}Upgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            peer.write(head.as_bytes()).await;
            peer.text(&format!("0{open}")).await;
            peer.text("4hello").await;
        },
    ))
    .0
}

/// The header fields of a content delivery network.
pub(crate) fn fields(count: usize) -> String {
    (0..count).map(|n| format!("X-Served-By-{n}: cache-{n}-mia\r\n")).collect()
}

#[test]
fn header_fields_of_a_response_have_no_count() {
    for count in [0, 24, 30, 50] {
        assert_eq!(opens("", &fields(count), OPEN), Ok(()), "{count}");
    }
}

#[test]
fn interim_responses_before_the_101_are_skipped() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    assert_eq!(opens(hints, "", OPEN), Ok(()));
    assert_eq!(opens(&hints.repeat(20), "", OPEN), Ok(()), "more than the buffer holds at once");
    assert_eq!(opens("HTTP/1.1 100 Continue\r\n\r\n", "", OPEN), Ok(()));
}

#[test]
fn numbers_of_the_open_packet_may_be_computed_ones() {
    for open in [
        r#"{"sid":"a","upgrades":[],"pingInterval":33333.333333333336,"pingTimeout":20000,"maxPayload":1e6}"#,
        r#"{"sid":"a","upgrades":[],"pingInterval":2.5e4,"pingTimeout":2E+4,"maxPayload":1e+21}"#,
        r#"{"sid":"a","upgrades":[],"pingInterval":"25000","pingTimeout":"20000","maxPayload":"1000000"}"#,
        r#"{"sid":"a","upgrades":[],"pingInterval":25000.0,"pingTimeout":20000.00,"maxPayload":null}"#,
        r#"{"maxPayload":99999999999999999999,"pingTimeout":20000,"pingInterval":25000,"upgrades":[],"sid":"a"}"#,
    ] {
        assert_eq!(opens("", "", open), Ok(()), "{open}");
    }
}
