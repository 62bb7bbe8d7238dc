//! Text from bytes.

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

#[cfg(test)]
mod tests {
    use super::*;

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
