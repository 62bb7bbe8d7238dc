//! UTF-8 validation and sets of ASCII characters.

#[cfg(feature = "std")]
use ascii::AsAsciiStr as _;

/// `bytes` as text, if they are valid UTF-8 (RFC 3629).
#[inline]
pub(crate) fn utf8(bytes: &[u8]) -> Option<&str> {
    /// Below this length in bytes simdutf8 calls the standard library, which checks single bytes up to the next word
    /// boundary. Text in a received frame is rarely aligned to a word and is mostly ASCII.
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

/// A set of ASCII characters, one bit each.
#[cfg(not(feature = "std"))]
pub(crate) struct AsciiSet([u32; 4]);

/// A set of ASCII characters: a table of all bytes, whose lookup takes half as many instructions as that of a bit.
#[cfg(feature = "std")]
pub(crate) struct AsciiSet([bool; 256]);

#[cfg(feature = "std")]
impl AsciiSet {
    /// ASCII letters, digits and `others`.
    pub(crate) const fn alphanumeric_and(others: &[u8]) -> Self {
        let mut set = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            set[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut at = 0;
        while at < others.len() {
            set[others[at] as usize] = true;
            at += 1;
        }
        Self(set)
    }

    /// Whether `byte` is in the set.
    #[inline]
    pub(crate) const fn contains(&self, byte: u8) -> bool {
        self.0[byte as usize]
    }
}

#[cfg(not(feature = "std"))]
impl AsciiSet {
    /// ASCII letters, digits and `others`.
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

    /// Whether `byte` is in the set.
    #[inline]
    pub(crate) const fn contains(&self, byte: u8) -> bool {
        byte.is_ascii() && self.0[byte as usize / 32] >> (byte % 32) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_contains_exactly_its_characters() {
        let set = AsciiSet::alphanumeric_and(b"-~");
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'~';
            assert_eq!(set.contains(byte), expected, "{byte}");
        }
    }

    #[test]
    fn utf8_agrees_with_std() {
        // Each part at each position in ASCII, around the lengths at which the algorithm changes.
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
