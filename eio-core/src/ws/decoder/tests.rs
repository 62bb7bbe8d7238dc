//! Unit tests of the decoder.

use super::*;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

/// An event that owns its data.
#[derive(Debug, PartialEq)]
enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseCode>, String),
    Error(Error),
}

impl From<Event<'_>> for Got {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.into()),
            Event::Binary(bytes) => Self::Binary(bytes.into()),
            Event::Ping(bytes) => Self::Ping(bytes.into()),
            Event::Pong(bytes) => Self::Pong(bytes.into()),
            Event::Close(code, reason) => Self::Close(code, reason.into()),
        }
    }
}

fn text(text: &str) -> Got {
    Got::Text(text.to_string())
}

/// The events for `wire` when it arrives at once, with messages of at most 1000 bytes.
fn decode(role: Role, wire: &[u8]) -> Vec<Got> {
    let mut rx = RecvBuffer::with_unread(wire.to_vec(), wire.len());
    let mut decoder = Decoder::new(role, 1000);
    let mut got = Vec::new();
    loop {
        match decoder.poll(&mut rx) {
            Ok(Step::Need(n)) => {
                assert!(n > 0);
                return got;
            }
            Ok(Step::Ready(ready)) => match decoder.event(&rx, ready) {
                Ok(event) => got.push(event.into()),
                Err(error) => got.push(Got::Error(error)),
            },
            Err(error) => {
                assert_eq!(decoder.poll(&mut rx), Err(error), "an error is final");
                got.push(Got::Error(error));
                return got;
            }
        }
    }
}

fn client(wire: &[u8]) -> Vec<Got> {
    decode(Role::Client, wire)
}

#[test]
fn examples_of_rfc_6455_are_decoded() {
    let masked_hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    let masked_pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(client(b"\x81\x05Hello"), [text("Hello")]);
    assert_eq!(decode(Role::Server, masked_hello), [text("Hello")]);
    assert_eq!(client(b"\x01\x03Hel\x80\x02lo"), [text("Hello")]);
    assert_eq!(client(b"\x89\x05Hello"), [Got::Ping(b"Hello".to_vec())]);
    assert_eq!(decode(Role::Server, masked_pong), [Got::Pong(b"Hello".to_vec())]);
    let mut binary = b"\x82\x7e\x01\x00".to_vec();
    binary.resize(4 + 256, 7);
    assert_eq!(client(&binary), [Got::Binary(vec![7; 256])]);
    let mut binary = b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00".to_vec();
    binary.resize(10 + 65536, 7);
    let mut rx = RecvBuffer::with_unread(&mut binary[..], 10 + 65536);
    let mut decoder = Decoder::new(Role::Client, 65536);
    let Ok(Step::Ready(ready)) = decoder.poll(&mut rx) else { panic!("not ready") };
    assert_eq!(decoder.event(&rx, ready), Ok(Event::Binary(&[7; 65536])));
}

#[test]
fn control_frames_may_interrupt_a_fragmented_message() {
    let wire = b"\x01\x03Hel\x89\x01!\x00\x00\x8a\x00\x80\x02lo\x82\x00";
    let (ping, pong) = (Got::Ping(b"!".to_vec()), Got::Pong(vec![]));
    assert_eq!(client(wire), [ping, pong, text("Hello"), Got::Binary(vec![])]);
}

#[test]
fn data_after_a_close_is_dropped() {
    let wire = b"\x88\x05\x03\xe8bye\x81\x05Hello\xff\xff";
    assert_eq!(client(wire), [Got::Close(Some(CloseCode::NORMAL), "bye".into())]);
    // Neither is the rest of a message.
    assert_eq!(client(b"\x01\x01a\x88\x00\x80\x01b"), [Got::Close(None, "".into())]);
}

#[test]
fn buffer_is_empty_after_a_close() {
    let mut rx = RecvBuffer::with_unread(*b"\x01\x01a\x88\x00rest", 9);
    let mut decoder = Decoder::new(Role::Client, 10);
    assert!(matches!(decoder.poll(&mut rx), Ok(Step::Ready(_))));
    assert_eq!(decoder.poll(&mut rx), Ok(Step::Need(1)));
    assert!(rx.is_empty());
}

#[test]
fn buffer_is_empty_between_frames() {
    let mut rx = RecvBuffer::with_unread(*b"\x81\x01a\x89\x01b", 6);
    let mut decoder = Decoder::new(Role::Client, 10);
    assert!(matches!(decoder.poll(&mut rx), Ok(Step::Ready(_))));
    assert!(matches!(decoder.poll(&mut rx), Ok(Step::Ready(_))));
    assert_eq!(decoder.poll(&mut rx), Ok(Step::Need(2)));
    assert!(rx.is_empty());
}

