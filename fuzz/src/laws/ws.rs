//! WebSocket frames, as either role receives them.

use eio_core::buffer::RecvBuffer;
use eio_core::ws::{
    CloseCode, Decoder, Error, Event, Opcode, Role, Step, encode, encode_close, encode_fragment,
    encoded_len,
};

use super::Input;
use super::out::Out;

const LIMITS: [usize; 4] = [300, 0, 125, 70_000];
/// The longest head and the longest control frame.
const MAX_HEAD: usize = 14;
const MAX_CONTROL: usize = 125;

/// An event that owns its data; an error is the last one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Error(Error),
}

pub(crate) fn server(data: &[u8]) {
    run(Role::Server, data);
}

pub(crate) fn client(data: &[u8]) {
    run(Role::Client, data);
}

/// The events of the fuzzer's input, and the message limit that it chose.
pub(crate) fn whole(role: Role, data: &[u8]) -> (Vec<Got>, usize) {
    let mut input = Input::parse(data);
    let limit = input.pick(&LIMITS);
    (receive(role, limit, input.wire.len(), &[input.wire]), limit)
}

fn run(role: Role, data: &[u8]) {
    let (expected, limit) = whole(role, data);
    let input = Input::parse(data);
    for pieces in input.cuts() {
        // With no memory at first, which grows to the announced length.
        assert_eq!(receive(role, limit, 0, &pieces), expected);
    }
    if !matches!(expected.last(), Some(Got::Error(_))) {
        every_frame_is_legal(role, limit, input.wire);
    }
    let events: Vec<Got> =
        expected.into_iter().filter(|event| !matches!(event, Got::Error(_))).collect();
    let size = input.sizes().next().unwrap_or(1);
    for size in [usize::MAX, size] {
        let wire = send(role, &events, size);
        assert_eq!(receive(role, limit, wire.len(), &[&wire]), events);
    }
}

/// Decodes the input of one connection, whose memory grows to the announced length of a message.
fn receive(role: Role, limit: usize, storage: usize, pieces: &[&[u8]]) -> Vec<Got> {
    let mut rx = RecvBuffer::new(vec![0; storage]);
    let mut decoder = Decoder::new(role, limit);
    let mut got = Vec::new();
    // The bytes received, and the bytes that the decoder needs before the next event.
    let (mut received, mut wanted) = (0, 0);
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            if rx.room() == 0 {
                let larger = vec![0xee; 1 + rx.len() + rx.len() / 2];
                rx = rx.transfer(larger).expect("larger").0;
            }
            let (now, later) = rest.split_at(rest.len().min(rx.room()));
            rx.append(now).expect("there is room");
            received += now.len();
            rest = later;
            loop {
                match decoder.poll(&mut rx) {
                    Ok(Step::Need(n)) => {
                        assert!((1..=limit.max(MAX_CONTROL)).contains(&n), "asks for {n}");
                        let held = rx.len();
                        assert!(held <= limit + MAX_CONTROL + MAX_HEAD, "holds {held}");
                        wanted = wanted.max(received + n);
                        break;
                    }
                    Ok(Step::Ready(ready)) => {
                        assert!(wanted <= received, "an event before the needed bytes");
                        wanted = 0;
                        match decoder.event(&rx, ready) {
                            Ok(event) => {
                                let event = owned(event, limit);
                                let bytes = decoder.payload_mut(&mut rx, ready);
                                assert_eq!(bytes, payload(&event));
                                assert_eq!(bytes.len(), ready.len());
                                got.push(event);
                            }
                            Err(error) => {
                                got.push(Got::Error(error));
                                return got;
                            }
                        }
                    }
                    Err(error) => {
                        assert_eq!(decoder.poll(&mut rx), Err(error), "an error is final");
                        got.push(Got::Error(error));
                        return got;
                    }
                }
            }
            if let Some(Got::Close(..)) = got.last() {
                assert!(rx.is_empty(), "bytes are kept after a close");
            }
        }
    }
    // A frame has at least two bytes, so this bounds the work that an input can cause.
    assert!(got.len() <= received / 2);
    let bytes: usize = got.iter().map(|event| payload(event).len()).sum();
    assert!(bytes <= received, "more output than input");
    got
}

