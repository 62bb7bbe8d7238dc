//! Packets and payloads, as engineioxide-core 0.2.3 reads and writes them.

use std::pin::pin;

use bytes::Bytes;
use eio_core::packet::{Error, Message, Packet};
use eio_core::payload::Decoder;
use engineioxide_core::payload::decoder;
use engineioxide_core::{Packet as Theirs, PacketParseError, ProtocolVersion};
use futures_util::{FutureExt, StreamExt};
use http_body_util::Full;

use crate::laws::Input;

pub(crate) fn packet(data: &[u8]) {
    let mut record = data.to_vec();
    let ours = Packet::parse_text(&mut record);
    let theirs = match std::str::from_utf8(data) {
        Ok(text) => Theirs::parse(ProtocolVersion::V4, text.to_owned()),
        Err(error) => Err(error.into()),
    };
    agree(ours, theirs, data);
}

pub(crate) fn payload(data: &[u8]) {
    let wire = Input::parse(data).wire;
    let mut body = wire.to_vec();
    let full: Full<Bytes> = Full::new(wire.to_vec().into());
    let limit = wire.len() as u64;
    let mut theirs = pin!(decoder(full, None, ProtocolVersion::V4, limit));
    let mut records = wire.split(|byte| *byte == b'\x1e');
    for ours in Decoder::new(&mut body) {
        let record = records.next().expect("as many records as packets");
        let Some(theirs) = theirs.next().now_or_never().expect("the body is complete") else {
            // An empty body, and a separator at the end, are an empty packet (a parse error in engine.io).
            // engineioxide ignores both.
            assert_eq!((ours, record), (Err(Error::Empty), &b""[..]));
            return;
        };
        if !agree(ours, theirs, record) {
            return;
        }
    }
    assert!(theirs.next().now_or_never().expect("the body is complete").is_none(), "more packets");
}

/// Compares two results; true if both continue.
fn agree(
    ours: Result<Packet<'_>, Error>,
    theirs: Result<Theirs, PacketParseError>,
    record: &[u8],
) -> bool {
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => {
            assert_eq!(Some(&theirs), to_theirs(ours).as_ref());
            // Both drop the data of packets that have none in the protocol, so the encoded packets are equal.
            let mut memory = vec![0; ours.text_len()];
            let mut out = eio_core::buffer::Writer::new(&mut memory);
            ours.encode_text(&mut out).expect("its own length");
            // engineioxide drops the data of a ping or pong unless it is `probe`.
            if !matches!(ours, Packet::Ping(data) | Packet::Pong(data) if !data.is_empty()) {
                assert_eq!(out.written(), String::from(theirs).as_bytes());
            }
            true
        }
        // engineioxide refuses an open packet, because a server does not receive one.
        (Ok(Packet::Open(_)), Err(PacketParseError::InvalidPacketType(Some('0')))) => false,
        // eio-core accepts base64 without padding, as Node does.
        (Ok(Packet::Message(Message::Binary(_))), Err(PacketParseError::Base64Decode(_))) => {
            assert_ne!(record.len() % 4, 1, "an impossible number of base64 digits");
            false
        }
        (Err(_), Err(_)) => false,
        (ours, theirs) => panic!("{ours:?} in ours, {theirs:?} in theirs"),
    }
}

fn to_theirs(packet: Packet<'_>) -> Option<Theirs> {
    Some(match packet {
        Packet::Open(_) => return None,
        Packet::Close => Theirs::Close,
        Packet::Ping("probe") => Theirs::PingUpgrade,
        Packet::Ping(_) => Theirs::Ping,
        Packet::Pong("probe") => Theirs::PongUpgrade,
        Packet::Pong(_) => Theirs::Pong,
        Packet::Message(Message::Text(text)) => Theirs::Message(text.to_owned().into()),
        Packet::Message(Message::Binary(bytes)) => Theirs::Binary(bytes.to_vec().into()),
        Packet::Upgrade => Theirs::Upgrade,
        Packet::Noop => Theirs::Noop,
    })
}
