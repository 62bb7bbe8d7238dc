//! Encoders of frames, RFC 6455 section 5.2.

use super::close::MAX_REASON;
use super::frame::{FIN, LENGTH_16, LENGTH_64, MASK, MAX_CONTROL, Opcode, RSV1};
use super::{CloseCode, mask};
use crate::buffer::{Overflow, Sink};

/// Writes one unfragmented frame whose payload is `prefix` followed by `payload`.
///
/// A client must pass a `mask` that is unpredictable and new for each frame (5.3), a server `None` (5.1). For
/// [`Opcode::Close`] use [`encode_close`], which cannot write an invalid close frame.
///
/// # Errors
/// [`Overflow`], with nothing written, if the frame does not fit, or if it is a control frame of more than 125 bytes
/// (5.5).
#[inline(always)]
pub fn encode<K: Sink>(
    out: &mut K,
    opcode: Opcode,
    prefix: &[u8],
    payload: &[u8],
    mask: Option<[u8; 4]>,
) -> Result<(), Overflow> {
    encode_fragment(out, true, opcode, prefix, payload, mask)
}

/// Like [`encode`], for one fragment of a message: the first has the opcode of the message, the others
/// [`Opcode::Continuation`], and only the last has `fin` (5.4). Control frames may be sent between them, and always
/// have `fin`.
///
/// # Errors
/// As [`encode`].
#[inline(always)]
pub fn encode_fragment<K: Sink>(
    out: &mut K,
    fin: bool,
    opcode: Opcode,
    prefix: &[u8],
    payload: &[u8],
    mask: Option<[u8; 4]>,
) -> Result<(), Overflow> {
    let len = prefix.len().checked_add(payload.len()).ok_or(Overflow)?;
    if opcode.is_control() && len > MAX_CONTROL {
        return Err(Overflow);
    }
    let first = opcode as u8 | if fin || opcode.is_control() { FIN } else { 0 };
    write(out, first, len, [prefix, payload], mask)
}

/// Writes one unfragmented message that was compressed with permessage-deflate: `payload` is the DEFLATE data without
/// its last four bytes (RFC 7692 7.2.1). Only for connections that negotiated it, see [`deflate`](super::deflate).
///
/// # Errors
/// [`Overflow`], with nothing written, if the frame does not fit, or if `opcode` is not [`Opcode::Text`] or
/// [`Opcode::Binary`].
pub fn encode_compressed<K: Sink>(
    out: &mut K,
    opcode: Opcode,
    payload: &[u8],
    mask: Option<[u8; 4]>,
) -> Result<(), Overflow> {
    if !matches!(opcode, Opcode::Text | Opcode::Binary) {
        return Err(Overflow);
    }
    write(out, FIN | RSV1 | opcode as u8, payload.len(), [&[], payload], mask)
}

/// Writes a frame with a payload of `len` bytes in two parts, whose first byte is `first`.
// The path of a server's short text is inlined; the rest is large.
#[inline(always)]
fn write<K: Sink>(
    out: &mut K,
    first: u8,
    len: usize,
    parts: [&[u8]; 2],
    mask: Option<[u8; 4]>,
) -> Result<(), Overflow> {
    match (mask, Length::of(len), parts) {
        // A call to copy one byte costs more than the rest of the head.
        (None, Length::Short(len), [[kind], data]) => out.put_all([&[first, len, *kind], data]),
        (None, len, parts) => write_unmasked(out, first, len, parts),
        (Some(key), ..) => write_masked(out, first, len, parts, key),
    }
}

// Without `claim`: zeroing the memory first costs more than all the rest.
#[cfg_attr(feature = "std", inline)]
#[cfg_attr(not(feature = "std"), inline(never))]
fn write_unmasked<K: Sink>(
    out: &mut K,
    first: u8,
    len: Length,
    [prefix, payload]: [&[u8]; 2],
) -> Result<(), Overflow> {
    match len {
        Length::Short(len) => out.put_all([&[first, len], prefix, payload]),
        Length::Medium(len) => {
            let [high, low] = len.to_be_bytes();
            out.put_all([&[first, LENGTH_16, high, low], prefix, payload])
        }
        Length::Long(len) => {
            out.put_all([&[first, LENGTH_64], &len.to_be_bytes(), prefix, payload])
        }
    }
}

