//! The least that must be done, by hand on bare slices into buffers that exist: no state, no limits, no errors
//! worth the name. What a codec is measured against.

use base64_simd::{AsOut, STANDARD};

/// A text packet's data.
pub fn decode_text(record: &[u8]) -> Option<&str> {
    match record.split_first()? {
        (b'4', data) => simdutf8::basic::from_utf8(data).ok(),
        _ => None,
    }
}

/// Writes a text packet; says how long it is.
pub fn encode_text(data: &str, out: &mut [u8]) -> usize {
    out[0] = b'4';
    out[1..=data.len()].copy_from_slice(data.as_bytes());
    1 + data.len()
}

/// Calls `each` for every text packet of a body.
pub fn decode_payload<'b>(body: &'b [u8], mut each: impl FnMut(&'b str)) -> Option<()> {
    let mut start = 0;
    for end in memchr::memchr_iter(0x1e, body).chain([body.len()]) {
        each(decode_text(&body[start..end])?);
        start = end + 1;
    }
    Some(())
}

/// Writes text packets behind one another; says how long they are.
pub fn encode_payload(messages: &[&str], out: &mut [u8]) -> usize {
    let mut at = 0;
    for message in messages {
        if at > 0 {
            out[at] = 0x1e;
            at += 1;
        }
        at += encode_text(message, &mut out[at..]);
    }
    at
}

/// Decodes base64 behind a `b` where it lies.
pub fn decode_base64(record: &mut [u8]) -> Option<&[u8]> {
    STANDARD.decode_inplace(&mut record[1..]).ok().map(|data| &*data)
}

/// Writes a binary packet as text.
pub fn encode_base64<'o>(data: &[u8], out: &'o mut [u8]) -> &'o [u8] {
    out[0] = b'b';
    let len = STANDARD.encode(data, out[1..].as_out()).len();
    &out[..=len]
}

/// Masks or unmasks where the payload lies.
pub fn mask(payload: &mut [u8], key: [u8; 4]) {
    let key = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    words.iter_mut().for_each(|word| *word = (u64::from_ne_bytes(*word) ^ key).to_ne_bytes());
    rest.iter_mut().zip(key.to_ne_bytes()).for_each(|(byte, key)| *byte ^= key);
}

/// The payload of a masked frame that is all there.
pub fn read_frame(frame: &mut [u8]) -> Option<&mut [u8]> {
    let (len, at) = match frame[1] & 0x7f {
        126 => (u16::from_be_bytes([frame[2], frame[3]]) as usize, 4),
        127 => (u64::from_be_bytes(frame[2..10].try_into().ok()?) as usize, 10),
        short => (usize::from(short), 2),
    };
    let (head, rest) = frame.split_at_mut_checked(at + 4)?;
    let payload = rest.get_mut(..len)?;
    mask(payload, [head[at], head[at + 1], head[at + 2], head[at + 3]]);
    Some(payload)
}

/// Writes an unmasked text frame; says how long it is.
pub fn write_frame(payload: &[u8], out: &mut [u8]) -> usize {
    out[0] = 0x81;
    let at = match payload.len() {
        len @ 0..126 => {
            out[1] = len as u8;
            2
        }
        len @ 126..0x1_0000 => {
            out[1] = 126;
            out[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            4
        }
        len => {
            out[1] = 127;
            out[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            10
        }
    };
    out[at..at + payload.len()].copy_from_slice(payload);
    at + payload.len()
}
