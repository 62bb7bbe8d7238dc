//! Looking for bytes and comparing names: fast where there is `std`, small elsewhere, the same everywhere.

#[cfg(feature = "std")]
pub(crate) use memchr::{memchr as find, memchr3 as find3};

/// Where the first `byte` is.
#[cfg(not(feature = "std"))]
pub(crate) fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&b| b == byte)
}

/// Where the first of three bytes is.
#[cfg(not(feature = "std"))]
pub(crate) fn find3(a: u8, b: u8, c: u8, bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| byte == a || byte == b || byte == c)
}

/// What is before the first `byte` or behind it; all of it and nothing, if there is none.
#[inline(never)]
pub(crate) fn split_once(byte: u8, bytes: &[u8]) -> (&[u8], &[u8]) {
    let at = find(byte, bytes).unwrap_or(bytes.len());
    (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..).unwrap_or_default())
}

/// Without blanks around.
#[cfg_attr(feature = "std", inline)]
#[cfg_attr(not(feature = "std"), inline(never))]
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

/// Whether two names are the same but for the case of letters.
#[cfg_attr(feature = "std", inline)]
#[cfg_attr(not(feature = "std"), inline(never))]
pub(crate) fn eq_ignore_case(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b)
}
