//! The opening handshake, RFC 6455 section 4, as rules on the parts of a parsed HTTP message. Headers are pairs of name
//! and value, with names in any case, and values with or without surrounding whitespace.
//!
//! ```
//! use eio_core::ws::handshake::{Key, check_request, check_response};
//!
//! let key = Key::new([7; 16]); // sixteen random bytes
//! let request = [
//!     ("Upgrade", &b"websocket"[..]),
//!     ("Connection", b"keep-alive, Upgrade"),
//!     ("Sec-WebSocket-Version", b"13"),
//!     ("Sec-WebSocket-Key", key.as_str().as_bytes()),
//! ];
//! let offer = check_request("GET", 1, request.into_iter()).unwrap();
//! let response = [
//!     ("Upgrade", &b"websocket"[..]),
//!     ("Connection", b"Upgrade"),
//!     ("Sec-WebSocket-Accept", offer.accept().as_bytes()),
//! ];
//! assert_eq!(check_response(&key, &[], 101, response.into_iter()), Ok(None));
//! ```

use super::deflate::Terms;
use crate::bytes::{eq_ignore_case, trim};
use crate::list::{has_token, tokens};
use base64_simd::{AsOut, STANDARD};
use sha1_smol::Sha1;

pub use super::mismatch::Mismatch;

/// The value of `Sec-WebSocket-Accept` for this `Sec-WebSocket-Key`:
///
/// > concatenating /key/ [...] with the string "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", taking the SHA-1 hash
/// > of this concatenated value to obtain a 20-byte value and base64-encoding [...] this 20-byte hash. (4.2.2)
///
/// ```
/// # use eio_core::ws::handshake::accept_key;
/// assert_eq!(&accept_key("dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
pub fn accept_key(key: &str) -> [u8; 28] {
    let mut sha = Sha1::new();
    sha.update(key.as_bytes());
    sha.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let mut accept = [0; 28];
    let _ = STANDARD.encode(&sha.digest().bytes(), accept.as_mut().as_out());
    accept
}

/// Checks as a server whether a request opens a WebSocket (4.2.1), in one pass over the headers. `minor` is the minor
/// version of HTTP.
///
/// # Errors
/// The first broken rule, in the order of [`Refusal`].
pub fn check_request<'h, H>(method: &str, minor: u8, headers: H) -> Result<Offer<H>, Refusal>
where
    H: Iterator<Item = (&'h str, &'h [u8])> + Clone,
{
    // > An HTTP/1.1 or higher GET request
    if method != "GET" {
        return Err(Refusal::Method);
    }
    if minor < 1 {
        return Err(Refusal::HttpVersion);
    }
    let (mut upgrade, mut connection) = (false, false);
    let (mut version, mut key) = (Single::Absent, Single::Absent);
    for (name, value) in headers.clone() {
        // > An |Upgrade| header field containing the value "websocket", treated as an ASCII
        // > case-insensitive value.
        if is(name, UPGRADE) {
            upgrade |= has_token(value, "websocket");
        // > A |Connection| header field that includes the token "Upgrade", treated as an ASCII
        // > case-insensitive value.
        } else if is(name, CONNECTION) {
            connection |= has_token(value, "upgrade");
        } else if is(name, VERSION) {
            version.add(value);
        } else if is(name, KEY) {
            key.add(value);
        }
    }
    if !upgrade {
        return Err(Refusal::Upgrade);
    }
    if !connection {
        return Err(Refusal::Connection);
    }
    // > A |Sec-WebSocket-Version| header field, with a value of 13.
    if version != Single::Value(b"13") {
        return Err(Refusal::Version);
    }
    match key {
        Single::Value(key) => {
            let accept = accept_key(well_formed(key).ok_or(Refusal::KeyInvalid)?);
            Ok(Offer { accept, headers })
        }
        Single::Absent => Err(Refusal::KeyMissing),
        // > The |Sec-WebSocket-Key| header field MUST NOT appear more than once in an HTTP request. (11.3.1)
        Single::Repeated => Err(Refusal::KeyRepeated),
    }
}

