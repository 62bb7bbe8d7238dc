//! [`Fields`]: the header fields that every request of a client has.

use base64_simd::STANDARD;
use eio_core::http::{Url, WriteError, header_line};

use crate::client::error::ConnectError;
use crate::client::options::Options;
use crate::message::OutBuf;

/// The header fields of the options, checked.
pub(crate) struct Fields {
    /// The value of Host.
    pub(crate) host: String,
    /// Header lines of every request.
    pub(crate) lines: Vec<u8>,
    /// The application's own cookies: they share a line with the server's.
    pub(crate) cookie: String,
    /// The subprotocols that opening handshakes of WebSockets offer.
    pub(crate) protocols: Vec<String>,
}

/// Fields that the client sets.
const RESERVED: [&str; 9] = [
    "connection",
    "upgrade",
    "content-length",
    "content-type",
    "transfer-encoding",
    "expect",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
];

impl Fields {
    /// # Errors
    /// [`ConnectError::Option`]
    pub(crate) fn new(options: &Options, url: &Url<'_>) -> Result<Self, ConnectError> {
        let mut fields = Self {
            host: url.authority.into(),
            lines: Vec::new(),
            cookie: String::new(),
            protocols: Vec::new(),
        };
        let mut lines = OutBuf::default();
        let mut cookies = Vec::new();
        let named = |name: &str| options.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let mut defaults = vec![("Accept", "*/*".to_owned())];
        if !named("user-agent") {
            let agent = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
            defaults.push(("User-Agent", agent.into()));
        }
        if !named("accept-encoding") {
            // Without the field any coding is acceptable (RFC 9110 section 12.5.3), and the client decodes none.
            defaults.push(("Accept-Encoding", "identity".into()));
        }
        if let Some(userinfo) = url.userinfo
            && !named("authorization")
        {
            defaults.push(("Authorization", basic(userinfo)));
        }
        let defaults = defaults.iter().map(|(name, value)| (*name, value.as_str()));
        let own = options.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in defaults.chain(own) {
            let refused = |why: &str| ConnectError::Option("header", format!("{name}{why}"));
            let illegal = |_: WriteError| refused(": illegal");
            // Checked as the line that it becomes, or becomes a part of.
            let mut line = OutBuf::default();
            header_line(&mut line, name, &[value]).map_err(illegal)?;
            match name.to_ascii_lowercase().as_str() {
                reserved if RESERVED.contains(&reserved) => {
                    return Err(refused(" is set by the client"));
                }
                "host" if !is_authority(value) => return Err(refused(": not host or host:port")),
                "host" => fields.host = value.into(),
                "cookie" => cookies.push(value),
                "sec-websocket-protocol" => {
                    for protocol in value.split(',').map(str::trim) {
                        if protocol.is_empty() || !protocol.bytes().all(is_token_char) {
                            return Err(refused(": not a list of tokens"));
                        }
                        fields.protocols.push(protocol.into());
                    }
                }
                _ => lines.0.extend_from_slice(&line.0),
            }
        }
        fields.lines = lines.0;
        fields.cookie = cookies.join("; ");
        Ok(fields)
    }
}

fn is_authority(text: &str) -> bool {
    let url = format!("http://{text}/");
    Url::parse(&url).is_ok_and(|url| url.authority == text && url.userinfo.is_none())
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 7617: the value of Authorization for `user:password`, which a URL holds percent-encoded.
pub(crate) fn basic(userinfo: &str) -> String {
    let mut plain = Vec::with_capacity(userinfo.len());
    let mut rest = userinfo.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let hex = |digit: &u8| char::from(*digit).to_digit(16);
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => {
                    plain.push((high * 16 + low) as u8);
                    rest = after;
                }
                _ => plain.push(*first),
            },
            _ => plain.push(*first),
        }
    }
    if !plain.contains(&b':') {
        plain.push(b':');
    }
    format!("Basic {}", STANDARD.encode_to_string(&plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(url: &str, headers: &[(&str, &str)]) -> Result<Fields, ConnectError> {
        let mut options = Options::new(url);
        let owned = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
        options.headers = headers.iter().map(owned).collect();
        Fields::new(&options, &Url::parse(url).unwrap())
    }

    fn lines(url: &str, headers: &[(&str, &str)]) -> String {
        String::from_utf8(fields(url, headers).unwrap().lines).unwrap()
    }

    #[test]
    fn userinfo_becomes_basic_authorization() {
        assert!(lines("http://u:p%40ss@a", &[]).contains("Authorization: Basic dTpwQHNz\r\n"));
        assert!(lines("http://u@a", &[]).contains("Authorization: Basic dTo=\r\n"));
        assert!(!lines("http://a", &[]).contains("Authorization"));
        let own = lines("http://u@a", &[("authorization", "Bearer x")]);
        assert!(own.contains("Bearer x") && !own.contains("Basic"));
    }

    #[test]
    fn accept_encoding_is_identity_unless_the_application_sets_it() {
        assert!(lines("http://a", &[]).contains("Accept-Encoding: identity\r\n"));
        assert!(!lines("http://a", &[("accept-encoding", "br")]).contains("identity"));
    }

    #[test]
    fn host_replaces_that_of_the_url() {
        assert_eq!(fields("http://a:81", &[]).unwrap().host, "a:81");
        for host in ["b.example", "b:8080", "[::1]:80"] {
            assert_eq!(fields("http://a", &[("host", host)]).unwrap().host, host);
        }
        for host in ["", "b c", "u@b", "b/c", "b:x", "b\r\nc: d"] {
            assert!(fields("http://a", &[("Host", host)]).is_err(), "{host:?}");
        }
    }

    #[test]
    fn subprotocols_are_a_list_of_tokens() {
        let protocols = |value| fields("http://a", &[("Sec-WebSocket-Protocol", value)]);
        assert_eq!(protocols("v1.chat, v2").unwrap().protocols, ["v1.chat", "v2"]);
        assert!(!lines("http://a", &[("Sec-WebSocket-Protocol", "v1")]).contains("Protocol"));
        for value in ["", "a,", "a b", "a/b", "a\r\nb: c"] {
            assert!(protocols(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn no_field_injects_a_line() {
        for (name, value) in [
            ("a", "b\r\nc: d"),
            ("a\r\nb", "c"),
            ("", "x"),
            ("cookie", "a=b\r\nc: d"),
            ("content-length", "5"),
            ("Sec-WebSocket-Key", "x"),
        ] {
            assert!(fields("http://a", &[(name, value)]).is_err(), "{name}: {value}");
        }
    }
}
