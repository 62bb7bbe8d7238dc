//! Messages that differ from each other, and their verification.

use crate::proto::{Opcode, client_frame};

/// The messages of one connection, which differ only in a sequence number.
pub(crate) struct Payload {
    bytes: Vec<u8>,
    /// The offset of the sequence number; `None` if the message is too short for one.
    number: Option<usize>,
}

const DIGITS: usize = 8;

impl Payload {
    /// A packet with `size` bytes of data: a text message `4…`, or a binary message as a WebSocket carries it. `salt`
    /// makes it differ from those of other connections.
    pub(crate) fn new(binary: bool, size: usize, salt: u64) -> Self {
        let mut bytes = Vec::with_capacity(size + 1);
        if !binary {
            bytes.push(b'4');
        }
        let number = (size >= DIGITS).then_some(bytes.len());
        let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for _ in 0..size {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let byte = (state >> 33) as u8;
            // Lower-case ASCII: no separator, no JSON escapes.
            bytes.push(if binary { byte } else { b'a' + byte % 26 });
        }
        Self { bytes, number }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the message with this sequence number.
    pub(crate) fn write(&self, number: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        if let Some(at) = self.number {
            out[start + at..start + at + DIGITS].copy_from_slice(&digits(number));
        }
    }

    /// Whether `echo` equals the message with this sequence number.
    pub(crate) fn matches(&self, number: u64, echo: &[u8]) -> bool {
        let Some(at) = self.number else { return echo == self.bytes };
        echo.len() == self.bytes.len()
            && echo[..at] == self.bytes[..at]
            && echo[at..at + DIGITS] == digits(number)
            && echo[at + DIGITS..] == self.bytes[at + DIGITS..]
    }
}

/// A message as a masked client frame, built once; only the sequence number changes.
pub(crate) struct Framed {
    pub(crate) payload: Payload,
    frame: Vec<u8>,
    mask: [u8; 4],
}

impl Framed {
    pub(crate) fn new(payload: Payload, binary: bool, mask: [u8; 4]) -> Self {
        let mut frame = Vec::new();
        let opcode = if binary { Opcode::Binary } else { Opcode::Text };
        client_frame(&mut frame, opcode, &payload.bytes, mask);
        Self { payload, frame, mask }
    }

    pub(crate) fn len(&self) -> usize {
        self.frame.len()
    }

    /// The frame's head.
    pub(crate) fn head(&self) -> &[u8] {
        &self.frame[..self.frame.len() - self.payload.len()]
    }

    pub(crate) fn write(&self, number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.frame);
        let Some(at) = self.payload.number else { return };
        let start = out.len() - self.payload.len() + at;
        for (i, digit) in digits(number).into_iter().enumerate() {
            out[start + i] = digit ^ self.mask[(at + i) & 3];
        }
    }
}

fn digits(number: u64) -> [u8; DIGITS] {
    std::array::from_fn(|i| b"0123456789abcdef"[(number >> (28 - 4 * i)) as usize & 15])
}