/// A request that may be answered with status 101, see [`check_request`].
#[derive(Clone, Debug)]
pub struct Offer<H> {
    accept: [u8; 28],
    headers: H,
}

impl<'h, H: Iterator<Item = (&'h str, &'h [u8])> + Clone> Offer<H> {
    /// The value of `Sec-WebSocket-Accept` for the response.
    pub fn accept(&self) -> &str {
        core::str::from_utf8(&self.accept).unwrap_or_default()
    }

    /// The bytes of [`accept`](Self::accept).
    pub fn accept_bytes(&self) -> [u8; 28] {
        self.accept
    }

    /// The subprotocols of the client, in order of preference. The response may name one of them in
    /// `Sec-WebSocket-Protocol`.
    pub fn protocols(&self) -> impl Iterator<Item = &'h str> + use<'h, H> {
        values(self.headers.clone(), PROTOCOL)
            .flat_map(tokens)
            .filter_map(|token| core::str::from_utf8(token).ok())
    }

    /// The extensions that the client offers: the unparsed values of `Sec-WebSocket-Extensions`, see [`Terms::accept`].
    /// A response without this header declines all of them.
    pub fn extensions(&self) -> impl Iterator<Item = &'h [u8]> + use<'h, H> {
        values(self.headers.clone(), EXTENSIONS)
    }
}

/// Why a request does not open a WebSocket (RFC 6455 section 4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Refusal {
    /// The method is not GET.
    Method,
    /// HTTP/1.0, which has no upgrade.
    HttpVersion,
    /// No `Upgrade: websocket`.
    Upgrade,
    /// No `Connection: upgrade`.
    Connection,
    /// Not exactly one `Sec-WebSocket-Version: 13`.
    Version,
    /// No `Sec-WebSocket-Key`.
    KeyMissing,
    /// More than one `Sec-WebSocket-Key`.
    KeyRepeated,
    /// `Sec-WebSocket-Key` is not 16 bytes in base64.
    KeyInvalid,
}

impl Refusal {
    /// The HTTP status of the response.
    pub const fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::Version => 426,
            _ => 400,
        }
    }

    /// Headers that the response must have because of its status.
    ///
    /// > If this version does not match a version understood by the server, [...] the server MUST send an
    /// > appropriate HTTP error code (such as 426 Upgrade Required) and a |Sec-WebSocket-Version| header field
    /// > indicating the version(s) the server is capable of understanding. (4.2.2)
    pub const fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // RFC 9110 section 15.5.6: a 405 lists the allowed methods.
            Self::Method => &[("Allow", "GET")],
            // RFC 9110 section 15.5.22: a 426 names the protocol; section 7.8: also as a connection option.
            Self::Version => &[
                ("Sec-WebSocket-Version", "13"),
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
            ],
            _ => &[],
        }
    }
}

impl Refusal {
    /// The broken rule in words.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Method => "the method is not GET",
            Self::HttpVersion => "the version of HTTP is below 1.1",
            Self::Upgrade => "the request has no Upgrade: websocket",
            Self::Connection => "the request has no Connection: upgrade",
            Self::Version => "the request has no single Sec-WebSocket-Version: 13",
            Self::KeyMissing => "the request has no Sec-WebSocket-Key",
            Self::KeyRepeated => "the request has more than one Sec-WebSocket-Key",
            Self::KeyInvalid => "Sec-WebSocket-Key is not sixteen bytes in base64",
        }
    }
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.message())
    }
}

impl core::error::Error for Refusal {}

/// The `Sec-WebSocket-Key` of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key([u8; 24]);

impl Key {
    /// > a nonce consisting of a randomly selected 16-byte value that has been base64-encoded [...] The nonce
    /// > MUST be selected randomly for each connection. (4.1)
    pub fn new(random: [u8; 16]) -> Self {
        let mut key = [0; 24];
        let _ = STANDARD.encode(&random, key.as_mut().as_out());
        Self(key)
    }

