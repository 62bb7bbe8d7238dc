//! [`classify`]: decides what a request to the Engine.IO path asks for, or why it is rejected ([`Reject`]).
//!
//! The query of a client becomes enums and a [`Sid`] here, once; nothing is looked up by its raw text.

use nom::Parser;
use nom::character::complete::u32 as decimal;
use nom::combinator::all_consuming;

use crate::bytes::find_short;
use crate::sid::{InvalidSid, Sid};
use crate::text::utf8;
use crate::transport::{Transport, TransportSet};

/// A valid request. The caller still has to check that its session exists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Request {
    /// The action it asks for.
    pub intent: Intent,
    /// `b64=1`: the client cannot receive binary frames.
    pub base64: bool,
    /// `j=N`: the response has to be wrapped as JSONP with this index. Never set with WebSocket.
    pub jsonp: Option<u32>,
}

/// The action that a request asks for.
// Exhaustive, because a server must handle each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Intent {
    /// To open a session.
    Handshake(Transport),
    /// To receive packets of this session, as soon as there are any.
    Poll(Sid),
    /// To send packets to this session.
    Push(Sid),
    /// To upgrade this session to the WebSocket that the request opens.
    Upgrade(Sid),
    /// A CORS preflight. It does not affect a session.
    Preflight,
}

/// Why a request is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Reject {
    /// Code 0: `transport` is missing, unknown or disabled.
    UnknownTransport,
    /// Code 1: there is no such session.
    UnknownSid,
    /// Code 2: the method of a handshake is not GET.
    BadHandshakeMethod,
    /// Code 3: the transport does not match the request, or the session.
    BadRequest,
    /// Code 3: `EIO` is present and not 4, in a request with a `sid`.
    ProtocolMismatch,
    /// Code 4: the application rejects it.
    Forbidden,
    /// Code 5: `EIO` is not 4.
    UnsupportedVersion,
    /// No code: a method other than GET and POST with a `sid`, or other than GET with a WebSocket.
    MethodNotAllowed,
}

/// Classifies a request to the Engine.IO path. `websocket` says whether it asks for an upgrade to WebSocket.
///
/// The order of the checks is that of engine.io: transport, then session, method and upgrade, then version. As there, a
/// request with a `sid` need not repeat `EIO`; another version there is [`Reject::ProtocolMismatch`].
///
/// ```
/// use eio_core::request::{Intent, Reject, classify};
/// use eio_core::transport::{Transport, TransportSet};
///
/// let wanted = classify("GET", "EIO=4&transport=polling&t=abc", false, TransportSet::ALL)?;
/// assert_eq!(wanted.intent, Intent::Handshake(Transport::Polling));
///
/// let refused = classify("GET", "EIO=4&transport=polling&sid=a/b", false, TransportSet::ALL).unwrap_err();
/// assert_eq!(refused, Reject::UnknownSid);
/// assert_eq!(refused.body(), r#"{"code":1,"message":"Session ID unknown"}"#);
/// # Ok::<(), Reject>(())
/// ```
///
/// # Errors
/// [`Reject`], except [`Reject::Forbidden`].
pub fn classify(
    method: &str,
    query: &str,
    websocket: bool,
    transports: TransportSet,
) -> Result<Request, Reject> {
    // docs/protocol.md 2.9: OPTIONS needs no sid and does not affect the session.
    if method == "OPTIONS" {
        return Ok(Request { intent: Intent::Preflight, base64: false, jsonp: None });
    }
    let query = Query::parse(query);
    let transport = query.transport().filter(|t| transports.contains(*t));
    let transport = transport.ok_or(Reject::UnknownTransport)?;
    // docs/protocol.md 2.2: WebSocket without an upgrade cannot work, and polling with an upgrade must be rejected
    // before the 101.
    let fits = (transport == Transport::WebSocket) == websocket;
    let intent = match (query.sid(), method) {
        (Some(Err(InvalidSid)), _) => return Err(Reject::UnknownSid),
        (Some(Ok(_)), "GET" | "POST") if !fits => return Err(Reject::BadRequest),
        (Some(Ok(_)), "GET" | "POST") if query.is_other_version() => {
            return Err(Reject::ProtocolMismatch);
        }
        (Some(Ok(sid)), "GET") if websocket => Intent::Upgrade(sid),
        (Some(Ok(sid)), "GET") => Intent::Poll(sid),
        (Some(Ok(sid)), "POST") if !websocket => Intent::Push(sid),
        (Some(Ok(_)), _) => return Err(Reject::MethodNotAllowed),
        (None, "GET") if !fits => return Err(Reject::BadRequest),
        (None, "GET") if !query.is_v4() => return Err(Reject::UnsupportedVersion),
        (None, "GET") => Intent::Handshake(transport),
        (None, _) => return Err(Reject::BadHandshakeMethod),
    };
    let jsonp = match query.jsonp() {
        Some(index) if !websocket => Some(index.ok_or(Reject::BadRequest)?),
        _ => None,
    };
    Ok(Request { intent, base64: query.base64(), jsonp })
}

