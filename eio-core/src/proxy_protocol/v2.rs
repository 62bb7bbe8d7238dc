//! Version 2: a binary head, addresses and TLVs (spec 2.2).

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Endpoints, Error, Header, MIN, Step, TLV_CRC32C, Tlvs, Version, checksum};
use crate::buffer::{Overflow, Sink};

pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, length.
pub(super) const HEAD: usize = 16;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPEC: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;

/// Parses bytes that begin like [`SIGNATURE`].
pub(super) fn parse(bytes: &[u8], max: usize) -> Result<Step<'_>, Error> {
    let Some((head, _)) = bytes.split_first_chunk::<HEAD>() else {
        // Shorter than the signature, it may still be the other version.
        let least = if bytes.is_empty() { MIN } else { HEAD };
        return Ok(Step::Need(least - bytes.len()));
    };
    let [.., command, family, high, low] = *head;
    if !matches!(command, LOCAL | PROXY) || family >> 4 > 3 || family & 15 > 2 {
        return Err(Error::BadHead);
    }
    let len = HEAD + usize::from(u16::from_be_bytes([high, low]));
    if len > max {
        return Err(Error::TooLarge);
    }
    let Some(header) = bytes.get(..len) else { return Ok(Step::Need(len - bytes.len())) };
    let content = header.get(HEAD..).unwrap_or_default();
    let (endpoints, rest) = match (command, family) {
        (LOCAL, _) => (Endpoints::Local, None),
        (_, TCP4) => addresses(content, tcp4)?,
        (_, TCP6) => addresses(content, tcp6)?,
        (_, UNIX_STREAM) => addresses(content, unix)?,
        // "should use the real connection endpoints", and the content has no known form.
        _ => (Endpoints::Unknown, None),
    };
    let tlvs = Tlvs::new(rest.unwrap_or_default()).ok_or(Error::BadTlv)?;
    check(header, tlvs)?;
    Ok(Step::Done(Header { version: Version::V2, endpoints, tlvs }, len))
}

type Parsed<'a> = (Endpoints<'a>, Option<&'a [u8]>);

/// Splits addresses of `N` bytes from the TLVs.
fn addresses<'a, const N: usize>(
    content: &'a [u8],
    parse: impl FnOnce(&'a [u8; N]) -> Endpoints<'a>,
) -> Result<Parsed<'a>, Error> {
    let (addresses, rest) = content.split_first_chunk::<N>().ok_or(Error::TooShort)?;
    Ok((parse(addresses), Some(rest)))
}

fn tcp4(bytes: &[u8; 12]) -> Endpoints<'_> {
    let [a, b, c, d, e, f, g, h, ports @ ..] = *bytes;
    let [from, to] = split_ports(ports);
    Endpoints::Tcp {
        source: SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), from),
        destination: SocketAddr::new(Ipv4Addr::new(e, f, g, h).into(), to),
    }
}

fn tcp6(bytes: &[u8; 36]) -> Endpoints<'_> {
    let (mut source, mut destination, mut ports) = ([0; 16], [0; 16], [0; 4]);
    let addresses = source.iter_mut().chain(&mut destination).chain(&mut ports);
    addresses.zip(bytes).for_each(|(to, from)| *to = *from);
    let [from, to] = split_ports(ports);
    Endpoints::Tcp {
        source: SocketAddr::new(Ipv6Addr::from(source).into(), from),
        destination: SocketAddr::new(Ipv6Addr::from(destination).into(), to),
    }
}

fn split_ports([a, b, c, d]: [u8; 4]) -> [u16; 2] {
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

fn unix(bytes: &[u8; 216]) -> Endpoints<'_> {
    match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(source), Some(destination)) => Endpoints::Unix { source, destination },
        _ => Endpoints::Unknown,
    }
}

/// Checks the checksum, if there is one: "it must be ignored by the receiver" does not apply to it.
fn check(header: &[u8], tlvs: Tlvs<'_>) -> Result<(), Error> {
    let mut rest = tlvs;
    while let Some((kind, value)) = rest.next() {
        if kind != TLV_CRC32C {
            continue;
        }
        let value = <[u8; 4]>::try_from(value).map_err(|_| Error::BadChecksum)?;
        let at = header.len() - rest.as_bytes().len() - value.len();
        if checksum::of_header(header, at) != u32::from_be_bytes(value) {
            return Err(Error::BadChecksum);
        }
    }
    Ok(())
}

pub(super) fn encode<K: Sink>(
    endpoints: Endpoints<'_>,
    tlvs: &[u8],
    out: &mut K,
) -> Result<(), Overflow> {
    let (mut from, mut to) = ([0; 16], [0; 16]);
    let mut ports = [0; 4];
    let (command, family, addresses): (_, _, [&[u8]; 2]) = match endpoints {
        Endpoints::Local => (LOCAL, UNSPEC, [&[], &[]]),
        Endpoints::Unknown => (PROXY, UNSPEC, [&[], &[]]),
        Endpoints::Tcp { source, destination } => {
            let [a, b] = source.port().to_be_bytes();
            let [c, d] = destination.port().to_be_bytes();
            ports = [a, b, c, d];
            let len = octets(source, &mut from).min(octets(destination, &mut to));
            let family = if len == 4 { TCP4 } else { TCP6 };
            (PROXY, family, [from.get(..len), to.get(..len)].map(Option::unwrap_or_default))
        }
        Endpoints::Unix { source, destination } => (PROXY, UNIX_STREAM, [source, destination]),
    };
    let ports = if matches!(endpoints, Endpoints::Tcp { .. }) { &ports[..] } else { &[] };
    // The content of other headers has no known form: their TLVs are not sent.
    let tlvs = if family == UNSPEC { &[] } else { tlvs };
    let [source, destination] = addresses;
    let len = source.len() + destination.len() + ports.len() + tlvs.len();
    let len = u16::try_from(len).map_err(|_| Overflow)?.to_be_bytes();
    out.put_all([SIGNATURE, &[command, family], &len, source, destination, ports, tlvs])
}

/// Writes the octets of the address at the start of `into`, and returns their number.
fn octets(address: SocketAddr, into: &mut [u8; 16]) -> usize {
    match address {
        SocketAddr::V4(address) => {
            let octets = address.ip().octets();
            into.iter_mut().zip(octets).for_each(|(to, octet)| *to = octet);
            octets.len()
        }
        SocketAddr::V6(address) => {
            *into = address.ip().octets();
            into.len()
        }
    }
}
