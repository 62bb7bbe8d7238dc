//! Comma-separated lists in header values, RFC 9110 section 5.6.1.

use nom::IResult;
use nom::bytes::complete::{take_while, take_while1};

use crate::bytes::{eq_ignore_case, split_once};
use crate::text::AsciiSet;

/// Whether the list contains `token`, ignoring ASCII case.
#[cfg_attr(feature = "std", inline)]
pub(crate) fn has_token(value: &[u8], token: &str) -> bool {
    let token = token.as_bytes();
    // Most lists have one element.
    let found = eq_ignore_case(value, token)
        || (value.len() > token.len()
            && Elements { rest: value }.any(|element| eq_ignore_case(element, token)));
    // An element that is equal to a token is one.
    found && is_token(token)
}

/// The elements of the list that are tokens. Others (`h2c/1`, `two words`, empty ones) are skipped:
///
/// > A recipient MUST parse and ignore a reasonable number of empty list elements (5.6.1.2)
pub(crate) fn tokens(value: &[u8]) -> Tokens<'_> {
    Tokens(Elements { rest: value })
}

/// See [`tokens`].
#[derive(Clone, Debug)]
pub(crate) struct Tokens<'a>(Elements<'a>);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        self.0.find(|element| is_token(element))
    }
}

/// Iterates over the elements between commas, without surrounding whitespace.
#[derive(Clone, Debug)]
struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (mut element, rest) = split_once(b',', self.rest);
        self.rest = rest;
        while let [b' ' | b'\t', inner @ ..] | [inner @ .., b' ' | b'\t'] = element {
            element = inner;
        }
        Some(element)
    }
}

/// > OWS = *( SP / HTAB ) (5.6.3)
pub(crate) fn ows(input: &[u8]) -> IResult<&[u8], &[u8], ()> {
    take_while(|b| matches!(b, b' ' | b'\t'))(input)
}

/// > token = 1*tchar (5.6.2)
pub(crate) fn token(input: &[u8]) -> IResult<&[u8], &[u8], ()> {
    take_while1(is_tchar)(input)
}

fn is_token(element: &[u8]) -> bool {
    !element.is_empty() && element.iter().all(|byte| is_tchar(*byte))
}

/// `tchar` (5.6.2): the characters of tokens, methods and header names.
#[inline]
pub(crate) const fn is_tchar(byte: u8) -> bool {
    TCHARS.contains(byte)
}

const TCHARS: AsciiSet = AsciiSet::alphanumeric_and(b"!#$%&'*+-.^_`|~");

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn empty_elements_and_whitespace_are_skipped() {
        for value in ["a,b", " a ,\tb\t", ",a,,b,", " , a , , b , "] {
            let found: Vec<_> = tokens(value.as_bytes()).collect();
            assert_eq!(found, [b"a", b"b"], "{value:?}");
        }
        for value in ["", " ", ",", " , ,"] {
            assert_eq!(tokens(value.as_bytes()).next(), None, "{value:?}");
        }
    }

    #[test]
    fn only_whole_elements_match() {
        assert!(has_token(b"keep-alive, Upgrade", "upgrade"));
        assert!(has_token(b"UPGRADE", "upgrade"));
        assert!(!has_token(b"a, ,b c", "") && !has_token(b"a, ,b c", "b c"), "not tokens");
        for value in
            ["upgrade2", "no upgrade", "up\0grade", "upgrade/1", "\"upgrade\"", "upgrade\x0b"]
        {
            assert!(!has_token(value.as_bytes(), "upgrade"), "{value:?}");
        }
    }
}
