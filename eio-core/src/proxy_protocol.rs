//! The header of the PROXY protocol, versions 1 and 2: a TCP balancer states the client's address before the first byte of
//! the connection.
//!
//! The specification is HAProxy's `doc/proxy-protocol.txt`; "spec" is that text. A header is believed only if it comes from
//! the address of a proxy, which the caller decides.

mod checksum;
mod v1;
mod v2;

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use crate::buffer::{Overflow, Sink};

/// The longest header of version 1, with its line end (spec 2.1).
pub const MAX_V1: usize = 107;

/// The longest header of version 2 that has no TLVs: two addresses of Unix-domain sockets.
pub const MAX_V2_WITHOUT_TLVS: usize = v2::HEAD + 216;

/// The shortest header: `PROXY UNKNOWN\r\n`.
const MIN: usize = 15;

/// A header.
///
/// ```
/// use eio_core::proxy_protocol::{Endpoints, Header, Step, Version};
///
/// let received = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nGET / HTTP/1.1\r\n";
/// let Step::Done(header, len) = Header::parse(received, 4096)? else { panic!("complete") };
/// assert_eq!(header.version, Version::V1);
/// assert_eq!(header.source(), "192.0.2.1:56324".parse().ok());
/// assert_eq!(&received[len..], b"GET / HTTP/1.1\r\n");
/// # Ok::<(), eio_core::proxy_protocol::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The version of the protocol.
    pub version: Version,
    /// The addresses of the client and of the server, as the proxy saw them.
    pub endpoints: Endpoints<'a>,
    /// Further fields, of version 2 only.
    pub tlvs: Tlvs<'a>,
}

/// The version of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary, with room for TLVs.
    V2,
}

/// The two ends of the connection between the client and the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoints<'a> {
    /// The proxy connects for itself, for example to check the server's health (`LOCAL`). In version 1 this is
    /// [`Unknown`](Self::Unknown).
    Local,
    /// Of a kind that the proxy does not name (`UNKNOWN`, `UNSPEC`), or not a stream. The addresses of the connection
    /// itself are all that is known.
    Unknown,
    /// TCP over IPv4 or IPv6.
    Tcp {
        /// The client.
        source: SocketAddr,
        /// The address that the client has connected to.
        destination: SocketAddr,
    },
    /// A Unix-domain socket, with its paths as they are in `sun_path`. Version 2 only.
    Unix {
        /// The client.
        source: &'a [u8; 108],
        /// The path that the client has connected to.
        destination: &'a [u8; 108],
    },
}

/// The result of [`Header::parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// At least this many bytes are missing.
    Need(usize),
    /// A header and its length.
    Done(Header<'a>, usize),
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The first bytes are those of another protocol.
    Missing,
    /// The line of version 1 is not `PROXY`, a family, two addresses and two ports, within 107 bytes.
    BadLine,
    /// A version, command, family or transport that version 2 does not define.
    BadHead,
    /// The announced length has no room for the addresses.
    TooShort,
    /// The announced length exceeds the limit.
    TooLarge,
    /// A TLV ends after the header.
    BadTlv,
    /// The checksum is not that of the header.
    BadChecksum,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no header of the PROXY protocol",
            Self::BadLine => "a malformed line of the PROXY protocol",
            Self::BadHead => "an undefined version, command or family of the PROXY protocol",
            Self::TooShort => "a header of the PROXY protocol without room for its addresses",
            Self::TooLarge => "a header of the PROXY protocol above the limit",
            Self::BadTlv => "a malformed TLV in the header of the PROXY protocol",
            Self::BadChecksum => "a wrong checksum in the header of the PROXY protocol",
        })
    }
}

impl core::error::Error for Error {}

impl<'a> Header<'a> {
    /// Parses the header at the start of `bytes`, of at most `max` bytes.
    ///
    /// # Errors
    /// [`Error`], as soon as the received bytes show it.
    pub fn parse(bytes: &'a [u8], max: usize) -> Result<Step<'a>, Error> {
        if starts_alike(bytes, v2::SIGNATURE) {
            return v2::parse(bytes, max);
        }
        if starts_alike(bytes, v1::START) {
            return v1::parse(bytes, max);
        }
        Err(Error::Missing)
    }

    /// The address of the client; `None` if the header does not state one of TCP.
    pub fn source(&self) -> Option<SocketAddr> {
        match self.endpoints {
            Endpoints::Tcp { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Writes the header. Version 1 has no TLVs and says `UNKNOWN` for all endpoints but those of TCP. Of two addresses of
    /// different families, the IPv4 address is written as an IPv6 one.
    ///
    /// # Errors
    /// [`Overflow`], also if the TLVs are longer than version 2 can announce.
    pub fn encode<K: Sink>(&self, out: &mut K) -> Result<(), Overflow> {
        let endpoints = match self.endpoints {
            Endpoints::Tcp { source, destination } if source.is_ipv4() != destination.is_ipv4() => {
                Endpoints::Tcp { source: mapped(source), destination: mapped(destination) }
            }
            endpoints => endpoints,
        };
        match self.version {
            Version::V1 => v1::encode(endpoints, out),
            Version::V2 => v2::encode(endpoints, self.tlvs.bytes, out),
        }
    }
}

/// Whether one of the two begins with the other.
fn starts_alike(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(a, b)| a == b)
}

/// An IPv4 address as an IPv6 one (RFC 4291 section 2.5.5.2).
fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// The type of a TLV with the checksum of the header, CRC-32C (spec 2.2.3).
pub const TLV_CRC32C: u8 = 0x03;

/// Type-length-value fields: an iterator over types and values. Those of a parsed header are well-formed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tlvs<'a> {
    bytes: &'a [u8],
}

impl<'a> Tlvs<'a> {
    /// The fields in `bytes`, to be sent; `None` if a field does not end with them.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = Self { bytes };
        while rest.next().is_some() {}
        rest.bytes.is_empty().then_some(Self { bytes })
    }

    /// The fields as they are sent.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.bytes.split_first_chunk::<3>()?;
        let [kind, high, low] = *head;
        let len = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at_checked(len)?;
        self.bytes = rest;
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests;