#[test]
fn a_decoder_between_messages_is_as_a_new_one() {
    let mut wire = Vec::new();
    for (head, payload) in [(0x01, "a"), (0x89, "ping"), (0x80, "b"), (0x8a, ""), (0x82, "c")] {
        wire.extend([head, 0x80 | payload.len() as u8, 0, 0, 0, 0]);
        wire.extend(payload.as_bytes());
    }
    // After the first fragment, and after the ping within the message, the message is incomplete.
    let ends = [0, 7 + 10 + 7, 7 + 10 + 7 + 6, wire.len()];
    let mut decoder = Decoder::new(Role::Server, 100);
    let mut rx = RecvBuffer::new([0; 64]);
    assert!(decoder.is_between_messages());
    for (at, &byte) in wire.iter().enumerate() {
        rx.append(&[byte]).unwrap();
        while let Ok(Step::Ready(_)) = decoder.poll(&mut rx) {}
        let between = ends.contains(&(at + 1));
        assert_eq!(decoder.is_between_messages() && rx.is_empty(), between, "{}", at + 1);
    }
}

#[test]
fn reserved_bits_are_rejected() {
    for bit in [0x40, 0x20, 0x10] {
        assert_eq!(client(&[0x81 | bit, 0]), [Got::Error(Error::ReservedBits)]);
        assert_eq!(client(&[0x89 | bit, 0]), [Got::Error(Error::ReservedBits)]);
    }
}

#[test]
fn reserved_opcodes_are_rejected() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(client(&[0x80 | opcode, 0]), [Got::Error(Error::ReservedOpcode)]);
    }
}

#[test]
fn fragmented_control_frames_are_rejected() {
    for opcode in [8, 9, 10] {
        assert_eq!(client(&[opcode, 0]), [Got::Error(Error::FragmentedControl)]);
    }
}

#[test]
fn control_frames_longer_than_125_bytes_are_rejected() {
    let mut ping = b"\x89\x7d".to_vec();
    ping.resize(2 + 125, 0);
    assert_eq!(client(&ping), [Got::Ping(vec![0; 125])]);
    assert_eq!(client(b"\x89\x7e\x00\x7e"), [Got::Error(Error::ControlTooLong)]);
    assert_eq!(client(b"\x88\x7f"), [Got::Error(Error::ControlTooLong)]);
}

#[test]
fn server_rejects_unmasked_and_client_masked_frames() {
    assert_eq!(decode(Role::Server, b"\x81\x00"), [Got::Error(Error::Unmasked)]);
    assert_eq!(decode(Role::Client, b"\x81\x80\0\0\0\0"), [Got::Error(Error::Masked)]);
    assert_eq!(decode(Role::Server, b"\x81\x80\0\0\0\0"), [text("")]);
}