#[cfg_attr(feature = "std", inline)]
#[cfg_attr(not(feature = "std"), inline(never))]
fn write_masked<K: Sink>(
    out: &mut K,
    first: u8,
    len: usize,
    [prefix, payload]: [&[u8]; 2],
    key: [u8; 4],
) -> Result<(), Overflow> {
    // One claim for the whole frame, so that an overflow writes nothing.
    let frame = out.claim(encoded_len(len, true))?;
    let rest = match Length::of(len) {
        Length::Short(len) => put(frame, [first, MASK | len])?,
        Length::Medium(len) => put(put(frame, [first, MASK | LENGTH_16])?, len.to_be_bytes())?,
        Length::Long(len) => put(put(frame, [first, MASK | LENGTH_64])?, len.to_be_bytes())?,
    };
    let rest = put(rest, key)?;
    let (front, back) = rest.split_at_mut_checked(prefix.len()).ok_or(Overflow)?;
    match (front, prefix) {
        // A call to copy one byte would cost more, as above.
        ([kind], [only]) => *kind = *only,
        (front, prefix) => front.copy_from_slice(prefix),
    }
    back.get_mut(..payload.len()).ok_or(Overflow)?.copy_from_slice(payload);
    mask::apply(rest, key);
    Ok(())
}

/// Writes `bytes` to the front of `room` and returns the rest of it.
#[inline(always)]
fn put<const N: usize>(room: &mut [u8], bytes: [u8; N]) -> Result<&mut [u8], Overflow> {
    let (front, rest) = room.split_first_chunk_mut().ok_or(Overflow)?;
    *front = bytes;
    Ok(rest)
}

/// Writes a close frame. Without a code no reason is written; a reason beyond 123 bytes is truncated at a character
/// boundary, so that the close frame can always be sent.
///
/// # Errors
/// [`Overflow`], with nothing written, if the frame does not fit.
pub fn encode_close<K: Sink>(
    out: &mut K,
    code: Option<CloseCode>,
    reason: &str,
    mask: Option<[u8; 4]>,
) -> Result<(), Overflow> {
    let Some(code) = code else { return encode(out, Opcode::Close, &[], &[], mask) };
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = reason.get(..end).unwrap_or_default();
    encode(out, Opcode::Close, &code.get().to_be_bytes(), reason.as_bytes(), mask)
}

/// The length in bytes of a frame with a payload of `payload` bytes.
pub const fn encoded_len(payload: usize, masked: bool) -> usize {
    let length = match Length::of(payload) {
        Length::Short(_) => 0,
        Length::Medium(_) => size_of::<u16>(),
        Length::Long(_) => size_of::<u64>(),
    };
    let key = if masked { size_of::<[u8; 4]>() } else { 0 };
    payload.saturating_add(2 + length + key)
}

/// A payload length in its encoded form.
enum Length {
    Short(u8),
    Medium(u16),
    Long(u64),
}

