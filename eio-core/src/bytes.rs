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
