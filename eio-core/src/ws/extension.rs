//! The grammar of `Sec-WebSocket-Extensions`, RFC 6455 section 9.1:
//!
//! ```text
//!  extension-list  = 1#extension
//!  extension       = extension-token *( ";" extension-param )
//!  extension-param = token [ "=" (token | quoted-string) ]
//!      ;When using the quoted-string syntax variant, the value
//!      ;after quoted-string unescaping MUST conform to the
//!      ;'token' ABNF.
//! ```

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while_m_n};
use nom::character::complete::char;
use nom::combinator::{opt, recognize};
use nom::multi::{many0_count, many1_count};
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

use crate::list::{is_tchar, ows, token};

/// The value of the header does not match this grammar.
///
/// > If a value is received by either the client or the server during negotiation that does not conform to the ABNF
/// > below, the recipient of such malformed data MUST immediately _Fail the WebSocket Connection_. (9.1)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Malformed;

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Sec-WebSocket-Extensions is malformed")
    }
}

impl core::error::Error for Malformed {}

/// The extensions in one value of the header, in order. The iteration ends after an error.
pub(super) fn extensions(value: &[u8]) -> Extensions<'_> {
    Extensions { rest: value }
}

/// See [`extensions`].
#[derive(Clone, Debug)]
pub(super) struct Extensions<'h> {
    rest: &'h [u8],
}

/// One extension of an offer or a response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extension<'h> {
    pub(super) name: &'h [u8],
    /// The rest from the first semicolon on. It was parsed successfully before.
    params: &'h [u8],
}

/// A parameter of an extension.
#[derive(Clone, Copy, Debug)]
pub(super) struct Param<'h> {
    pub(super) name: &'h [u8],
    pub(super) value: Option<Value<'h>>,
}

/// A token, possibly with backslashes that are not part of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'h>(&'h [u8]);

impl<'h> Iterator for Extensions<'h> {
    type Item = Result<Extension<'h>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        // RFC 9110 section 5.6.1.2: "MUST parse and ignore a reasonable number of empty list elements".
        let blank = |b: &u8| matches!(b, b' ' | b'\t' | b',');
        let start = self.rest.iter().position(|b| !blank(b))?;
        let input = core::mem::take(&mut self.rest).get(start..).unwrap_or_default();
        match extension(input) {
            Ok((rest, found)) if matches!(rest.first(), None | Some(b',')) => {
                self.rest = rest;
                Some(Ok(found))
            }
            _ => Some(Err(Malformed)),
        }
    }
}

impl<'h> Extension<'h> {
    /// Its parameters, in order.
    pub(super) fn params(&self) -> impl Iterator<Item = Param<'h>> + use<'h> {
        let mut rest = self.params;
        core::iter::from_fn(move || {
            let (next, found) = param(rest).ok()?;
            rest = next;
            Some(found)
        })
    }
}

impl<'h> Value<'h> {
    /// The bytes of the token.
    pub(super) fn bytes(self) -> impl Iterator<Item = u8> + use<'h> {
        // A token has no backslash, so each of them quotes the next byte.
        self.0.iter().copied().filter(|b| *b != b'\\')
    }
}

fn extension(input: &[u8]) -> IResult<&[u8], Extension<'_>, ()> {
    let (rest, name) = token(input)?;
    let (rest, params) = recognize(many0_count(param)).parse(rest)?;
    let (rest, _) = ows(rest)?;
    Ok((rest, Extension { name, params }))
}

/// A parameter with the semicolon before it.
fn param(input: &[u8]) -> IResult<&[u8], Param<'_>, ()> {
    let (rest, _) = delimited(ows, char(';'), ows).parse(input)?;
    let (rest, name) = token(rest)?;
    let (rest, value) =
        opt(preceded(delimited(ows, char('='), ows), alt((token, quoted)))).parse(rest)?;
    Ok((rest, Param { name, value: value.map(Value) }))
}

/// The text between the quotes.
fn quoted(input: &[u8]) -> IResult<&[u8], &[u8], ()> {
    let tchar = || take_while_m_n(1, 1, is_tchar);
    let text = recognize(many1_count(alt((tchar(), preceded(tag(&b"\\"[..]), tchar())))));
    delimited(char('"'), text, char('"')).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    /// `name;param=value` of each extension, without whitespace and quotes.
    fn read(value: &str) -> Result<Vec<String>, Malformed> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let read = |extension: Extension<'_>| {
            let mut shown = text(extension.name);
            for param in extension.params() {
                shown = shown + ";" + &text(param.name);
                if let Some(value) = param.value {
                    shown = shown + "=" + &text(&value.bytes().collect::<Vec<_>>());
                }
            }
            shown
        };
        extensions(value.as_bytes()).map(|extension| extension.map(read)).collect()
    }

    #[test]
    fn valid_values_are_parsed() {
        for (value, expected) in [
            ("", &[][..]),
            (" \t", &[]),
            (",, ,", &[]),
            ("foo", &["foo"]),
            ("foo, bar;baz=2", &["foo", "bar;baz=2"]),
            ("a;b", &["a;b"]),
            (" a ;\tb = c ; d,e", &["a;b=c;d", "e"]),
            ("a;b=\"c\"", &["a;b=c"]),
            ("a;b=\"1\\0\"", &["a;b=10"]),
            ("a;b=\"\\1\\5\" , c", &["a;b=15", "c"]),
            (",a,,b,", &["a", "b"]),
            ("x-a.b!#$%&'*+^_`|~;c=d", &["x-a.b!#$%&'*+^_`|~;c=d"]),
            ("a;b;b", &["a;b;b"]),
        ] {
            assert_eq!(read(value).unwrap(), expected, "{value:?}");
        }
    }

    #[test]
    fn invalid_values_are_rejected() {
        for value in [
            ";",
            "a;",
            "a;;b",
            "a;b=",
            "a;b=;c",
            "a b",
            "a;b c",
            "a=b",
            "a;=b",
            "a/b",
            "\"a\"",
            "a;b=\"",
            "a;b=\"c",
            "a;b=\"\"",
            "a;b=\"c d\"",
            "a;b=\"c,d\"",
            "a;b=\"\\\"",
            "a;b=\"c\\ d\"",
            "a;b=\"c\\\\d\"",
            "a;b='c d'",
            "a;b=c\"d\"",
            "a;b=\"c\"d",
            "a;\"b\"",
            "a, ;",
            "a\0",
            "a;b=\u{e9}",
            "a;b==c",
            "a,b;",
        ] {
            assert_eq!(read(value), Err(Malformed), "{value:?}");
        }
    }

    #[test]
    fn iteration_ends_after_an_error() {
        let mut found = extensions(b"a, b;, c");
        assert!(found.next().is_some_and(|extension| extension.is_ok()));
        assert!(found.next().is_some_and(|extension| extension.is_err()));
        assert!(found.next().is_none());
    }
}
