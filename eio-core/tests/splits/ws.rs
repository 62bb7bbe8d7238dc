//! WebSocket frames.

use eio_core::buffer::{Overflow, RecvBuffer, Sink};
use eio_core::ws::{
    CloseCode, Decoder, Error, Event, Opcode, Role, Step, encode, encode_close, encode_fragment,
};
use proptest::prelude::*;

const LIMIT: usize = 70_000;

/// An event that owns its data; an error is the last.
#[derive(Clone, Debug, PartialEq)]
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

/// A connection that starts with `storage` bytes of memory, which grow to the announced length of a message.
struct Connection {
    decoder: Decoder,
    rx: RecvBuffer<Vec<u8>>,
    got: Vec<Got>,
}

impl Connection {
    fn new(role: Role, storage: usize) -> Self {
        let rx = RecvBuffer::new(vec![0; storage]);
        Self { decoder: Decoder::new(role, LIMIT), rx, got: Vec::new() }
    }

    /// Receives one piece, as many bytes at a time as fit. Returns false after an error.
    fn receive(&mut self, mut piece: &[u8]) -> bool {
        while !piece.is_empty() {
            let spare = self.rx.spare_mut(1);
            let n = spare.len().min(piece.len());
            spare[..n].copy_from_slice(&piece[..n]);
            self.rx.fill(n);
            piece = &piece[n..];
            match self.drain() {
                Ok(need) if self.rx.room() == 0 => self.grow(need),
                Ok(_) => {}
                Err(error) => {
                    self.got.push(Got::Error(error));
                    return false;
                }
            }
        }
        true
    }

    fn drain(&mut self) -> Result<usize, Error> {
        loop {
            match self.decoder.poll(&mut self.rx)? {
                Step::Need(n) => {
                    assert!((1..=LIMIT).contains(&n), "asks for {n}");
                    return Ok(n);
                }
                Step::Ready(ready) => {
                    let event = Got::from(self.decoder.event(&self.rx, ready)?);
                    self.got.push(event);
                }
            }
        }
    }

    fn grow(&mut self, need: usize) {
        let rx = std::mem::replace(&mut self.rx, RecvBuffer::new(Vec::new()));
        let larger = vec![0xee; rx.len() + need];
        self.rx = rx.transfer(larger).expect("larger").0;
    }
}

/// The events for a stream that arrives in pieces of these sizes, repeatedly.
fn decode(role: Role, storage: usize, wire: &[u8], pieces: &[usize]) -> Vec<Got> {
    let mut connection = Connection::new(role, storage);
    let mut rest = wire;
    for piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, next) = rest.split_at((*piece).min(rest.len()));
        if !connection.receive(piece) {
            break;
        }
        rest = next;
    }
    connection.got
}

/// The bytes of a stream.
#[derive(Default)]
struct Wire(Vec<u8>);

impl Sink for Wire {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn claim(&mut self, n: usize) -> Result<&mut [u8], Overflow> {
        let len = self.0.len();
        self.0.resize(len + n, 0);
        Ok(&mut self.0[len..])
    }
}

impl Wire {
    /// Writes a message in fragments of `size` bytes, with a ping after each but the last.
    fn fragmented(&mut self, message: &Got, size: usize, key: Option<[u8; 4]>) -> Vec<Got> {
        let (first, payload) = match message {
            Got::Text(text) => (Opcode::Text, text.as_bytes()),
            Got::Binary(bytes) => (Opcode::Binary, &bytes[..]),
            other => panic!("{other:?} is not sent in fragments"),
        };
        let mut events = Vec::new();
        let mut opcode = first;
        let mut rest = payload;
        while rest.len() > size {
            let (fragment, next) = rest.split_at(size);
            encode_fragment(self, false, opcode, &[], fragment, key).unwrap();
            let ping = &next[..next.len().min(rest.len() % 126)];
            encode(self, Opcode::Ping, &[], ping, key).unwrap();
            events.push(Got::Ping(ping.into()));
            (opcode, rest) = (Opcode::Continuation, next);
        }
        encode_fragment(self, true, opcode, &[], rest, key).unwrap();
        events.push(message.clone());
        events
    }

    fn whole(&mut self, event: &Got, key: Option<[u8; 4]>) {
        let (opcode, payload) = match event {
            Got::Text(text) => (Opcode::Text, text.as_bytes()),
            Got::Binary(bytes) => (Opcode::Binary, &bytes[..]),
            Got::Ping(bytes) => (Opcode::Ping, &bytes[..]),
            Got::Pong(bytes) => (Opcode::Pong, &bytes[..]),
            Got::Close(code, reason) => return encode_close(self, *code, reason, key).unwrap(),
            Got::Error(error) => panic!("{error} is not sent"),
        };
        let (prefix, payload) = payload.split_at(payload.len().min(1));
        encode(self, opcode, prefix, payload, key).unwrap();
    }
}

/// Both roles, with the mask of the frames they receive.
const ROLES: [(Role, Option<[u8; 4]>); 2] =
    [(Role::Client, None), (Role::Server, Some([0x37, 0xfa, 0x21, 0x3d]))];