    /// The value of the header.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Checks as a client whether a response opens the WebSocket, and with which of the `offered` subprotocols (4.1). No
/// extension was offered, so the response must not contain one.
///
/// # Errors
/// The first broken rule, in the order of [`Mismatch`]; the connection must be closed.
pub fn check_response<'h, H>(
    key: &Key,
    offered: &[&str],
    status: u16,
    headers: H,
) -> Result<Option<&'h str>, Mismatch>
where
    H: Iterator<Item = (&'h str, &'h [u8])>,
{
    let check = |value: &[u8], ()| match trim(value) {
        [] => Ok(()),
        _ => Err(Mismatch::Extension),
    };
    respond(key, offered, status, headers, check).map(|(protocol, ())| protocol)
}

/// Like [`check_response`], for a client that [offered](Terms::offer) permessage-deflate. Also returns the agreed
/// terms; `None` if the server declined.
///
/// # Errors
/// As [`check_response`]; see also [`Terms::check`].
pub fn check_response_deflate<'h, H>(
    key: &Key,
    offered: &[&str],
    deflate: &Terms,
    status: u16,
    headers: H,
) -> Result<(Option<&'h str>, Option<Terms>), Mismatch>
where
    H: Iterator<Item = (&'h str, &'h [u8])>,
{
    respond(key, offered, status, headers, |value, agreed| deflate.check_value(value, agreed))
}

/// `check` handles one value of `Sec-WebSocket-Extensions`, given the result for the values before.
fn respond<'h, H, E: Default>(
    key: &Key,
    offered: &[&str],
    status: u16,
    headers: H,
    check: impl Fn(&[u8], E) -> Result<E, Mismatch>,
) -> Result<(Option<&'h str>, E), Mismatch>
where
    H: Iterator<Item = (&'h str, &'h [u8])>,
{
    if status != 101 {
        return Err(Mismatch::Status);
    }
    let (mut upgrade, mut connection, mut extensions) = (false, false, Ok(E::default()));
    let (mut accept, mut protocol) = (Single::Absent, Single::Absent);
    for (name, value) in headers {
        if is(name, UPGRADE) {
            upgrade |= has_token(value, "websocket");
        } else if is(name, CONNECTION) {
            connection |= has_token(value, "upgrade");
        } else if is(name, ACCEPT) {
            accept.add(value);
        } else if is(name, EXTENSIONS) {
            extensions = extensions.and_then(|before| check(value, before));
        } else if is(name, PROTOCOL) {
            protocol.add(value);
        }
    }
    if !upgrade {
        return Err(Mismatch::Upgrade);
    }
    if !connection {
        return Err(Mismatch::Connection);
    }
    if accept != Single::Value(&accept_key(key.as_str())) {
        return Err(Mismatch::Accept);
    }
    // > If the response includes a |Sec-WebSocket-Extensions| header field and this header field indicates
    // > the use of an extension that was not present in the client's handshake [...], the client MUST _Fail
    // > the WebSocket Connection_. (4.1)
    let extensions = extensions?;
    // > If the response includes a |Sec-WebSocket-Protocol| header field and this header field indicates the
    // > use of a subprotocol that was not present in the client's handshake [...], the client MUST _Fail the
    // > WebSocket Connection_. (4.1)
    let protocol = match protocol {
        Single::Absent => None,
        Single::Value(name) => match core::str::from_utf8(name) {
            Ok(name) if offered.contains(&name) => Some(name),
            _ => return Err(Mismatch::Protocol),
        },
        Single::Repeated => return Err(Mismatch::Protocol),
    };
    Ok((protocol, extensions))
}

const UPGRADE: &str = "Upgrade";
const CONNECTION: &str = "Connection";
const VERSION: &str = "Sec-WebSocket-Version";
const KEY: &str = "Sec-WebSocket-Key";
const ACCEPT: &str = "Sec-WebSocket-Accept";
const PROTOCOL: &str = "Sec-WebSocket-Protocol";
const EXTENSIONS: &str = "Sec-WebSocket-Extensions";

/// A header that must occur once.
#[derive(PartialEq, Eq)]
enum Single<'h> {
    Absent,
    Value(&'h [u8]),
    Repeated,
}

impl<'h> Single<'h> {
    fn add(&mut self, value: &'h [u8]) {
        *self = match self {
            Self::Absent => Self::Value(trim(value)),
            _ => Self::Repeated,
        };
    }
}

/// Whether `name` is `expected`, ignoring case.
fn is(name: &str, expected: &str) -> bool {
    eq_ignore_case(name.as_bytes(), expected.as_bytes())
}

fn values<'h, H>(headers: H, name: &'static str) -> impl Iterator<Item = &'h [u8]>
where
    H: Iterator<Item = (&'h str, &'h [u8])>,
{
    headers.filter(move |(n, _)| is(n, name)).map(|(_, value)| value)
}

