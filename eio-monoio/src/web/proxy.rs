//! Who the client is when proxies stand before the server.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use eio_core::http::Headers;

/// Addresses whose word is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trusted {
    /// The first so many bits of the address.
    Network(IpAddr, u8),
    /// Whoever connects to a Unix-domain socket.
    Unix,
}

impl FromStr for Trusted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let wrong = || format!("{text:?} is not an address, a network such as 10.0.0.0/8, or unix");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if bits > most { Err(wrong()) } else { Ok(Self::Network(address, bits)) }
    }
}

impl Trusted {
    fn holds(self, peer: Option<IpAddr>) -> bool {
        match (self, peer) {
            (Self::Unix, None) => true,
            (Self::Network(IpAddr::V4(net), bits), Some(IpAddr::V4(ip))) => {
                // A shift by the whole width is none.
                let differ = u32::from(net) ^ u32::from(ip);
                differ.checked_shr(32 - u32::from(bits)).unwrap_or(0) == 0
            }
            (Self::Network(IpAddr::V6(net), bits), Some(IpAddr::V6(ip))) => {
                let differ = u128::from(net) ^ u128::from(ip);
                differ.checked_shr(128 - u32::from(bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// The header in which proxies say for whom they ask. Only one is read: a proxy that writes the one passes the
/// other on as the client sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedBy {
    /// `X-Forwarded-For`, as nearly all proxies do.
    #[default]
    XForwardedFor,
    /// `Forwarded`, RFC 7239.
    Forwarded,
}

/// The client of a request: the nearest hop that is not trusted. `peer` is the other end of the connection.
pub(crate) fn client(
    peer: Option<SocketAddr>,
    headers: &Headers<'_, '_>,
    trusted: &[Trusted],
    by: ForwardedBy,
) -> Option<SocketAddr> {
    let trusts = |peer: Option<SocketAddr>| {
        let ip = peer.map(|peer| peer.ip().to_canonical());
        trusted.iter().any(|trusted| trusted.holds(ip))
    };
    let name = match by {
        ForwardedBy::XForwardedFor => "x-forwarded-for",
        ForwardedBy::Forwarded => "forwarded",
    };
    let mut client = peer;
    if !trusts(client) {
        return client;
    }
    // Each proxy appends whom it heard it from: the last is what the nearest one knows itself.
    let lines: Vec<&str> = headers.all(name).filter_map(|v| str::from_utf8(v).ok()).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let hop = match by {
            ForwardedBy::XForwardedFor => hop.trim(),
            ForwardedBy::Forwarded => for_parameter(hop),
        };
        // Hidden behind a name (RFC 7239 6.3), or nonsense: whoever said so is as far as it is known.
        let Some(address) = address(hop) else { break };
        client = Some(address);
        if !trusts(client) {
            break;
        }
    }
    client
}

/// The value of `for` in an element of `Forwarded` (RFC 7239 section 4), empty if there is none.
fn for_parameter(element: &str) -> &str {
    let value = element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then_some(value)
    });
    value.unwrap_or_default().trim_matches('"')
}

/// `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]` or `[::1]:5`; a port that is not said is 0.
fn address(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().ok();
    bare.parse().map(|ip: IpAddr| SocketAddr::new(ip, 0)).ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use eio_core::http::{EMPTY, RequestHead};

    use super::*;

    fn seen(peer: &str, trusted: &[&str], by: ForwardedBy, lines: &str) -> String {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut slots = [EMPTY; 8];
        let head = RequestHead::parse(head.as_bytes(), &mut slots).unwrap();
        let trusted: Vec<Trusted> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let client = client(peer.parse().ok(), &head.headers, &trusted, by);
        client.map_or("unix".into(), |client| client.to_string())
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        for (peer, trusted, lines, expected) in [
            ("9.9.9.9:1", &["10.0.0.0/8"][..], "X-Forwarded-For: 1.2.3.4\r\n", "9.9.9.9:1"),
            ("9.9.9.9:1", &[], "X-Forwarded-For: 1.2.3.4\r\n", "9.9.9.9:1"),
            ("10.1.1.1:1", &["10.0.0.0/8"], "X-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4:0"),
            ("10.1.1.1:1", &["10.0.0.0/8"], "X-Forwarded-For: 1.2.3.4:55\r\n", "1.2.3.4:55"),
            ("10.1.1.1:1", &["10.0.0.0/8"], "", "10.1.1.1:1"),
            // What the client claims stands to the left of what the proxy saw.
            ("10.1.1.1:1", &["10.0.0.0/8"], "X-Forwarded-For: 6.6.6.6, 1.2.3.4\r\n", "1.2.3.4:0"),
            (
                "10.1.1.1:1",
                &["10.0.0.0/8"],
                "X-Forwarded-For: 6.6.6.6, 1.2.3.4\r\nX-Forwarded-For: 10.2.2.2\r\n",
                "1.2.3.4:0",
            ),
            ("10.1.1.1:1", &["10.0.0.0/8"], "X-Forwarded-For: 1.2.3.4, junk\r\n", "10.1.1.1:1"),
            ("10.1.1.1:1", &["10.0.0.0/8"], "X-Forwarded-For: 10.3.3.3\r\n", "10.3.3.3:0"),
            ("10.1.1.1:1", &["10.0.0.0/8"], "Forwarded: for=1.2.3.4\r\n", "10.1.1.1:1"),
            ("[::ffff:10.1.1.1]:1", &["10.0.0.0/8"], "X-Forwarded-For: ::5\r\n", "[::5]:0"),
            ("[fd00::1]:1", &["fd00::/8"], "X-Forwarded-For: [::5]:7\r\n", "[::5]:7"),
            ("[fe00::1]:1", &["fd00::/8"], "X-Forwarded-For: [::5]:7\r\n", "[fe00::1]:1"),
            ("127.0.0.1:1", &["127.0.0.1"], "X-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4:0"),
            ("127.0.0.2:1", &["127.0.0.1"], "X-Forwarded-For: 1.2.3.4\r\n", "127.0.0.2:1"),
            ("9.9.9.9:1", &["0.0.0.0/0"], "X-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4:0"),
            ("unix", &["unix"], "X-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4:0"),
            ("unix", &["127.0.0.1"], "X-Forwarded-For: 1.2.3.4\r\n", "unix"),
        ] {
            let by = ForwardedBy::XForwardedFor;
            assert_eq!(seen(peer, trusted, by, lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn the_standard_header_is_read_when_it_is_the_one() {
        for (value, expected) in [
            ("for=1.2.3.4", "1.2.3.4:0"),
            ("for=6.6.6.6, For=\"[2001:db8::1]:4711\";proto=https", "[2001:db8::1]:4711"),
            ("proto=https; for=1.2.3.4;by=10.0.0.1", "1.2.3.4:0"),
            ("for=6.6.6.6, for=unknown", "10.1.1.1:1"),
            ("for=6.6.6.6, by=10.0.0.1", "10.1.1.1:1"),
        ] {
            let lines = format!("Forwarded: {value}\r\nX-Forwarded-For: 7.7.7.7\r\n");
            let by = ForwardedBy::Forwarded;
            assert_eq!(seen("10.1.1.1:1", &["10.0.0.0/8"], by, &lines), expected, "{value}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/33", "::/129", "a/8", "10.0.0.0/", "10.0.0.0/-1", "localhost"] {
            assert!(text.parse::<Trusted>().is_err(), "{text:?}");
        }
    }
}
