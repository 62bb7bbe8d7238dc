//! Text from bytes, and what it may be made of.

#[cfg(feature = "std")]
use ascii::AsAsciiStr as _;

/// The bytes as text, if they are UTF-8 (RFC 3629).
#[inline]
pub(crate) fn utf8(bytes: &[u8]) -> Option<&str> {
    /// Below this length in bytes simdutf8 leaves it to the standard library, which looks at each byte up to a word's
    /// boundary. A text in a received frame mostly begins off one, and is mostly ASCII.
    #[cfg(feature = "std")]
    const SHORT: usize = 64;
    #[cfg(feature = "std")]
    if bytes.len() < SHORT
        && let Ok(text) = bytes.as_ascii_str()
    {
        return Some(text.as_str());
    }
    simdutf8::basic::from_utf8(bytes).ok()
}

/// A set of ASCII characters: a bit for each.
pub(crate) struct Chars([u32; 4]);

impl Chars {
    /// Letters, digits and `others`.
    pub(crate) const fn alphanumeric_and(others: &[u8]) -> Self {
        let mut bits = [0; 4];
        let mut byte = 0;
        while byte < 128 {
            if (byte as u8).is_ascii_alphanumeric() {
                bits[byte / 32] |= 1 << (byte % 32);
            }
            byte += 1;
        }
        let mut at = 0;
        while at < others.len() {
            bits[others[at] as usize / 32] |= 1 << (others[at] % 32);
            at += 1;
        }
        Self(bits)
    }

    /// Whether `byte` is one of them.
    #[inline]
    pub(crate) const fn has(&self, byte: u8) -> bool {
        byte.is_ascii() && self.0[byte as usize / 32] >> (byte % 32) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_its_characters_and_no_others() {
        let set = Chars::alphanumeric_and(b"-~");
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'~';
            assert_eq!(set.has(byte), expected, "{byte}");
        }
    }

    #[test]
    fn it_is_what_the_standard_library_takes_for_text() {
        // Each with each byte of it in front of, between and behind ASCII, around the lengths where the way changes.
        let parts: [&[u8]; 8] = [
            b"",
            b"a",
            "é".as_bytes(),
            "€".as_bytes(),
            "😀".as_bytes(),
            b"\xc3",
            b"\xed\xa0\x80",
            b"\xff",
        ];
        for len in [0, 1, 7, 8, 9, 31, 32, 33, 60, 62, 63, 64, 65, 127, 128, 129] {
            for (at, part) in (0..=len).flat_map(|at| parts.map(|part| (at, part))) {
                let mut bytes = std::vec![b'a'; len];
                bytes.splice(at..at, part.iter().copied());
                assert_eq!(utf8(&bytes), core::str::from_utf8(&bytes).ok(), "{bytes:?}");
            }
        }
    }
}
