//! permessage-deflate: its negotiation, and the frames of compressed messages. eio-core does not inflate their payload.

use eio_core::buffer::RecvBuffer;
use eio_core::ws::deflate::{Malformed, Terms, WindowBits};
use eio_core::ws::{
    Decoder, Error, Event, Kind, Opcode, Role, Step, encode, encode_close, encode_compressed,
};

use super::Input;
use super::out::Out;

const LIMITS: [usize; 2] = [300, 0];

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::parse(data);
    let limit = input.pick(&LIMITS);
    let wishes = Terms {
        server_no_context_takeover: input.pick(&[false, true]),
        client_no_context_takeover: input.pick(&[false, true]),
        server_max_window_bits: WindowBits::new(input.pick(&[0, 10])),
        client_max_window_bits: WindowBits::new(input.pick(&[0, 11])),
    };
    offers(&wishes, input.wire);
    answers(&wishes, input.wire);
    frames(limit, &input);
}

/// Takes the input as the offers of a client.
fn offers(wishes: &Terms, value: &[u8]) {
    let accepted = wishes.accept([value].into_iter());
    // A comma is not part of an extension, so a list in several lines is the same list.
    let lines = value.split(|byte| *byte == b',');
    assert_eq!(wishes.accept(lines.clone()), accepted);
    let blanks = [b" \t".as_slice(), value, b", ,"].concat();
    assert_eq!(wishes.accept([&*blanks].into_iter()), accepted);
    let Ok(accepted) = accepted else {
        assert!(
            lines.map(|line| wishes.accept([line].into_iter())).any(|line| line == Err(Malformed))
        );
        return;
    };
    let Some(agreed) = accepted else { return };
    assert!(agreed.server_no_context_takeover || !wishes.server_no_context_takeover);
    assert!(agreed.client_no_context_takeover || !wishes.client_no_context_takeover);
    for (ours, window) in [
        (wishes.server_max_window_bits, agreed.server_max_window_bits),
        (wishes.client_max_window_bits, agreed.client_max_window_bits),
    ] {
        assert!(ours.is_none_or(|ours| window.is_some_and(|window| window <= ours)));
    }
    // A client that offers every parameter accepts the answer, and reads the same terms.
    let answer = agreed.to_string();
    assert_eq!(Terms::default().check([answer.as_bytes()].into_iter()), Ok(Some(agreed)));
}

/// Takes the input as the answer of a server.
fn answers(offered: &Terms, value: &[u8]) {
    let checked = offered.check([value].into_iter());
    assert_eq!(offered.check(value.split(|byte| *byte == b',')), checked);
    let Ok(Some(agreed)) = checked else { return };
    // A server can choose this answer for this offer.
    let offer = offered.offer().to_string();
    let kept = agreed.accept([offer.as_bytes()].into_iter());
    assert_eq!(kept, Ok(Some(agreed)), "{offer}");
}

/// A message or control frame, and whether it is compressed.
type Got = (Kind, bool, Vec<u8>);

/// Takes the input as frames.
fn frames(limit: usize, input: &Input<'_>) {
    for role in [Role::Server, Role::Client] {
        let whole = receive(role, limit, &[input.wire]);
        for pieces in input.cuts() {
            assert_eq!(receive(role, limit, &pieces), whole);
        }
        let wire = send(role, &whole.0);
        assert_eq!(receive(role, limit, &[&wire]), (whole.0, None));
    }
}

fn receive(role: Role, limit: usize, pieces: &[&[u8]]) -> (Vec<Got>, Option<Error>) {
    // Random data of the limit can grow to this length when it is compressed.
    let most = limit + limit / 1024 + 64;
    let mut rx = RecvBuffer::new(vec![0; most + 200]);
    let mut decoder = Decoder::new(role, limit).allow_compressed();
    let mut got = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(rx.room()));
            rx.append(now).expect("there is room");
            rest = later;
            loop {
                let ready = match decoder.poll(&mut rx) {
                    Ok(Step::Need(n)) => {
                        assert!((1..=most.max(125)).contains(&n), "asks for {n}");
                        break;
                    }
                    Ok(Step::Ready(ready)) => ready,
                    Err(error) => {
                        assert_eq!(decoder.poll(&mut rx), Err(error), "an error is final");
                        return (got, Some(error));
                    }
                };
                let (kind, compressed) = (ready.kind(), ready.is_compressed());
                match decoder.event(&rx, ready) {
                    Ok(Event::Binary(_)) => assert!(compressed || kind == Kind::Binary),
                    Ok(_) => assert!(!compressed, "a control frame, or text before it is inflated"),
                    Err(error) => return (got, Some(error)),
                }
                let bytes = decoder.payload_mut(&mut rx, ready).to_vec();
                let message = matches!(kind, Kind::Text | Kind::Binary);
                assert!(!message || bytes.len() <= if compressed { most } else { limit });
                got.push((kind, compressed, bytes));
            }
        }
    }
    (got, None)
}

fn send(role: Role, events: &[Got]) -> Vec<u8> {
    let key = (role == Role::Server).then_some([0x37, 0xfa, 0x21, 0x3d]);
    let mut out = Out::new();
    for (kind, compressed, bytes) in events {
        let opcode = match kind {
            Kind::Text => Opcode::Text,
            Kind::Binary => Opcode::Binary,
            Kind::Ping => Opcode::Ping,
            Kind::Pong => Opcode::Pong,
            Kind::Close => Opcode::Close,
        };
        let written = match (compressed, opcode) {
            (true, _) => encode_compressed(&mut out, opcode, bytes, key),
            (false, Opcode::Close) if bytes.is_empty() => encode_close(&mut out, None, "", key),
            (false, _) => encode(&mut out, opcode, &[], bytes, key),
        };
        written.expect("room without end");
    }
    out.bytes
}