/// The query parameters of Engine.IO. Other parameters are ignored, order is irrelevant, and the last of two equal keys
/// counts (docs/protocol.md 2.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'b> {
    // Values as sent, still percent-encoded; a key without `=` has an empty value.
    eio: &'b str,
    transport: &'b str,
    sid: &'b str,
    b64: &'b str,
    j: Option<&'b str>,
}

impl<'b> Query<'b> {
    /// Parses `query`, the part of the target after `?`.
    pub fn parse(query: &'b str) -> Self {
        /// The query of nearly all requests begins so: one comparison takes the place of half of the search.
        const COMMON: &str = "EIO=4&transport=polling&";
        let mut found = Self::default();
        let mut rest = query;
        if let Some(others) = query.strip_prefix(COMMON) {
            (found.eio, found.transport, rest) = ("4", "polling", others);
        }
        while !rest.is_empty() {
            let end = find_short(b'&', rest.as_bytes()).unwrap_or(rest.len());
            let pair = rest.get(..end).unwrap_or_default();
            rest = rest.get(end + 1..).unwrap_or_default();
            // By the first characters, without a search for `=`.
            if let Some(value) = value_of(pair, "sid") {
                found.sid = value;
            } else if let Some(value) = value_of(pair, "transport") {
                found.transport = value;
            } else if let Some(value) = value_of(pair, "EIO") {
                found.eio = value;
            } else if let Some(value) = value_of(pair, "b64") {
                found.b64 = value;
            } else if let Some(value) = value_of(pair, "j") {
                found.j = Some(value);
            }
        }
        found
    }

    /// Whether `EIO` is 4.
    pub fn is_v4(&self) -> bool {
        decodes_to(self.eio, "4")
    }

    /// Whether `EIO` is present and not 4.
    pub fn is_other_version(&self) -> bool {
        !self.eio.is_empty() && !self.is_v4()
    }

    /// `transport`, if it is present and known.
    pub fn transport(&self) -> Option<Transport> {
        TransportSet::ALL.iter().find(|transport| decodes_to(self.transport, transport.name()))
    }

    /// `sid`, if it is present. An empty value counts as absent (docs/protocol.md 2.1).
    pub fn sid(&self) -> Option<Result<Sid, InvalidSid>> {
        if self.sid.is_empty() {
            return None;
        }
        // `%` is not legal in a `Sid`: one that is legal as sent has nothing to decode.
        let as_sent = Sid::new(self.sid);
        if as_sent.is_ok() || !self.sid.contains('%') {
            return Some(as_sent);
        }
        // One byte more than a `Sid` holds, so that a longer value is detected.
        let mut text = [0; Sid::MAX + 1];
        let mut len = 0;
        for (slot, byte) in text.iter_mut().zip(decoded(self.sid)) {
            *slot = byte;
            len += 1;
        }
        let text = text.get(..len).and_then(utf8);
        Some(text.ok_or(InvalidSid).and_then(Sid::new))
    }

    /// Whether `b64` is present and not empty.
    pub fn base64(&self) -> bool {
        !self.b64.is_empty()
    }