#[test]
fn lengths_that_are_not_minimal_are_rejected() {
    let refused = [Got::Error(Error::LengthNotMinimal)];
    assert_eq!(client(b"\x82\x7e\x00\x7d"), refused);
    assert_eq!(client(b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff"), refused);
    assert_eq!(client(b"\x82\x7e\x00\x7e"), []);
}

#[test]
fn lengths_with_the_top_bit_set_are_rejected() {
    let refused = [Got::Error(Error::LengthTopBit)];
    assert_eq!(client(b"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00"), refused);
}

#[test]
fn continuation_without_a_message_is_rejected() {
    assert_eq!(client(b"\x80\x00"), [Got::Error(Error::NothingToContinue)]);
    let wire = b"\x81\x01a\x00\x00";
    assert_eq!(client(wire), [text("a"), Got::Error(Error::NothingToContinue)]);
}

#[test]
fn message_inside_a_fragmented_message_is_rejected() {
    assert_eq!(client(b"\x01\x01a\x81\x01b"), [Got::Error(Error::MessageUnfinished)]);
    assert_eq!(client(b"\x02\x00\x02\x00"), [Got::Error(Error::MessageUnfinished)]);
}

#[test]
fn messages_beyond_the_limit_are_rejected() {
    assert_eq!(client(b"\x82\x7e\x03\xe8"), []);
    assert_eq!(client(b"\x82\x7e\x03\xe9"), [Got::Error(Error::TooBig)]);
    let refused = [Got::Error(Error::TooBig)];
    assert_eq!(client(b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"), refused);
    // The limit applies to the sum of the fragments, which does not overflow.
    assert_eq!(client(b"\x02\x01a\x80\x7e\x03\xe7"), []);
    assert_eq!(client(b"\x02\x01a\x80\x7e\x03\xe8"), refused);
    assert_eq!(client(b"\x02\x01a\x80\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"), refused);
    // The limit starts again with the next message.
    assert_eq!(client(b"\x82\x01a\x82\x7e\x03\xe8"), [Got::Binary(b"a".to_vec())]);
}

#[test]
fn text_that_is_not_utf8_is_rejected() {
    let refused = [Got::Error(Error::TextNotUtf8)];
    assert_eq!(client(b"\x81\x02\xc3\x28"), refused);
    assert_eq!(client(b"\x81\x03\xed\xa0\x80"), refused, "a surrogate");
    assert_eq!(client(b"\x01\x01\xc3\x80\x01\x28"), refused);
    assert_eq!(client(b"\x01\x01\xc3\x80\x00"), refused, "incomplete at the end");
    assert_eq!(client(b"\x01\x01\xc3\x80\x01\xa9"), [text("é")]);
    assert_eq!(client(b"\x82\x02\xc3\x28"), [Got::Binary(b"\xc3\x28".to_vec())]);
}

#[test]
fn text_is_rejected_at_its_first_invalid_byte() {
    // Autobahn 6.4.1: valid so far, then beyond the last code point, before the rest of the frame arrived.
    assert_eq!(client(b"\x01\x02\xce\xba\x00\x04\xf4\x90"), [Got::Error(Error::TextNotUtf8)]);
    assert_eq!(client(b"\x81\x0a\xce\xba\xf4\x90"), [Got::Error(Error::TextNotUtf8)]);
    assert_eq!(client(b"\x81\x0a\xce\xba\xf4"), []);
}

#[test]
fn poll_rejects_what_it_can_check() {
    for (wire, error) in [
        (&b"\x01\x01\xc3\x80\x00"[..], Error::TextNotUtf8),
        (b"\x88\x01\x03", Error::CloseTruncated),
    ] {
        let mut rx = RecvBuffer::with_unread(wire.to_vec(), wire.len());
        assert_eq!(Decoder::new(Role::Client, 10).poll(&mut rx), Err(error));
    }
}

#[test]
fn text_in_one_piece_is_checked_by_event_only() {
    let mut rx = RecvBuffer::with_unread(*b"\x81\x02\xc3\x28", 4);
    let mut decoder = Decoder::new(Role::Client, 10);
    let Ok(Step::Ready(ready)) = decoder.poll(&mut rx) else { panic!("not ready") };
    assert_eq!(decoder.event(&rx, ready), Err(Error::TextNotUtf8));
    assert_eq!(decoder.payload_mut(&mut rx, ready), b"\xc3\x28");
}

#[test]
fn text_in_pieces_is_checked_once() {
    let text = "aé€😀".as_bytes();
    let whole_characters = [0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10];
    let mut partial = Partial { kind: Kind::Text, compressed: false, checked: 0 };
    for (arrived, checked) in whole_characters.into_iter().enumerate() {
        partial.check(&text[..arrived], false).unwrap();
        assert_eq!(partial.checked, checked, "after {arrived} bytes");
    }
}

#[test]
fn invalid_close_frames_are_rejected() {
    assert_eq!(client(b"\x88\x01\x03"), [Got::Error(Error::CloseTruncated)]);
    assert_eq!(client(b"\x88\x02\x03\xed"), [Got::Error(Error::CloseCodeInvalid)]);
    assert_eq!(client(b"\x88\x03\x03\xe8\xff"), [Got::Error(Error::ReasonNotUtf8)]);
}

#[test]
fn need_is_the_announced_length() {
    let mut rx = RecvBuffer::new([0; 64]);
    let mut decoder = Decoder::new(Role::Client, 1000);
    let mut need = |bytes: &[u8]| {
        rx.append(bytes).unwrap();
        decoder.poll(&mut rx)
    };
    assert_eq!(need(b""), Ok(Step::Need(2)));
    assert_eq!(need(b"\x02"), Ok(Step::Need(1)));
    assert_eq!(need(b"\x7e"), Ok(Step::Need(2)));
    assert_eq!(need(b"\x03\xe8"), Ok(Step::Need(1000)));
    assert_eq!(need(b"abc"), Ok(Step::Need(997)));

    // The bytes of a control frame that arrived are not announced again.
    let mut rx = RecvBuffer::with_unread(*b"\x89\x05he", 4);
    assert_eq!(Decoder::new(Role::Client, 1000).poll(&mut rx), Ok(Step::Need(3)));
}

#[test]
fn event_has_the_length_of_its_payload() {
    for (wire, kind, len) in [
        (&b"\x81\x05hello"[..], Kind::Text, 5),
        (b"\x82\x00", Kind::Binary, 0),
        (b"\x89\x01x", Kind::Ping, 1),
        (b"\x88\x02\x03\xe8", Kind::Close, 2),
    ] {
        let mut rx = RecvBuffer::with_unread(wire.to_vec(), wire.len());
        let mut decoder = Decoder::new(Role::Client, 1000);
        let Ok(Step::Ready(ready)) = decoder.poll(&mut rx) else { panic!("not ready") };
        assert_eq!((ready.kind(), ready.len(), ready.is_empty()), (kind, len, len == 0));
    }
}

#[test]
fn whole_frames_are_lent_in_place() {
    let wire = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x89\x81\0\0\0\0!\x82\x82\0\0\0\0ab";
    let mut memory = wire;
    let places = [(6, 5), (17, 1), (24, 2)].map(|(at, len)| memory[at..at + len].as_ptr_range());
    let mut rx = RecvBuffer::with_unread(&mut memory[..], wire.len());
    let mut decoder = Decoder::new(Role::Server, 1000);
    for place in places {
        let Ok(Step::Ready(ready)) = decoder.poll(&mut rx) else { panic!("not ready") };
        let payload = decoder.payload_mut(&mut rx, ready).as_ptr_range();
        assert_eq!(payload, place);
        let lent = match decoder.event(&rx, ready).unwrap() {
            Event::Text(text) => text.as_bytes(),
            Event::Binary(bytes) | Event::Ping(bytes) => bytes,
            other => panic!("{other:?}"),
        };
        assert_eq!(lent.as_ptr_range(), place);
    }
}

/// The events for `wire` with permessage-deflate negotiated, each with whether it is compressed.
fn decode_deflated(wire: &[u8]) -> (Vec<(bool, Got)>, Option<Error>) {
    let mut rx = RecvBuffer::with_unread(wire.to_vec(), wire.len());
    let mut decoder = Decoder::new(Role::Client, 1000).allow_compressed();
    let mut got = Vec::new();
    loop {
        match decoder.poll(&mut rx) {
            Ok(Step::Need(_)) => return (got, None),
            Ok(Step::Ready(ready)) => {
                let event = decoder.event(&rx, ready).unwrap();
                got.push((ready.is_compressed(), event.into()));
            }
            Err(error) => return (got, Some(error)),
        }
    }
}

#[test]
fn compressed_messages_are_marked_and_lent_as_received() {
    let hello = || Got::Binary(b"\xf2\x48\xcd\xc9\xc9\x07\x00".to_vec());
    let pong = || Got::Pong(vec![]);
    // RFC 7692 7.2.3.1, whole and in fragments, with a control frame between them.
    let wire = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\x81\x01a\
        \x41\x03\xf2\x48\xcd\x8a\x00\x80\x04\xc9\xc9\x07\x00\xc2\x00\x82\x00";
    let (got, error) = decode_deflated(wire);
    assert_eq!(error, None);
    assert_eq!(
        got,
        [
            (true, hello()),
            (false, text("a")),
            (false, pong()),
            (true, hello()),
            (true, Got::Binary(vec![])),
            (false, Got::Binary(vec![])),
        ]
    );
}

#[test]
fn rsv1_on_control_frames_and_continuations_is_rejected() {
    for (wire, before) in [
        (&b"\xc8\x00"[..], 0),
        (b"\xc9\x00", 0),
        (b"\xca\x00", 0),
        (b"\x41\x01a\xc0\x01b", 0),
        (b"\x01\x01a\xc0\x01b", 0),
        (b"\x41\x01a\xc9\x00", 0),
        (b"\x81\x00\xa1\x00", 1),
        (b"\xd1\x00", 0),
    ] {
        let (got, error) = decode_deflated(wire);
        assert_eq!((got.len(), error), (before, Some(Error::ReservedBits)), "{wire:?}");
    }
}

#[test]
fn compressed_text_is_not_checked_for_utf8() {
    for wire in [&b"\xc1\x02\xc3\x28"[..], b"\x41\x01\xff\x80\x01\xff"] {
        let (got, error) = decode_deflated(wire);
        assert_eq!((got.len(), error), (1, None));
    }
    // Uncompressed text still is.
    assert_eq!(decode_deflated(b"\x01\x01\xff\x80\x00").1, Some(Error::TextNotUtf8));
}

#[test]
fn compressed_messages_have_a_limit() {
    assert_eq!(max_compressed_len(1000), 1064);
    assert_eq!(max_compressed_len(usize::MAX), usize::MAX);
    assert_eq!(decode_deflated(b"\xc2\x7e\x04\x28").1, None);
    assert_eq!(decode_deflated(b"\xc2\x7e\x04\x29").1, Some(Error::TooBig));
    assert_eq!(decode_deflated(b"\x42\x01a\x80\x7e\x04\x28").1, Some(Error::TooBig));
    assert_eq!(
        decode_deflated(b"\x82\x7e\x03\xe9").1,
        Some(Error::TooBig),
        "an uncompressed message"
    );
}
