//! Byte search and comparison of names: fast with `std`, small without, with the same results.

#[cfg(feature = "std")]
pub(crate) use memchr::{memchr as find, memchr3 as find3};

/// The index of the first `byte`.
#[cfg(not(feature = "std"))]
pub(crate) fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&b| b == byte)
}

/// The index of the first of three bytes.
#[cfg(not(feature = "std"))]
pub(crate) fn find3(a: u8, b: u8, c: u8, bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| byte == a || byte == b || byte == c)
}

/// The index of the first `byte`, eight bytes at a time: within few bytes it is faster than a vectorized search.
#[inline]
pub(crate) fn find_short(byte: u8, bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let wanted = u64::from_ne_bytes([byte; 8]);
    let (mut rest, mut at) = (bytes, 0);
    while let Some((eight, after)) = rest.split_first_chunk::<8>() {
        let differ = u64::from_le_bytes(*eight) ^ wanted;
        // The lowest bit is the top bit of the first byte that does not differ.
        let equal = differ.wrapping_sub(ONES) & !differ & (ONES << 7);
        if equal != 0 {
            return Some(at + (equal.trailing_zeros() / 8) as usize);
        }
        (rest, at) = (after, at + 8);
    }
    rest.iter().position(|other| *other == byte).map(|found| at + found)
}

/// The bytes before and after the first `byte`; all of them and nothing if there is no such byte.
#[inline(never)]
pub(crate) fn split_once(byte: u8, bytes: &[u8]) -> (&[u8], &[u8]) {
    let at = find(byte, bytes).unwrap_or(bytes.len());
    (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..).unwrap_or_default())
}

/// `bytes` without leading and trailing ASCII whitespace.
#[cfg_attr(feature = "std", inline)]
#[cfg_attr(not(feature = "std"), inline(never))]
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

/// Whether two names are equal, ignoring ASCII case.
#[cfg_attr(feature = "std", inline)]
#[cfg_attr(not(feature = "std"), inline(never))]
pub(crate) fn eq_ignore_case(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn find_short_agrees_with_a_search_byte_by_byte() {
        for byte in [0, 1, b'&', 0x7f, 0x80, 0xff] {
            // Neighbours of the byte, which carries of the subtraction could hide or forge.
            for other in [byte.wrapping_sub(1), byte.wrapping_add(1), byte ^ 0x80, 0, 0xff] {
                for len in 0..=20 {
                    for first in 0..=len {
                        let mut bytes = [other; 20];
                        bytes.iter_mut().skip(first).step_by(3).for_each(|at| *at = byte);
                        let bytes = &bytes[..len];
                        let expected = bytes.iter().position(|at| *at == byte);
                        assert_eq!(find_short(byte, bytes), expected, "{byte} in {bytes:?}");
                    }
                }
            }
        }
    }
}