    /// `j`, if it is present; `Some(None)` if it is not a number.
    pub fn jsonp(&self) -> Option<Option<u32>> {
        let index = self.j?;
        Some(all_consuming(decimal::<_, ()>).parse(index).ok().map(|(_, index)| index))
    }
}

/// The value of `pair`, if its key is `key`.
fn value_of<'b>(pair: &'b str, key: &str) -> Option<&'b str> {
    let rest = pair.strip_prefix(key)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('=') }
}

/// Decodes percent-encoding. An invalid encoding is kept as it is.
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let mut text = text.as_bytes();
    core::iter::from_fn(move || {
        let (byte, rest) = match text {
            [b'%', high, low, rest @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, rest),
                _ => (b'%', text.get(1..)?),
            },
            [byte, rest @ ..] => (*byte, rest),
            [] => return None,
        };
        text = rest;
        Some(byte)
    })
}

fn decodes_to(text: &str, plain: &str) -> bool {
    text == plain || (text.contains('%') && decoded(text).eq(plain.bytes()))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

impl Reject {
    /// The HTTP status of the response.
    pub const fn status(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            Self::MethodNotAllowed => 405,
            _ => 400,
        }
    }

    /// The `code` in the body of the response.
    pub const fn code(self) -> Option<u8> {
        match self {
            Self::UnknownTransport => Some(0),
            Self::UnknownSid => Some(1),
            Self::BadHandshakeMethod => Some(2),
            Self::BadRequest | Self::ProtocolMismatch => Some(3),
            Self::Forbidden => Some(4),
            Self::UnsupportedVersion => Some(5),
            Self::MethodNotAllowed => None,
        }
    }

    /// The `code` in the body of a server's rejection, if there is one. engineioxide writes it as a string.
    ///
    /// ```
    /// # use eio_core::request::Reject;
    /// assert_eq!(Reject::code_in(br#"{"code":5,"message":"Unsupported protocol version"}"#), Some(5));
    /// assert_eq!(Reject::code_in(b"<h1>Bad gateway</h1>"), None);
    /// ```
    pub fn code_in(body: &[u8]) -> Option<u8> {
        const KEY: &[u8] = br#""code":"#;
        let at = body.windows(KEY.len()).position(|window| window == KEY)?;
        let value = body.get(at + KEY.len()..)?.trim_ascii_start();
        let mut digits = value.strip_prefix(b"\"").unwrap_or(value).iter().copied();
        let first = digits.next().filter(u8::is_ascii_digit)?;
        // Version 4 has no code of two digits.
        digits.next().is_none_or(|next| !next.is_ascii_digit()).then_some(first - b'0')
    }

    /// The message of engine.io, which clients compare with.
    pub const fn message(self) -> &'static str {
        match self {
            Self::UnknownTransport => "Transport unknown",
            Self::UnknownSid => "Session ID unknown",
            Self::BadHandshakeMethod => "Bad handshake method",
            Self::BadRequest | Self::ProtocolMismatch => "Bad request",
            Self::Forbidden => "Forbidden",
            Self::UnsupportedVersion => "Unsupported protocol version",
            Self::MethodNotAllowed => "Method not allowed",
        }
    }

    /// The body of the response: `application/json`, or empty.
    pub const fn body(self) -> &'static str {
        match self {
            Self::UnknownTransport => r#"{"code":0,"message":"Transport unknown"}"#,
            Self::UnknownSid => r#"{"code":1,"message":"Session ID unknown"}"#,
            Self::BadHandshakeMethod => r#"{"code":2,"message":"Bad handshake method"}"#,
            Self::BadRequest | Self::ProtocolMismatch => r#"{"code":3,"message":"Bad request"}"#,
            Self::Forbidden => r#"{"code":4,"message":"Forbidden"}"#,
            Self::UnsupportedVersion => r#"{"code":5,"message":"Unsupported protocol version"}"#,
            Self::MethodNotAllowed => "",
        }
    }

    /// Header lines that the response must have. "The origin server MUST generate an Allow header field in a 405
    /// response" (RFC 9110 section 15.5.6).
    pub const fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::MethodNotAllowed => &[("Allow", "GET, POST, OPTIONS")],
            _ => &[],
        }
    }
}

