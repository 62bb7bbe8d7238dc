//! Packets and payloads of other implementations: each example of the Engine.IO v4 protocol text, the output of
//! engine.io-parser 5.2.3 and python-engineio 4.15.1 (which agree on each vector here), and round trips.

use eio_core::buffer::Writer;
use eio_core::open::{OPEN_MAX, Open};
use eio_core::packet::{Error, Frame, Message, Packet};
use eio_core::payload::{Decoder, Encoder, PushOutcome, SEPARATOR};
use eio_core::transport::{Transport, TransportSet};
use proptest::prelude::*;

/// Section of the protocol text, packet, and its text form.
const PROTOCOL_TEXT: &[(&str, Packet<'_>, &str)] = &[
    ("Protocol: 1", Packet::Close, "1"),
    ("Protocol: 2", Packet::Ping(""), "2"),
    ("Protocol: 3", Packet::Pong(""), "3"),
    ("Protocol: 4", text(""), "4"),
    ("Protocol: 5", Packet::Upgrade, "5"),
    ("Protocol: 6", Packet::Noop, "6"),
    ("Upgrade", Packet::Ping("probe"), "2probe"),
    ("Upgrade", Packet::Pong("probe"), "3probe"),
    ("HTTP long-polling", text("hello"), "4hello"),
    ("HTTP long-polling", text("world"), "4world"),
    ("HTTP long-polling", binary(&[1, 2, 3, 4]), "bAQIDBA=="),
    ("From v3 to v4", text("€"), "4€"),
];

/// Section, packets, and the body they make.
const PROTOCOL_TEXT_BODIES: &[(&str, &[Packet<'_>], &str)] = &[
    (
        "HTTP long-polling",
        &[text("hello"), Packet::Ping(""), text("world")],
        "4hello\x1e2\x1e4world",
    ),
    ("HTTP long-polling", &[text("hello"), binary(&[1, 2, 3, 4])], "4hello\x1ebAQIDBA=="),
];

/// The example under "Handshake".
const HANDSHAKE: &str = r#"{
  "sid": "lv_VI97HAXpY6yYWAAAC",
  "upgrades": ["websocket"],
  "pingInterval": 25000,
  "pingTimeout": 20000,
  "maxPayload": 1000000
}"#;

/// Messages and their text form, equal in both references.
const REFERENCES: &[(Packet<'_>, &[u8])] = &[
    (text("hello"), b"4hello"),
    (text(""), b"4"),
    (text("4hello"), b"44hello"),
    (text("0123456789"), b"40123456789"),
    (text("bAQIDBA=="), b"4bAQIDBA=="),
    (text("he said \"no\" \\ and left"), b"4he said \"no\" \\ and left"),
    (text("{\"a\":[1,2]}"), b"4{\"a\":[1,2]}"),
    (text("é€"), b"4\xc3\xa9\xe2\x82\xac"),
    (
        text("𝄞👩\u{200d}👩\u{200d}👧"),
        b"4\xf0\x9d\x84\x9e\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7",
    ),
    (text("\x00\x1f\x7f"), b"4\x00\x1f\x7f"),
    (text("a\r\nb\tc"), b"4a\r\nb\tc"),
    (text("\u{feff}bom"), b"4\xef\xbb\xbfbom"),
    (text("\u{2028}\u{2029}"), b"4\xe2\x80\xa8\xe2\x80\xa9"),
    (text(" "), b"4 "),
    (text("="), b"4="),
    (binary(&[]), b"b"),
    (binary(&[0]), b"bAA=="),
    (binary(&[255]), b"b/w=="),
    (binary(&[0, 0]), b"bAAA="),
    (binary(&[1, 2, 3]), b"bAQID"),
    (binary(&[1, 2, 3, 4]), b"bAQIDBA=="),
    (binary(&[251, 255, 191]), b"b+/+/"),
    (binary(b"4hi"), b"bNGhp"),
    (
        binary(&EVERY_BYTE),
        b"b\
          AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0BB\
          QkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWltcXV5fYGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn+AgYKD\
          hIWGh4iJiouMjY6PkJGSk5SVlpeYmZqbnJ2en6ChoqOkpaanqKmqq6ytrq+wsbKztLW2t7i5uru8vb6/wMHCw8TF\
          xsfIycrLzM3Oz9DR0tPU1dbX2Nna29zd3t/g4eLj5OXm5+jp6uvs7e7v8PHy8/T19vf4+fr7/P3+/w==",
    ),
    (Packet::Ping("probe"), b"2probe"),
    (Packet::Pong("probe"), b"3probe"),
];

/// Records that engine.io-parser rejects, and the packets it reads before the error.
const REFUSED: &[(&[u8], &[Packet<'_>], Error)] = &[
    (b"", &[], Error::Empty),
    (b"7", &[], Error::UnknownType),
    (b"a", &[], Error::UnknownType),
    (b"+", &[], Error::UnknownType),
    ("٤".as_bytes(), &[], Error::UnknownType),
    (b"4\x1e", &[text("")], Error::Empty),
    (b"\x1e4", &[], Error::Empty),
    (b"4a\x1e\x1e4b", &[text("a")], Error::Empty),
];

/// Records that engine.io-parser accepts although no encoder should write them.
const UNDERSTOOD: &[(&str, Packet<'_>)] = &[
    ("1x", Packet::Close),
    ("5x", Packet::Upgrade),
    ("6x", Packet::Noop),
    ("bAAA", binary(&[0, 0])),
    ("bAA", binary(&[0])),
    ("4\x1f", text("\x1f")),
];

/// Records that engine.io-parser decodes to unintended bytes, because it skips characters outside base64.
const DAMAGED: &[&str] = &["bA", "bAR==", "b====", "bA-_w", "b AAAA", "bAAAA="];

const EVERY_BYTE: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut byte = 0;
    while byte < bytes.len() {
        bytes[byte] = byte as u8;
        byte += 1;
    }
    bytes
};

#[test]
fn examples_of_the_protocol_text_round_trip() {
    for (section, packet, record) in PROTOCOL_TEXT {
        assert_eq!(Packet::parse_text(&mut bytes(record)), Ok(*packet), "{section}");
        assert_eq!(write(packet), record.as_bytes(), "{section}");
    }
    for (section, packets, body) in PROTOCOL_TEXT_BODIES {
        assert_eq!(read_all(&mut bytes(body)), packets.iter().copied().map(Ok).collect::<Vec<_>>());
        assert_eq!(write_all(packets), body.as_bytes(), "{section}");
    }
}

#[test]
fn handshake_of_the_protocol_text_is_parsed() {
    let open = Open {
        sid: "lv_VI97HAXpY6yYWAAAC".parse().unwrap(),
        upgrades: TransportSet::EMPTY.with(Transport::WebSocket),
        ping_interval_ms: 25_000,
        ping_timeout_ms: 20_000,
        max_payload: 1_000_000,
    };
    let mut record = write(&Packet::Open(HANDSHAKE));
    assert_eq!(record, ["0", HANDSHAKE].concat().as_bytes());
    assert_eq!(Packet::parse_text(&mut record), Ok(Packet::Open(HANDSHAKE)));
    let compact: String = HANDSHAKE.split_whitespace().collect();
    assert_eq!(open.json(&mut [0; OPEN_MAX]), compact);
    for json in [HANDSHAKE, &compact] {
        assert_eq!(Open::parse(json), Ok(open.clone()));
    }
}

#[test]
fn binary_is_unchanged_over_websocket() {
    let frame = binary(&EVERY_BYTE).frame();
    assert_eq!(frame, Frame { binary: true, prefix: b"", data: &EVERY_BYTE });
    assert_eq!(Packet::parse_binary(frame.data), binary(&EVERY_BYTE));
}

#[test]
fn output_equals_that_of_the_references() {
    for (packet, record) in REFERENCES {
        assert_eq!(write(packet), *record);
        assert_eq!(Packet::parse_text(&mut record.to_vec()), Ok(*packet));
    }
    let packets: Vec<_> = REFERENCES.iter().map(|(packet, _)| *packet).collect();
    let records: Vec<_> = REFERENCES.iter().map(|(_, record)| *record).collect();
    let mut body = records.join(&SEPARATOR);
    assert_eq!(write_all(&packets), body);
    assert_eq!(read_all(&mut body), packets.into_iter().map(Ok).collect::<Vec<_>>());
}

#[test]
fn errors_are_at_the_same_packet_as_in_the_reference() {
    for (body, before, error) in REFUSED {
        let mut expected: Vec<_> = before.iter().copied().map(Ok).collect();
        expected.push(Err(*error));
        assert_eq!(read_all(&mut body.to_vec()), expected);
    }
}

#[test]
fn lenient_records_are_accepted_unless_damaged() {
    for (record, packet) in UNDERSTOOD {
        assert_eq!(Packet::parse_text(&mut bytes(record)), Ok(*packet), "{record}");
    }
    for record in DAMAGED {
        assert_eq!(Packet::parse_text(&mut bytes(record)), Err(Error::Base64), "{record}");
    }
}

proptest! {
    #[test]
    fn packets_and_bodies_round_trip(packets in prop::collection::vec(packet(), 1..20)) {
        let packets: Vec<_> = packets.iter().map(Owned::borrow).collect();
        for packet in &packets {
            let mut record = write(packet);
            prop_assert_eq!(record.len(), packet.text_len());
            prop_assert_eq!(Packet::parse_text(&mut record), Ok(*packet));
        }
        let mut body = write_all(&packets);
        prop_assert_eq!(read_all(&mut body), packets.into_iter().map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn binary_and_text_frames_are_equivalent(packet in packet()) {
        let packet = packet.borrow();
        let frame = packet.frame();
        let mut bytes = [frame.prefix, frame.data].concat();
        if frame.binary {
            prop_assert_eq!(Packet::parse_binary(&bytes), packet);
        } else {
            prop_assert_eq!(&write(&packet), &bytes);
            prop_assert_eq!(Packet::parse_text(&mut bytes), Ok(packet));
        }
    }

    #[test]
    fn decoder_yields_at_most_one_packet_per_record(mut body in hostile_body()) {
        let (len, records) = (body.len(), body.split(|&byte| byte == SEPARATOR).count());
        let packets = read_all(&mut body);
        prop_assert!((1..=records).contains(&packets.len()));
        let complete = packets.iter().all(Result::is_ok);
        prop_assert_eq!(complete, packets.len() == records && packets.last().unwrap().is_ok());
        let data: usize = packets.iter().flatten().map(|packet| packet.frame().data.len()).sum();
        prop_assert!(data + packets.len() <= len + 1);
    }

    #[test]
    fn only_a_single_packet_may_exceed_the_limits(
        packets in prop::collection::vec(packet(), 1..20),
        max_bytes in 0_usize..200,
        max_packets in 0_usize..10,
        room in 0_usize..200,
    ) {
        let mut memory = vec![0; room];
        let mut out = Writer::new(&mut memory);
        let mut encoder = Encoder::new(max_bytes, max_packets);
        let mut written = Vec::new();
        for packet in packets.iter().map(Owned::borrow) {
            let before = encoder;
            match encoder.push(&mut out, &packet) {
                Ok(PushOutcome::Written) => written.push(packet),
                refused => {
                    prop_assert_ne!(refused, Ok(PushOutcome::Separator));
                    prop_assert!(refused.is_err() || !before.is_empty());
                    prop_assert_eq!(encoder, before);
                }
            }
            prop_assert_eq!(encoder.len(), out.len());
            prop_assert_eq!(encoder.packets(), written.len());
        }
        prop_assert!(written.len() <= 1 || encoder.len() <= max_bytes);
        prop_assert!(written.len() <= max_packets.max(1));
        if !written.is_empty() {
            let read = read_all(out.into_written());
            prop_assert_eq!(read, written.into_iter().map(Ok).collect::<Vec<_>>());
        }
    }

    #[test]
    fn open_packets_round_trip(
        sid in "[A-Za-z0-9._~-]{1,64}",
        polling: bool,
        websocket: bool,
        numbers: [u32; 3],
    ) {
        let mut upgrades = TransportSet::EMPTY;
        for (wanted, transport) in
            [(polling, Transport::Polling), (websocket, Transport::WebSocket)]
        {
            upgrades = if wanted { upgrades.with(transport) } else { upgrades };
        }
        let [ping_interval_ms, ping_timeout_ms, max_payload] = numbers;
        let sid = sid.parse().unwrap();
        let open = Open { sid, upgrades, ping_interval_ms, ping_timeout_ms, max_payload };
        let mut memory = [0; OPEN_MAX];
        prop_assert_eq!(Open::parse(open.json(&mut memory)), Ok(open));
    }

    #[test]
    fn open_packet_parser_never_panics(
        json in prop::collection::vec(
            prop::sample::select(vec![
                "{", "}", "[", "]", ":", ",", "\"", "\\", "null", "true", "1", "-", ".5", " ", "é",
                "\"sid\":", "\"abc\"", "\"upgrades\":", "\"websocket\"", "\"pingInterval\":",
                "\"pingTimeout\":", "\"maxPayload\":", "25000", "99999999999999999999", "\\u12",
            ]),
            0..40,
        ),
    ) {
        let json = json.concat();
        if Open::parse(&json).is_ok() {
            prop_assert!(json.contains("\"sid\"") && json.contains("\"abc\""));
        }
    }
}

/// A [`Packet`] that owns its data.
#[derive(Clone, Debug)]
enum Owned {
    Open(String),
    Close,
    Ping(String),
    Pong(String),
    Text(String),
    Binary(Vec<u8>),
    Upgrade,
    Noop,
}

impl Owned {
    fn borrow(&self) -> Packet<'_> {
        match self {
            Self::Open(json) => Packet::Open(json),
            Self::Close => Packet::Close,
            Self::Ping(data) => Packet::Ping(data),
            Self::Pong(data) => Packet::Pong(data),
            Self::Text(data) => text(data),
            Self::Binary(data) => binary(data),
            Self::Upgrade => Packet::Upgrade,
            Self::Noop => Packet::Noop,
        }
    }
}

/// Any packet that polling can carry.
fn packet() -> impl Strategy<Value = Owned> {
    let data = || "[^\x1e]{0,80}";
    prop_oneof![
        data().prop_map(Owned::Open),
        Just(Owned::Close),
        data().prop_map(Owned::Ping),
        data().prop_map(Owned::Pong),
        data().prop_map(Owned::Text),
        prop::collection::vec(any::<u8>(), 0..120).prop_map(Owned::Binary),
        Just(Owned::Upgrade),
        Just(Owned::Noop),
    ]
}

/// Random bytes, and meaningful bytes in random order.
fn hostile_body() -> impl Strategy<Value = Vec<u8>> {
    let telling =
        prop::sample::select(b"0123456bbb4444AAAA//+==\x1e\x1e\x1e\x80\xc3\xa9\xff7 ".to_vec());
    prop_oneof![prop::collection::vec(any::<u8>(), 0..200), prop::collection::vec(telling, 0..200),]
}

fn write(packet: &Packet<'_>) -> Vec<u8> {
    let mut memory = vec![0; packet.text_len()];
    let mut out = Writer::new(&mut memory);
    packet.encode_text(&mut out).unwrap();
    assert_eq!(out.room(), 0);
    memory
}

fn write_all(packets: &[Packet<'_>]) -> Vec<u8> {
    let len: usize = packets.iter().map(|packet| 1 + packet.text_len()).sum();
    let mut memory = vec![0; len - 1];
    let mut out = Writer::new(&mut memory);
    let mut encoder = Encoder::new(len - 1, packets.len());
    for packet in packets {
        assert_eq!(encoder.push(&mut out, packet), Ok(PushOutcome::Written));
    }
    assert_eq!(out.room(), 0);
    memory
}

fn read_all(body: &mut [u8]) -> Vec<Result<Packet<'_>, Error>> {
    Decoder::new(body).collect()
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

const fn text(text: &str) -> Packet<'_> {
    Packet::Message(Message::Text(text))
}

const fn binary(bytes: &[u8]) -> Packet<'_> {
    Packet::parse_binary(bytes)
}
