//! The address of the client, for servers that are reached through proxies.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use eio_core::http::Headers;

/// A peer whose forwarding header is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trusted {
    /// An address and the length of its network prefix in bits.
    Network(IpAddr, u8),
    /// Every peer that connects to a Unix-domain socket.
    Unix,
}

impl FromStr for Trusted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let invalid =
            || format!("{text:?} is not an address, a network such as 10.0.0.0/8, or unix");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        let bits: u8 = bits.map_or(Ok(max), str::parse).map_err(|_| invalid())?;
        // Peers are compared as IPv4 where they are: so is a network below ::ffff:0:0/96.
        match (address, address.to_canonical()) {
            _ if bits > max => Err(invalid()),
            (IpAddr::V6(_), ip @ IpAddr::V4(_)) if bits >= 96 => Ok(Self::Network(ip, bits - 96)),
            _ => Ok(Self::Network(address, bits)),
        }
    }
}

/// Whether one of `networks` contains the address. `None` for a Unix-domain socket.
pub(crate) fn contains(networks: &[Trusted], peer: Option<SocketAddr>) -> bool {
    let ip = peer.map(|peer| peer.ip().to_canonical());
    networks.iter().any(|network| network.contains(ip))
}

impl Trusted {
    /// `peer` is `None` for a Unix-domain socket.
    fn contains(self, peer: Option<IpAddr>) -> bool {
        match (self, peer) {
            (Self::Unix, None) => true,
            (Self::Network(IpAddr::V4(net), bits), Some(IpAddr::V4(ip))) => {
                // With a prefix of 0 bits every address matches; a shift by the full width is not defined.
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

/// The header from which a server behind trusted proxies reads the client's address: see
/// [`Config::trusted_proxies`](crate::Config::trusted_proxies).
///
/// **Default:** [`XForwardedFor`](Self::XForwardedFor). The other header is ignored: a proxy that writes one of them
/// passes the other on as the client sent it.
///
/// ```
/// use eio_monoio::{Config, ForwardedBy};
///
/// let config = Config::new().trusted_proxies(["10.0.0.0/8"]).forwarded_by(ForwardedBy::Forwarded);
/// assert!(config.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedBy {
    /// `X-Forwarded-For`, which nearly all proxies write.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Whether connections begin with the header of the PROXY protocol: see
/// [`Config::proxy_protocol`](crate::Config::proxy_protocol).
///
/// **Default:** [`Off`](Self::Off). There is no value for connections with and without it: a client could omit the header,
/// or write one of its own.
///
/// ```
/// use eio_monoio::{Config, ProxyProtocol};
///
/// let config = Config::new().proxy_protocol(ProxyProtocol::Required);
/// assert!(config.check().is_err(), "no proxy is trusted");
/// assert!(config.trusted_proxies(["10.0.0.0/8"]).check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyProtocol {
    /// Connections begin with HTTP or TLS.
    #[default]
    Off,
    /// Every connection begins with a header of version 1 or 2.
    Required,
}

/// The client of a request: the nearest hop that is not trusted. `peer` is the remote address of the connection.
pub(crate) fn client(
    peer: Option<SocketAddr>,
    headers: &Headers<'_, '_>,
    trusted: &[Trusted],
    by: ForwardedBy,
) -> Option<SocketAddr> {
    let trusts = |peer| contains(trusted, peer);
    let name = match by {
        ForwardedBy::XForwardedFor => "x-forwarded-for",
        ForwardedBy::Forwarded => "forwarded",
    };
    let mut client = peer;
    if !trusts(client) {
        return client;
    }
    // Each proxy appends the address of its own peer: the nearest proxy wrote the last element.
    let lines: Vec<&str> = headers.all(name).filter_map(|v| str::from_utf8(v).ok()).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let hop = match by {
            ForwardedBy::XForwardedFor => hop.trim(),
            ForwardedBy::Forwarded => for_parameter(hop),
        };
        // An obfuscated identifier (RFC 7239 section 6.3) or not an address: the proxy that wrote it is the last known
        // hop.
        let Some(address) = address(hop) else { break };
        client = Some(address);
        if !trusts(client) {
            break;
        }
    }
    client
}

/// The value of `for` in an element of `Forwarded` (RFC 7239 section 4), empty if it is absent.
fn for_parameter(element: &str) -> &str {
    let value = element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then_some(value)
    });
    value.unwrap_or_default().trim_matches('"')
}

/// Parses `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]` or `[::1]:5`; the port is 0 if absent.
fn address(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().ok();
    let address: Option<SocketAddr> =
        bare.parse().map(|ip: IpAddr| SocketAddr::new(ip, 0)).ok().or_else(with_port);
    // A proxy that listens on [::] may write an IPv4 address as ::ffff:1.2.3.4.
    address.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
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
            // The client's own claim is to the left of the address that the proxy saw.
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
            ("10.0.0.7:1", &["::ffff:10.0.0.0/104"], "X-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4:0"),
            ("10.0.0.7:1", &["10.0.0.7"], "X-Forwarded-For: ::ffff:1.2.3.4\r\n", "1.2.3.4:0"),
            ("unix", &["unix"], "X-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4:0"),
            ("unix", &["127.0.0.1"], "X-Forwarded-For: 1.2.3.4\r\n", "unix"),
        ] {
            let by = ForwardedBy::XForwardedFor;
            assert_eq!(seen(peer, trusted, by, lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn only_the_configured_header_is_read() {
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
    fn an_invalid_network_is_refused() {
        for text in ["", "10.0.0.0/33", "::/129", "a/8", "10.0.0.0/", "10.0.0.0/-1", "localhost"] {
            assert!(text.parse::<Trusted>().is_err(), "{text:?}");
        }
    }
}
