//! Comma-separated header lists, RFC 9110 section 5.6.1.

use nom::bytes::complete::{take_till, take_while, take_while1};
use nom::combinator::all_consuming;
use nom::sequence::delimited;
use nom::{IResult, Parser};

use crate::search::same;

/// Whether the list holds `token`, in any case of letters.
pub(crate) fn has_token(value: &[u8], token: &str) -> bool {
    tokens(value).any(|t| same(t, token.as_bytes()))
}

/// The elements of the list that are tokens. Others (`h2c/1`, `two words`, nothing at all) are passed over:
///
/// > A recipient MUST parse and ignore a reasonable number of empty list elements (5.6.1.2)
pub(crate) fn tokens(value: &[u8]) -> Tokens<'_> {
    Tokens { rest: value }
}

/// See [`tokens`].
#[derive(Clone, Debug)]
pub(crate) struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (rest, element) = element(self.rest).ok()?;
            self.rest = rest.split_first().map_or(rest, |(_comma, next)| next);
            if let Ok((_, token)) = all_consuming(delimited(ows, token, ows)).parse(element) {
                return Some(token);
            }
        }
        None
    }
}

fn element(input: &[u8]) -> IResult<&[u8], &[u8], ()> {
    take_till(|b| b == b',')(input)
}

/// > OWS = *( SP / HTAB ) (5.6.3)
pub(crate) fn ows(input: &[u8]) -> IResult<&[u8], &[u8], ()> {
    take_while(|b| matches!(b, b' ' | b'\t'))(input)
}

/// > token = 1*tchar (5.6.2)
pub(crate) fn token(input: &[u8]) -> IResult<&[u8], &[u8], ()> {
    take_while1(is_tchar)(input)
}

/// `tchar` (5.6.2): what tokens, methods and header names are made of.
#[inline]
pub(crate) const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii() && TCHARS[byte as usize / 32] >> (byte % 32) & 1 != 0
}

/// A bit for each character of ASCII.
const TCHARS: [u32; 4] = {
    let mut bits = [0; 4];
    let mut byte = 0;
    while byte < 128 {
        if (byte as u8).is_ascii_alphanumeric()
            || matches!(
                byte as u8,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            )
        {
            bits[byte / 32] |= 1 << (byte % 32);
        }
        byte += 1;
    }
    bits
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn empty_elements_and_blanks_are_passed_over() {
        for value in ["a,b", " a ,\tb\t", ",a,,b,", " , a , , b , "] {
            let found: Vec<_> = tokens(value.as_bytes()).collect();
            assert_eq!(found, [b"a", b"b"], "{value:?}");
        }
        for value in ["", " ", ",", " , ,"] {
            assert_eq!(tokens(value.as_bytes()).next(), None, "{value:?}");
        }
    }

    #[test]
    fn only_whole_elements_count() {
        assert!(has_token(b"keep-alive, Upgrade", "upgrade"));
        assert!(has_token(b"UPGRADE", "upgrade"));
        for value in
            ["upgrade2", "no upgrade", "up\0grade", "upgrade/1", "\"upgrade\"", "upgrade\x0b"]
        {
            assert!(!has_token(value.as_bytes(), "upgrade"), "{value:?}");
        }
    }
}