impl Length {
    /// > the minimal number of bytes MUST be used to encode the length (5.2)
    const fn of(len: usize) -> Self {
        match len {
            0..=125 => Self::Short(len as u8),
            126..=0xffff => Self::Medium(len as u16),
            _ => Self::Long(len as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Writer;
    use std::vec;
    use std::vec::Vec;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn written(
        f: impl FnOnce(&mut Writer<'_>) -> Result<(), Overflow>,
    ) -> Result<Vec<u8>, Overflow> {
        let mut memory = vec![0xee; 70_000];
        let mut out = Writer::new(&mut memory);
        f(&mut out)?;
        Ok(out.written().to_vec())
    }

    #[test]
    fn examples_of_rfc_6455_are_encoded() {
        let frame =
            |opcode, payload, mask| written(|out| encode(out, opcode, &[], payload, mask)).unwrap();
        assert_eq!(frame(Opcode::Text, b"Hello", None), b"\x81\x05Hello");
        assert_eq!(
            frame(Opcode::Text, b"Hello", Some(KEY)),
            b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
        );
        assert_eq!(frame(Opcode::Ping, b"Hello", None), b"\x89\x05Hello");
        assert_eq!(
            frame(Opcode::Pong, b"Hello", Some(KEY)),
            b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
        );
        assert_eq!(frame(Opcode::Binary, &[7; 256], None)[..5], *b"\x82\x7e\x01\x00\x07");
        assert_eq!(
            frame(Opcode::Binary, &[7; 65536], None)[..11],
            *b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00\x07"
        );
        let fragment = |fin, opcode, payload| {
            written(|out| encode_fragment(out, fin, opcode, &[], payload, None)).unwrap()
        };
        assert_eq!(fragment(false, Opcode::Text, b"Hel"), b"\x01\x03Hel");
        assert_eq!(fragment(true, Opcode::Continuation, b"lo"), b"\x80\x02lo");
    }

    #[test]
    fn lengths_take_the_minimum_of_bytes() {
        for (len, head) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)] {
            for (mask, key) in [(None, 0), (Some(KEY), 4)] {
                let frame =
                    written(|out| encode(out, Opcode::Binary, &[], &vec![1; len], mask)).unwrap();
                assert_eq!(frame.len(), head + key + len);
                assert_eq!(frame.len(), encoded_len(len, mask.is_some()));
            }
        }
    }

    #[test]
    fn mask_continues_from_prefix_to_payload() {
        let split = written(|out| encode(out, Opcode::Text, b"Hel", b"lo", Some(KEY))).unwrap();
        let whole = written(|out| encode(out, Opcode::Text, b"", b"Hello", Some(KEY))).unwrap();
        assert_eq!(split, whole);
    }

    #[test]
    fn overflow_writes_nothing() {
        for room in 0..11 {
            let mut memory = vec![0; room];
            let mut out = Writer::new(&mut memory);
            assert_eq!(encode(&mut out, Opcode::Text, b"4", b"Hell", Some(KEY)), Err(Overflow));
            assert!(out.is_empty());
        }
    }

    #[test]
    fn control_frames_have_fin_and_at_most_125_bytes() {
        assert!(written(|out| encode(out, Opcode::Ping, &[0], &[0; 124], None)).is_ok());
        assert_eq!(written(|out| encode(out, Opcode::Ping, &[0], &[0; 125], None)), Err(Overflow));
        let ping =
            written(|out| encode_fragment(out, false, Opcode::Ping, &[], &[], None)).unwrap();
        assert_eq!(ping, b"\x89\x00");
    }

    #[test]
    fn close_reason_is_truncated_between_characters() {
        let close = |code, reason| written(|out| encode_close(out, code, reason, None)).unwrap();
        assert_eq!(close(None, "lost"), b"\x88\x00");
        assert_eq!(close(Some(CloseCode::NORMAL), "bye"), b"\x88\x05\x03\xe8bye");
        let frame = close(Some(CloseCode::POLICY), &"é".repeat(100));
        assert_eq!(frame[..4], *b"\x88\x7c\x03\xf0");
        assert_eq!(&frame[4..], "é".repeat(61).as_bytes());
    }

    #[test]
    fn only_messages_can_be_compressed() {
        // RFC 7692 7.2.3.1: "Hello".
        let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
        let frame = written(|out| encode_compressed(out, Opcode::Text, hello, None)).unwrap();
        assert_eq!(frame, b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00");
        let frame = written(|out| encode_compressed(out, Opcode::Binary, hello, Some(KEY)));
        assert_eq!(frame.unwrap()[..6], *b"\xc2\x87\x37\xfa\x21\x3d");
        for opcode in [Opcode::Continuation, Opcode::Close, Opcode::Ping, Opcode::Pong] {
            assert_eq!(written(|out| encode_compressed(out, opcode, hello, None)), Err(Overflow));
        }
    }
}