fn owned(event: Event<'_>, limit: usize) -> Got {
    match event {
        Event::Text(text) => {
            assert!(text.len() <= limit);
            Got::Text(text.into())
        }
        Event::Binary(bytes) => {
            assert!(bytes.len() <= limit);
            Got::Binary(bytes.into())
        }
        Event::Ping(bytes) => Got::Ping(bytes.into()),
        Event::Pong(bytes) => Got::Pong(bytes.into()),
        Event::Close(code, reason) => {
            let code = code.map(CloseCode::get);
            // The codes of RFC 6455 section 7.4.1, the three that IANA added, and the ranges of section 7.4.2.
            let legal = |code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            assert!(code.is_none_or(legal), "{code:?} must not be sent");
            Got::Close(code, reason.into())
        }
    }
}

/// Checks the rules of RFC 6455 section 5 on heads by a second parse of an accepted input, up to a close frame or an
/// incomplete frame.
fn every_frame_is_legal(role: Role, limit: usize, wire: &[u8]) {
    let mut rest = wire;
    let mut unfinished = false;
    while let [first, second, more @ ..] = rest {
        let (fin, opcode, masked) = (first & 0x80 != 0, first & 0x0f, second & 0x80 != 0);
        assert_eq!(first & 0x70, 0, "a reserved bit (5.2)");
        assert!(matches!(opcode, 0..=2 | 8..=10), "a reserved opcode (5.2)");
        assert_eq!(masked, role == Role::Server, "a mask (5.1)");
        let (len, more) = match (second & 0x7f, more) {
            (126, [a, b, more @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), more),
            (127, [a, b, c, d, e, f, g, h, more @ ..]) => {
                (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), more)
            }
            (126 | 127, _) => return,
            (len, more) => (u64::from(len), more),
        };
        let needs = if len < 126 { 0 } else { 126 + u8::from(len > 0xffff) };
        assert!(needs == 0 || second & 0x7f == needs, "a length in too many bytes (5.2)");
        assert!(needs != 0 || second & 0x7f < 126, "a length in too many bytes (5.2)");
        if opcode >= 8 {
            assert!(fin && len <= 125, "a fragmented or long control frame (5.5)");
        }
        let key = if masked { 4 } else { 0 };
        if more.len() < key {
            return;
        }
        if opcode < 8 {
            assert_eq!(opcode == 0, unfinished, "fragments out of order (5.4)");
            unfinished = !fin;
            assert!(len <= limit as u64, "a frame beyond the limit");
        }
        let whole = usize::try_from(len).ok().and_then(|len| more.get(key + len..));
        match whole {
            Some(next) if opcode != 8 => rest = next,
            _ => return,
        }
    }
}

fn payload(event: &Got) -> Vec<u8> {
    match event {
        Got::Text(text) => text.as_bytes().into(),
        Got::Binary(bytes) | Got::Ping(bytes) | Got::Pong(bytes) => bytes.clone(),
        Got::Close(Some(code), reason) => [&code.to_be_bytes(), reason.as_bytes()].concat(),
        Got::Close(None, _) | Got::Error(_) => Vec::new(),
    }
}

/// Encodes events for `role`, with messages in fragments of at most `size` bytes.
fn send(role: Role, events: &[Got], size: usize) -> Vec<u8> {
    let key = (role == Role::Server).then_some([0x37, 0xfa, 0x21, 0x3d]);
    let mut out = Out::new();
    for event in events {
        let bytes = payload(event);
        let before = out.bytes.len();
        let opcode = match event {
            Got::Text(_) => Opcode::Text,
            Got::Binary(_) => Opcode::Binary,
            Got::Ping(_) => Opcode::Ping,
            Got::Pong(_) => Opcode::Pong,
            Got::Close(code, reason) => {
                let code = code.map(|code| CloseCode::new(code).expect("it was received"));
                encode_close(&mut out, code, reason, key).expect("room without end");
                continue;
            }
            Got::Error(_) => continue,
        };
        if opcode.is_control() || bytes.len() <= size {
            let (prefix, rest) = bytes.split_at(bytes.len().min(1));
            encode(&mut out, opcode, prefix, rest, key).expect("room without end");
            assert_eq!(out.bytes.len() - before, encoded_len(bytes.len(), key.is_some()));
            continue;
        }
        let mut fragments = bytes.chunks(size).peekable();
        let mut opcode = opcode;
        while let Some(fragment) = fragments.next() {
            let fin = fragments.peek().is_none();
            encode_fragment(&mut out, fin, opcode, &[], fragment, key).expect("room without end");
            opcode = Opcode::Continuation;
        }
    }
    out.bytes
}