impl core::fmt::Display for Reject {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.message())
    }
}

impl core::error::Error for Reject {}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "lv_VI97HAXpY6yYWAAAC";

    fn sid() -> Sid {
        Sid::new(SID).unwrap()
    }

    fn intent(method: &str, query: &str, websocket: bool) -> Result<Intent, Reject> {
        classify(method, query, websocket, TransportSet::ALL).map(|wanted| wanted.intent)
    }

    /// docs/protocol.md 2.2, row by row.
    #[test]
    fn every_rejection_has_its_code() {
        let sid = |query: &str| std::format!("{query}&sid={SID}");
        for (method, query, websocket, reject) in [
            // EIO missing or not 4
            ("GET", "transport=polling", false, Reject::UnsupportedVersion),
            ("GET", "EIO=&transport=polling", false, Reject::UnsupportedVersion),
            ("GET", "EIO=3&transport=polling", false, Reject::UnsupportedVersion),
            ("GET", "EIO=abc&transport=polling", false, Reject::UnsupportedVersion),
            ("GET", "EIO=44&transport=polling", false, Reject::UnsupportedVersion),
            ("GET", "EIO=%344&transport=polling", false, Reject::UnsupportedVersion),
            ("GET", "transport=websocket", true, Reject::UnsupportedVersion),
            ("GET", "EIO=3&transport=websocket", true, Reject::UnsupportedVersion),
            // transport missing
            ("GET", "EIO=4", false, Reject::UnknownTransport),
            ("GET", "EIO=4", true, Reject::UnknownTransport),
            ("GET", "", false, Reject::UnknownTransport),
            ("GET", "EIO=4&transport", false, Reject::UnknownTransport),
            ("GET", "EIO=4&transport=", false, Reject::UnknownTransport),
            // unknown transport
            ("GET", "EIO=4&transport=constructor", false, Reject::UnknownTransport),
            ("GET", "EIO=4&transport=__proto__", true, Reject::UnknownTransport),
            ("GET", "EIO=4&transport=webtransport", false, Reject::UnknownTransport),
            ("GET", "EIO=4&transport=POLLING", false, Reject::UnknownTransport),
            ("POST", "EIO=4&transport=abc", false, Reject::UnknownTransport),
            ("GET", &sid("EIO=4&transport=abc"), false, Reject::UnknownTransport),
            // transport=websocket without an upgrade
            ("GET", "EIO=4&transport=websocket", false, Reject::BadRequest),
            ("GET", "EIO=3&transport=websocket", false, Reject::BadRequest),
            ("GET", &sid("EIO=4&transport=websocket"), false, Reject::BadRequest),
            ("POST", &sid("EIO=4&transport=websocket"), false, Reject::BadRequest),
            // transport=polling with one
            ("GET", "EIO=4&transport=polling", true, Reject::BadRequest),
            ("GET", &sid("EIO=4&transport=polling"), true, Reject::BadRequest),
            // another version within a session
            ("GET", &sid("EIO=3&transport=polling"), false, Reject::ProtocolMismatch),
            ("POST", &sid("EIO=3&transport=polling"), false, Reject::ProtocolMismatch),
            ("GET", &sid("EIO=3&transport=websocket"), true, Reject::ProtocolMismatch),
            // handshake with another method
            ("POST", "EIO=4&transport=polling", false, Reject::BadHandshakeMethod),
            ("PUT", "EIO=4&transport=polling", false, Reject::BadHandshakeMethod),
            ("HEAD", "EIO=4&transport=polling", false, Reject::BadHandshakeMethod),
            ("get", "EIO=4&transport=polling", false, Reject::BadHandshakeMethod),
            ("POST", "EIO=4&transport=websocket", true, Reject::BadHandshakeMethod),
            ("POST", "EIO=3&transport=polling", false, Reject::BadHandshakeMethod),
            // unknown sid, as far as it shows without a table of sessions
            ("GET", "EIO=4&transport=polling&sid=a%20b", false, Reject::UnknownSid),
            ("POST", "EIO=4&transport=polling&sid=a+b", false, Reject::UnknownSid),
            ("GET", "EIO=4&transport=websocket&sid=\"", true, Reject::UnknownSid),
            ("GET", "EIO=4&transport=polling&sid=a%0d%0ab", false, Reject::UnknownSid),
            // other methods with a sid
            ("PUT", &sid("EIO=4&transport=polling"), false, Reject::MethodNotAllowed),
            ("DELETE", &sid("EIO=4&transport=polling"), false, Reject::MethodNotAllowed),
            ("HEAD", &sid("EIO=4&transport=polling"), false, Reject::MethodNotAllowed),
            ("POST", &sid("EIO=4&transport=websocket"), true, Reject::MethodNotAllowed),
            // JSONP index that is not a number
            ("GET", "EIO=4&transport=polling&j=", false, Reject::BadRequest),
            ("GET", "EIO=4&transport=polling&j=1);alert(1", false, Reject::BadRequest),
            ("GET", "EIO=4&transport=polling&j=4294967296", false, Reject::BadRequest),
            ("GET", "EIO=4&transport=polling&j=-1", false, Reject::BadRequest),
        ] {
            assert_eq!(
                intent(method, query, websocket),
                Err(reject),
                "{method} {query} {websocket}"
            );
        }
    }

    #[test]
    fn only_a_405_has_an_allow_header() {
        use Reject::*;
        for reject in [
            UnknownTransport,
            UnknownSid,
            BadHandshakeMethod,
            BadRequest,
            ProtocolMismatch,
            Forbidden,
            UnsupportedVersion,
            MethodNotAllowed,
        ] {
            assert_eq!(reject.status() == 405, reject.headers().iter().any(|(n, _)| *n == "Allow"));
        }
    }

    #[test]
    fn every_valid_request_has_its_intent() {
        for (method, query, websocket, wanted) in [
            ("GET", "EIO=4&transport=polling", false, Intent::Handshake(Transport::Polling)),
            ("GET", "EIO=4&transport=websocket", true, Intent::Handshake(Transport::WebSocket)),
            ("GET", "EIO=4&transport=polling&sid=", false, Intent::Handshake(Transport::Polling)),
            ("GET", "EIO=4&transport=polling&sid", false, Intent::Handshake(Transport::Polling)),
            ("GET", "EIO=4&transport=polling&sid=lv_VI97HAXpY6yYWAAAC", false, Intent::Poll(sid())),
            (
                "POST",
                "EIO=4&transport=polling&sid=lv_VI97HAXpY6yYWAAAC",
                false,
                Intent::Push(sid()),
            ),
            (
                "GET",
                "EIO=4&transport=websocket&sid=lv_VI97HAXpY6yYWAAAC",
                true,
                Intent::Upgrade(sid()),
            ),
            ("GET", "transport=polling&sid=lv_VI97HAXpY6yYWAAAC", false, Intent::Poll(sid())),
            ("OPTIONS", "", false, Intent::Preflight),
            (
                "OPTIONS",
                "EIO=4&transport=polling&sid=lv_VI97HAXpY6yYWAAAC",
                false,
                Intent::Preflight,
            ),
        ] {
            assert_eq!(intent(method, query, websocket), Ok(wanted), "{method} {query}");
        }
    }

    #[test]
    fn disabled_transport_is_unknown() {
        for (query, websocket, off) in [
            ("EIO=4&transport=polling", false, Transport::Polling),
            ("EIO=4&transport=websocket", true, Transport::WebSocket),
            ("EIO=4&transport=websocket&sid=a", true, Transport::WebSocket),
        ] {
            let on = TransportSet::ALL.without(off);
            assert_eq!(classify("GET", query, websocket, on), Err(Reject::UnknownTransport));
        }
    }

    #[test]
    fn query_is_parsed_like_engine_io() {
        for query in [
            "EIO=%34&transport=polling",
            "EIO=4&transport=%70olling",
            "transport=polling&t=x&EIO=4&b64",
            "&&EIO=4&&transport=polling&",
            "EIO=3&transport=x&EIO=4&transport=polling",
            "sid=abc&EIO=4&transport=polling&sid=",
            "EIO=4&transport=polling&eio=3&%=&=&==&a=b=c",
        ] {
            let handshake = Ok(Intent::Handshake(Transport::Polling));
            assert_eq!(intent("GET", query, false), handshake, "{query}");
        }
        for query in ["EIO=4&EIO=3&transport=polling", "EIO=4&transport=polling&EIO"] {
            assert_eq!(intent("GET", query, false), Err(Reject::UnsupportedVersion), "{query}");
        }
        for query in ["sid=%61b", "sid=x&sid=ab", "sid=ab&sidx=c"] {
            let query = std::format!("transport=polling&{query}");
            assert_eq!(intent("GET", &query, false), Ok(Intent::Poll(Sid::new("ab").unwrap())));
        }
    }

    #[test]
    fn sid_is_never_truncated() {
        let longest = "a".repeat(Sid::MAX);
        let query = std::format!("sid={longest}");
        assert_eq!(Query::parse(&query).sid(), Some(Ok(Sid::new(&longest).unwrap())));
        let query = std::format!("sid={}", "%61".repeat(Sid::MAX));
        assert_eq!(Query::parse(&query).sid(), Some(Ok(Sid::new(&longest).unwrap())));
        for more in ["a", "%61", "%", "&"] {
            let sid = Query::parse(&std::format!("sid={longest}{more}aa")).sid();
            assert_eq!(sid.unwrap().is_ok(), more == "&", "{more}");
        }
        for bad in ["%", "%4", "%zz", "%4g", "%ff", "%00"] {
            assert_eq!(
                Query::parse(&std::format!("sid={bad}")).sid(),
                Some(Err(InvalidSid)),
                "{bad}"
            );
        }
    }

    #[test]
    fn flags_are_parsed_with_the_intent() {
        let flags = |query: &str, websocket| {
            let wanted = classify("GET", query, websocket, TransportSet::ALL).unwrap();
            (wanted.base64, wanted.jsonp)
        };
        assert_eq!(flags("EIO=4&transport=polling", false), (false, None));
        assert_eq!(flags("EIO=4&transport=polling&b64=1&j=12", false), (true, Some(12)));
        assert_eq!(flags("EIO=4&transport=polling&b64=&j=0", false), (false, Some(0)));
        assert_eq!(flags("EIO=4&transport=websocket&b64=1&j=x", true), (true, None));
    }

    #[test]
    fn code_in_finds_only_codes() {
        for code in 0..=5 {
            let body = std::format!(r#"{{"code":{code},"message":"x"}}"#);
            assert_eq!(Reject::code_in(body.as_bytes()), Some(code));
            let text = std::format!(r#"{{"code": "{code}","message":"x"}}"#);
            assert_eq!(Reject::code_in(text.as_bytes()), Some(code));
        }
        for none in ["", "{}", r#"{"code":}"#, r#"{"code":"#, r#"{"code":12}"#, r#"{"code":-1}"#] {
            assert_eq!(Reject::code_in(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn bodies_contain_code_and_message() {
        for reject in [
            Reject::UnknownTransport,
            Reject::UnknownSid,
            Reject::BadHandshakeMethod,
            Reject::BadRequest,
            Reject::ProtocolMismatch,
            Reject::Forbidden,
            Reject::UnsupportedVersion,
        ] {
            let code = reject.code().unwrap();
            let message = reject.message();
            let body = std::format!(r#"{{"code":{code},"message":"{message}"}}"#);
            assert_eq!(reject.body(), body);
            assert_eq!(reject.status(), if reject == Reject::Forbidden { 403 } else { 400 });
        }
        let none = Reject::MethodNotAllowed;
        assert_eq!((none.status(), none.code(), none.body()), (405, None, ""));
    }
}
