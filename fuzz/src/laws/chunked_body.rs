//! Bodies: in chunks, with a length, or until the connection closes.

use eio_core::buffer::RecvBuffer;
use eio_core::http::{self, BodyDecoder, Error, Framing, Step};

use super::Input;
use super::out::Out;

pub(crate) const LIMITS: [usize; 4] = [4_096, 70_000, 16, 0];
const FRAMINGS: [Framing; 5] = [
    Framing::Chunked,
    Framing::Length(100),
    Framing::Length(u64::MAX),
    Framing::UntilClose,
    Framing::None,
];

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::parse(data);
    let limit = input.pick(&LIMITS);
    let framing = input.pick(&FRAMINGS);
    let whole = receive(framing, limit, &[input.wire]);
    for pieces in input.cuts() {
        assert_eq!(receive(framing, limit, &pieces), whole);
    }
    if let Ok((payload, rest)) = &whole {
        round_trip(payload, &input);
        if framing == Framing::Chunked {
            assert_eq!(decode_strictly(input.wire), Some((payload.clone(), rest.clone())));
        }
    }
}

/// The payload and the bytes after it, or the error.
fn receive(framing: Framing, limit: usize, pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let size = pieces.iter().map(|piece| piece.len()).sum();
    let mut rx = RecvBuffer::new(vec![0; size]);
    let mut body = BodyDecoder::new(framing, limit);
    // The bytes received, and the bytes that the decoder needs before the end.
    let (mut received, mut wanted) = (0_usize, 0);
    let mut remaining = None;
    // Some bodies are complete, or an error, before their first byte.
    for piece in [&[][..]].iter().chain(pieces) {
        rx.append(piece).expect("there is room for all of them");
        received += piece.len();
        let kept = rx.kept().to_vec();
        match body.poll(&mut rx) {
            Ok(Step::Need(n)) => {
                assert!(n > 0);
                wanted = wanted.max(received.saturating_add(n));
            }
            Ok(Step::Done) => {
                // If it was done before this piece, the piece is not part of it.
                assert!(wanted <= received, "an end before the needed bytes");
                wanted = 0;
                assert_eq!(body.remaining(), Some(0));
            }
            Err(error) => {
                assert_eq!(body.poll(&mut rx), Err(error), "an error is final");
                assert_eq!(rx.unread().len() + rx.kept().len(), rx.len());
                return Err(error);
            }
        }
        assert!(rx.kept().len() <= limit, "keeps more than the limit");
        assert!(rx.kept().starts_with(&kept), "kept bytes changed");
        let left = body.remaining();
        assert!(remaining.is_none() || left <= remaining, "the remaining length grew");
        remaining = left;
    }
    body.finish()?;
    assert_eq!(body.poll(&mut rx), Ok(Step::Done), "an end is final");
    Ok((rx.kept().into(), rx.unread().into()))
}

/// A second decoder of RFC 9112 section 7.1, without leniency: an accepted body must be equal to its result.
fn decode_strictly(wire: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let line = |from: usize| {
        let len = wire.get(from..)?.windows(2).position(|two| two == b"\r\n")?;
        Some((&wire[from..from + len], from + len + 2))
    };
    let (mut at, mut payload) = (0, Vec::new());
    loop {
        let (size, data) = line(at)?;
        let digits = size.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(size.len());
        let (digits, extension) =
            std::str::from_utf8(&size[..digits]).ok().zip(size.get(digits..))?;
        let extension = extension.trim_ascii_start();
        if !extension.is_empty() && !extension.starts_with(b";") {
            return None;
        }
        let size = u64::from_str_radix(digits, 16).ok()?;
        at = data;
        if size == 0 {
            break;
        }
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        payload.extend(wire.get(at..end)?);
        at = end + 2;
        if wire.get(end..at)? != b"\r\n" {
            return None;
        }
    }
    loop {
        let (trailer, next) = line(at)?;
        at = next;
        if trailer.is_empty() {
            return Some((payload, wire[at..].into()));
        }
    }
}

/// Encodes the payload in chunks of the chosen sizes, followed by other bytes.
fn round_trip(payload: &[u8], input: &Input<'_>) {
    let mut out = Out::new();
    let mut rest = payload;
    for size in input.sizes() {
        if rest.is_empty() {
            break;
        }
        let (chunk, later) = rest.split_at(rest.len().min(size));
        http::chunk(&mut out, chunk).expect("room without end");
        rest = later;
    }
    http::last_chunk(&mut out).expect("room without end");
    out.bytes.extend(b"next");
    let again = receive(Framing::Chunked, payload.len(), &[&out.bytes]);
    assert_eq!(again, Ok((payload.to_vec(), b"next".to_vec())));
}