#[test]
fn long_stream_has_the_same_events_for_each_split() {
    let chars = "aé€😀".chars().cycle();
    let lengths = [0, 1, 125, 126, 127, 65535, 65536];
    let fragments = [1, 7, 125, 126, 40_000];
    for (role, key) in ROLES {
        let mut wire = Wire::default();
        let mut expected = Vec::new();
        for (n, len) in lengths.into_iter().enumerate() {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 7 + n) as u8).collect();
            let mut text: String = chars.clone().take(len / 4).collect();
            text.push_str(&"x".repeat(len - text.len()));
            for event in [
                Got::Binary(bytes.clone()),
                Got::Pong(bytes.iter().copied().take(125).collect()),
                Got::Text(text.clone()),
            ] {
                wire.whole(&event, key);
                expected.push(event);
            }
            // Many tiny fragments of a long message only take time.
            let fitting = |size: &&usize| len / **size < 130;
            for size in fragments.iter().filter(fitting) {
                expected.extend(wire.fragmented(&Got::Text(text.clone()), *size, key));
                expected.extend(wire.fragmented(&Got::Binary(bytes.clone()), *size, key));
            }
        }
        let close = Got::Close(Some(CloseCode::GOING_AWAY), "restart".into());
        wire.whole(&close, key);
        expected.push(close);
        wire.0.extend_from_slice(b"data after a close frame");

        for storage in [1, wire.0.len()] {
            for piece in [1, 2, 3, 13, 1460, wire.0.len()] {
                let got = decode(role, storage, &wire.0, &[piece]);
                assert!(got == expected, "{role:?}, {storage} bytes of storage, pieces of {piece}");
            }
        }
    }
}

fn event() -> impl Strategy<Value = Got> {
    let payload = || {
        prop_oneof![
            4 => proptest::collection::vec(any::<u8>(), 0..40),
            1 => proptest::collection::vec(any::<u8>(), 120..300),
        ]
    };
    let control = || proptest::collection::vec(any::<u8>(), 0..=125);
    prop_oneof![
        payload().prop_map(Got::Binary),
        "\\PC{0,60}".prop_map(Got::Text),
        control().prop_map(Got::Ping),
        control().prop_map(Got::Pong),
    ]
}

fn close() -> impl Strategy<Value = Got> {
    let code = any::<u16>().prop_filter_map("a code for the wire", CloseCode::new);
    prop_oneof![
        Just(Got::Close(None, String::new())),
        (code, "\\PC{0,30}").prop_map(|(code, reason)| Got::Close(Some(code), reason)),
    ]
}

/// Frames with opcodes and lengths that occur, and a payload that may be shorter or longer than announced. They have
/// the mask bit of the receiving role, or all of them would fail there.
fn garbage() -> impl Strategy<Value = Vec<(u8, u8, Vec<u8>)>> {
    let first = prop_oneof![
        8 => proptest::sample::select(vec![0x01, 0x02, 0x00, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8a]),
        1 => any::<u8>(),
    ];
    let second = prop_oneof![8 => 0_u8..6, 1 => any::<u8>()];
    let payload = prop_oneof![
        "\\PC{0,4}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..6),
        Just(vec![0xe2, 0x82, 0xac, 0xf0]),
    ];
    let frame = (first, second, any::<bool>(), payload).prop_map(|(first, len, exact, payload)| {
        let len = if exact { payload.len() as u8 } else { len };
        (first, len, payload)
    });
    proptest::collection::vec(frame, 0..12)
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(prop_oneof![1_usize..5, 1_usize..200], 1..20)
}

proptest! {
    #[test]
    fn frames_round_trip(
        events in proptest::collection::vec((event(), 1_usize..60, any::<bool>()), 0..12),
        close in close(),
        random in any::<[u8; 4]>(),
        storage in 1_usize..600,
        pieces in pieces(),
    ) {
        for (role, key) in ROLES {
            let key = key.map(|_| random);
            let mut wire = Wire::default();
            let mut expected = Vec::new();
            for (event, size, in_fragments) in &events {
                let is_message = matches!(event, Got::Text(_) | Got::Binary(_));
                if *in_fragments && is_message {
                    expected.extend(wire.fragmented(event, *size, key));
                } else {
                    wire.whole(event, key);
                    expected.push(event.clone());
                }
            }
            wire.whole(&close, key);
            expected.push(close.clone());
            prop_assert_eq!(decode(role, storage, &wire.0, &pieces), expected);
        }
    }

    #[test]
    fn random_input_has_the_same_result_for_each_split(
        frames in garbage(),
        noise in proptest::collection::vec(any::<u8>(), 0..40),
        storage in 1_usize..100,
        pieces in pieces(),
    ) {
        for (role, key) in ROLES {
            let mut wire = Vec::new();
            for (first, second, payload) in &frames {
                wire.extend([*first, second ^ if key.is_some() { 0x80 } else { 0 }]);
                wire.extend(key.map(|_| [0; 4]).into_iter().flatten());
                wire.extend(payload);
            }
            wire.extend(&noise);
            let whole = decode(role, wire.len().max(1), &wire, &[usize::MAX]);
            prop_assert_eq!(&decode(role, storage, &wire, &pieces), &whole);
            prop_assert_eq!(&decode(role, storage, &wire, &[1]), &whole);
        }
    }

    #[test]
    fn text_with_an_invalid_byte_is_never_delivered(
        text in "\\PC{1,40}",
        at in any::<proptest::sample::Index>(),
        size in 1_usize..20,
        pieces in pieces(),
    ) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = 0xff; // a byte that does not occur in UTF-8
        let mut wire = Wire::default();
        let mut opcode = Opcode::Text;
        for fragment in bytes.chunks(size) {
            encode_fragment(&mut wire, false, opcode, &[], fragment, None).unwrap();
            opcode = Opcode::Continuation;
        }
        encode(&mut wire, opcode, &[], &[], None).unwrap();
        let got = decode(Role::Client, 64, &wire.0, &pieces);
        prop_assert_eq!(got, [Got::Error(Error::TextNotUtf8)]);
    }
}
