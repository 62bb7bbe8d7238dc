//! Version 1: a line of text (spec 2.1).

use core::fmt::{self, Write};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

use super::{Endpoints, Error, Header, MAX_V1, MIN, Step, Tlvs, Version};
use crate::buffer::{Overflow, Sink};

pub(super) const START: &[u8] = b"PROXY ";

/// Parses bytes that begin like [`START`].
pub(super) fn parse(bytes: &[u8], max: usize) -> Result<Step<'_>, Error> {
    let max = max.min(MAX_V1);
    let line = bytes.get(..max).unwrap_or(bytes);
    let Some(end) = line.iter().position(|&byte| byte == b'\n') else {
        return match line.len() {
            len if len >= max => Err(Error::BadLine),
            // A line that ends here would lack its line feed only.
            len if line.ends_with(b"\r") => Ok(Step::Need(1.max(MIN.saturating_sub(len)))),
            len => Ok(Step::Need(2.min(max - len).max(MIN.saturating_sub(len)))),
        };
    };
    let text = line.get(START.len()..end).and_then(|text| text.strip_suffix(b"\r"));
    let text = text.and_then(|text| str::from_utf8(text).ok()).ok_or(Error::BadLine)?;
    let endpoints = endpoints(text).ok_or(Error::BadLine)?;
    let header = Header { version: Version::V1, endpoints, tlvs: Tlvs::default() };
    Ok(Step::Done(header, end + 1))
}

/// The endpoints in a line without `PROXY ` and its end.
fn endpoints(text: &str) -> Option<Endpoints<'static>> {
    let mut parts = text.split(' ');
    match parts.next()? {
        // "the receiver must ignore anything presented before the CRLF is found."
        "UNKNOWN" => Some(Endpoints::Unknown),
        "TCP4" => tcp::<Ipv4Addr>(parts),
        "TCP6" => tcp::<Ipv6Addr>(parts),
        _ => None,
    }
}

fn tcp<'t, A: FromStr + Into<IpAddr>>(
    mut parts: impl Iterator<Item = &'t str>,
) -> Option<Endpoints<'static>> {
    let [source, destination] = [parts.next()?, parts.next()?].map(|text| text.parse::<A>().ok());
    let (source, destination) = (source?.into(), destination?.into());
    let [from, to] = [parts.next()?, parts.next()?].map(port);
    parts.next().is_none().then_some(())?;
    Some(Endpoints::Tcp {
        source: SocketAddr::new(source, from?),
        destination: SocketAddr::new(destination, to?),
    })
}

/// "heading zeroes are not permitted"; no sign either.
fn port(text: &str) -> Option<u16> {
    let is_canonical = text == "0" || text.starts_with(|first| matches!(first, '1'..='9'));
    is_canonical.then(|| text.parse().ok())?
}

pub(super) fn encode<K: Sink>(endpoints: Endpoints<'_>, out: &mut K) -> Result<(), Overflow> {
    let mut line = Line { bytes: [0; MAX_V1], len: 0 };
    let written = match endpoints {
        Endpoints::Tcp { source, destination } => {
            let family = if source.is_ipv4() { 4 } else { 6 };
            // An IPv6 address with its scope would not be parsed.
            let (from, to) = (source.ip(), destination.ip());
            let (source, destination) = (source.port(), destination.port());
            write!(line, "PROXY TCP{family} {from} {to} {source} {destination}\r\n")
        }
        _ => line.write_str("PROXY UNKNOWN\r\n"),
    };
    written.map_err(|fmt::Error| Overflow)?;
    out.put(line.bytes.get(..line.len).unwrap_or_default())
}

/// The line that is being written.
struct Line {
    bytes: [u8; MAX_V1],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..).and_then(|rest| rest.get_mut(..text.len()));
        room.ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}
