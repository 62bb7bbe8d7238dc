//! One packet.

use eio_core::buffer::Overflow;
use eio_core::packet::{Message, Packet};

use super::out::Out;

pub(crate) fn run(data: &[u8]) {
    text(data);
    let binary = Packet::parse_binary(data);
    assert_eq!(binary, Packet::Message(Message::Binary(data)));
    round_trip(binary);
}

fn text(data: &[u8]) {
    let mut record = data.to_vec();
    let Ok(packet) = Packet::parse_text(&mut record) else { return };
    let canonical = round_trip(packet);
    // Only optional parts may differ: ignored data, and base64 padding.
    match packet {
        Packet::Close | Packet::Upgrade | Packet::Noop => assert_eq!(canonical, data[..1]),
        Packet::Message(Message::Binary(_)) => {
            let padding = canonical.strip_prefix(data).expect("only padding is missing");
            assert!(padding.iter().all(|byte| *byte == b'='));
        }
        _ => assert_eq!(canonical, data),
    }
}

/// Encodes a packet as text and as a frame, decodes both, and returns the text.
fn round_trip(packet: Packet<'_>) -> Vec<u8> {
    let mut out = Out::new();
    packet.encode_text(&mut out).expect("room without end");
    assert_eq!(out.bytes.len(), packet.text_len());
    assert_eq!(Packet::parse_text(&mut out.bytes.clone()), Ok(packet));

    let mut small = Out::with_room(packet.text_len() - 1);
    assert_eq!(packet.encode_text(&mut small), Err(Overflow));
    assert!(small.bytes.is_empty());

    let frame = packet.frame();
    let mut bytes = [frame.prefix, frame.data].concat();
    let again = match frame.binary {
        true => Ok(Packet::parse_binary(&bytes)),
        false => Packet::parse_text(&mut bytes),
    };
    assert_eq!(again, Ok(packet));
    out.bytes
}