/// > A |Sec-WebSocket-Key| header field with a base64-encoded [...] value that, when decoded, is 16 bytes in
/// > length. (4.2.1)
///
/// Pad bits that are not zero are accepted: section 4.1 prints such a key as its example, and clients have it built in.
///
/// > In some environments, the alteration is critical and therefore decoders MAY chose to reject an encoding if
/// > the pad bits have not been set to zero. (RFC 4648 section 3.5)
fn well_formed(key: &[u8]) -> Option<&str> {
    // 22 digits hold 16 bytes and four pad bits.
    let digits = key.strip_suffix(b"==")?;
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if digits.len() != 22 || !digits.iter().all(is_digit) {
        return None;
    }
    core::str::from_utf8(key).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    type Headers = Vec<(&'static str, &'static [u8])>;

    /// The request of section 1.3.
    fn request() -> Headers {
        vec![
            ("Host", b"server.example.com"),
            ("Upgrade", b"websocket"),
            ("Connection", b"Upgrade"),
            ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            ("Origin", b"http://example.com"),
            ("Sec-WebSocket-Protocol", b"chat, superchat"),
            ("Sec-WebSocket-Version", b"13"),
        ]
    }

    /// The response of section 1.3.
    fn response() -> Headers {
        vec![
            ("Upgrade", b"websocket"),
            ("Connection", b"Upgrade"),
            ("Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("Sec-WebSocket-Protocol", b"chat"),
        ]
    }

    fn without(mut headers: Headers, name: &str) -> Headers {
        headers.retain(|(n, _)| *n != name);
        headers
    }

    fn with(headers: Headers, name: &'static str, value: &'static [u8]) -> Headers {
        let mut headers = without(headers, name);
        headers.push((name, value));
        headers
    }

    fn twice(mut headers: Headers, name: &str) -> Headers {
        headers.extend(headers.clone().into_iter().filter(|(n, _)| *n == name));
        headers
    }

    fn refused(headers: Headers) -> Option<Refusal> {
        check_request("GET", 1, headers.into_iter()).err()
    }

    fn mismatch(headers: Headers) -> Result<Option<&'static str>, Mismatch> {
        check_response(&Key::new(*b"the sample nonce"), &["chat", "x"], 101, headers.into_iter())
    }

    #[test]
    fn example_of_rfc_6455_is_accepted() {
        let headers = request();
        let offer = check_request("GET", 1, headers.iter().copied()).unwrap();
        assert_eq!(offer.accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(offer.protocols().collect::<Vec<_>>(), ["chat", "superchat"]);
        assert_eq!(offer.extensions().next(), None);
        assert_eq!(Key::new(*b"the sample nonce").as_str(), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(mismatch(response()), Ok(Some("chat")));
    }

    #[test]
    fn lists_case_and_whitespace_are_accepted() {
        let headers: Headers = vec![
            ("UPGRADE", b"h2c , WebSocket"),
            ("upgrade", b"h2c"),
            ("connection", b"keep-alive"),
            ("connection", b"upgrade"),
            ("connection", b"te"),
            ("sec-websocket-key", b" dGhlIHNhbXBsZSBub25jZQ== "),
            ("SEC-WEBSOCKET-VERSION", b"13 "),
            ("sec-websocket-protocol", b"a,,b"),
            ("sec-websocket-protocol", b"c"),
            ("sec-websocket-extensions", b"permessage-deflate; client_max_window_bits"),
        ];
        let offer = check_request("GET", 1, headers.iter().copied()).unwrap();
        assert_eq!(offer.accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(offer.protocols().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(offer.extensions().count(), 1);
    }

    #[test]
    fn upgrade_requires_get_and_http_11() {
        assert_eq!(Refusal::Method.headers(), [("Allow", "GET")]);
        let refused = |method, minor| check_request(method, minor, request().into_iter()).err();
        assert_eq!(refused("POST", 1), Some(Refusal::Method));
        assert_eq!(refused("get", 1), Some(Refusal::Method));
        assert_eq!(refused("GET", 0), Some(Refusal::HttpVersion));
        assert_eq!((Refusal::Method.status(), Refusal::HttpVersion.status()), (405, 400));
    }

    #[test]
    fn upgrade_requires_its_headers() {
        for value in [&b""[..], b"h2c", b"websockets", b"web socket"] {
            assert_eq!(refused(with(request(), "Upgrade", value)), Some(Refusal::Upgrade));
        }
        assert_eq!(refused(without(request(), "Upgrade")), Some(Refusal::Upgrade));
        for value in [&b""[..], b"keep-alive", b"no-upgrade"] {
            assert_eq!(refused(with(request(), "Connection", value)), Some(Refusal::Connection));
        }
        assert_eq!(refused(without(request(), "Connection")), Some(Refusal::Connection));
        assert_eq!((Refusal::Upgrade.status(), Refusal::Connection.status()), (400, 400));
    }

    #[test]
    fn version_must_be_13_once() {
        for value in [&b""[..], b"8", b"14", b"130", b"13, 8", b"013", b"+13"] {
            let headers = with(request(), "Sec-WebSocket-Version", value);
            assert_eq!(refused(headers), Some(Refusal::Version));
        }
        assert_eq!(refused(without(request(), "Sec-WebSocket-Version")), Some(Refusal::Version));
        assert_eq!(refused(twice(request(), "Sec-WebSocket-Version")), Some(Refusal::Version));
        assert_eq!(Refusal::Version.status(), 426);
        assert!(Refusal::Version.headers().contains(&("Sec-WebSocket-Version", "13")));
    }

    #[test]
    fn key_must_be_16_bytes_in_base64_once() {
        for value in [
            &b""[..],
            b"dGhlIHNhbXBsZSBub25jZQ",       // no padding
            b"dGhlIHNhbXBsZSBub25jZQ=",      // half of it
            b"dGhlIHNhbXBsZSBub25jZTE=",     // seventeen bytes
            b"dGhlIHNhbXBsZSBub25jZTEy",     // eighteen bytes
            b"dGhlIHNhbXBsZSBub25j",         // fifteen bytes
            b"dGhlIHNhbXBsZSBub25jZ===",     // too much padding
            b"dGhlIHNhbXBsZSBub2-_ZQ==",     // another alphabet
            b"dGhlIHNhbXBs SBub25jZQ==",     // a space inside
            b"dGhlIHNhbXBsZSBub25jZQ==AAAA", // more characters after the padding
            b"dGhlIHNhbXBs\xffSBub25jZQ==",
        ] {
            let headers = with(request(), "Sec-WebSocket-Key", value);
            assert_eq!(refused(headers), Some(Refusal::KeyInvalid), "{}", value.escape_ascii());
        }
        assert_eq!(refused(without(request(), "Sec-WebSocket-Key")), Some(Refusal::KeyMissing));
        assert_eq!(refused(twice(request(), "Sec-WebSocket-Key")), Some(Refusal::KeyRepeated));
        for refusal in [Refusal::KeyMissing, Refusal::KeyRepeated, Refusal::KeyInvalid] {
            assert_eq!((refusal.status(), refusal.headers()), (400, &[][..]));
        }
    }

    /// The example of section 4.1 is the bytes 1 to 16; its last digit has pad bits that are not zero.
    #[test]
    fn key_with_pad_bits_is_accepted() {
        for key in [&b"AQIDBAUGBwgJCgsMDQ4PEC=="[..], b"dGhlIHNhbXBsZSBub25jZR=="] {
            let headers = with(request(), "Sec-WebSocket-Key", key);
            let offer = check_request("GET", 1, headers.into_iter()).unwrap();
            assert_eq!(offer.accept_bytes(), accept_key(core::str::from_utf8(key).unwrap()));
        }
    }

    #[test]
    fn response_requires_status_and_headers() {
        let key = Key::new(*b"the sample nonce");
        let ok = check_response(&key, &["chat"], 200, response().into_iter());
        assert_eq!(ok, Err(Mismatch::Status));
        assert_eq!(mismatch(without(response(), "Upgrade")), Err(Mismatch::Upgrade));
        assert_eq!(mismatch(with(response(), "Upgrade", b"h2c")), Err(Mismatch::Upgrade));
        assert_eq!(mismatch(without(response(), "Connection")), Err(Mismatch::Connection));
        assert_eq!(mismatch(with(response(), "Connection", b"close")), Err(Mismatch::Connection));
    }

    #[test]
    fn accept_must_match_the_key_once() {
        for value in [&b""[..], b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo", b"S3pPLMBiTxaQ9kYGzzhZRbK+xOo="] {
            let headers = with(response(), "Sec-WebSocket-Accept", value);
            assert_eq!(mismatch(headers), Err(Mismatch::Accept));
        }
        assert_eq!(mismatch(without(response(), "Sec-WebSocket-Accept")), Err(Mismatch::Accept));
        assert_eq!(mismatch(twice(response(), "Sec-WebSocket-Accept")), Err(Mismatch::Accept));
    }

    #[test]
    fn extension_or_protocol_not_offered_is_rejected() {
        let extension = with(response(), "Sec-WebSocket-Extensions", b"permessage-deflate");
        assert_eq!(mismatch(extension), Err(Mismatch::Extension));
        assert_eq!(mismatch(with(response(), "Sec-WebSocket-Extensions", b" ")), Ok(Some("chat")));
        for value in [&b""[..], b"superchat", b"Chat", b"chat, x", b"\xff"] {
            let headers = with(response(), "Sec-WebSocket-Protocol", value);
            assert_eq!(mismatch(headers), Err(Mismatch::Protocol));
        }
        assert_eq!(mismatch(twice(response(), "Sec-WebSocket-Protocol")), Err(Mismatch::Protocol));
        assert_eq!(mismatch(without(response(), "Sec-WebSocket-Protocol")), Ok(None));
    }

    #[test]
    fn deflate_response_must_match_the_offer() {
        let key = Key::new(*b"the sample nonce");
        let deflate = Terms { server_no_context_takeover: true, ..Terms::default() };
        let check = |headers: Headers| {
            check_response_deflate(&key, &["chat"], &deflate, 101, headers.into_iter())
        };
        let answer = |value| with(response(), "Sec-WebSocket-Extensions", value);
        let agreed = check(answer(b"permessage-deflate; server_no_context_takeover"));
        assert_eq!(agreed, Ok((Some("chat"), Some(deflate))));
        assert_eq!(check(response()), Ok((Some("chat"), None)));
        assert_eq!(check(answer(b" ")), Ok((Some("chat"), None)));
        for value in [&b"permessage-deflate"[..], b"foo", b"permessage-deflate;"] {
            assert_eq!(check(answer(value)), Err(Mismatch::Extension));
        }
        let granted = answer(b"permessage-deflate; server_no_context_takeover");
        assert_eq!(check(twice(granted, "Sec-WebSocket-Extensions")), Err(Mismatch::Extension));
    }
}
