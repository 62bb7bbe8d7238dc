//! Fields of fixed order in a message: a reader, and functions that write.

use core::net::{IpAddr, SocketAddr};

use crate::buffer::{Overflow, Sink};
use crate::sid::Tag;
use crate::text::utf8;

/// Takes fields from the front of a message. `None` means that the message ends too early or the field is illegal.
#[derive(Clone, Copy)]
pub(super) struct Reader<'m> {
    pub(super) rest: &'m [u8],
}

impl<'m> Reader<'m> {
    pub(super) fn new(message: &'m [u8]) -> Self {
        Self { rest: message }
    }

    pub(super) fn bytes(&mut self, n: usize) -> Option<&'m [u8]> {
        let (field, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(field)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A tag in a field of [`Tag::MAX`] bytes, filled with zeros.
    pub(super) fn tag(&mut self) -> Option<Tag> {
        let field: [u8; Tag::MAX] = self.array()?;
        let len = field.iter().position(|&byte| byte == 0).unwrap_or(Tag::MAX);
        if field[len..].iter().any(|&byte| byte != 0) {
            return None;
        }
        Tag::new(utf8(&field[..len])?).ok()
    }

    /// An address as a family (0: none, 4, 6), the bytes of the IP address, and the port.
    pub(super) fn address(&mut self) -> Option<Option<SocketAddr>> {
        let ip = match self.u8()? {
            0 => return Some(None),
            4 => IpAddr::from(self.array::<4>()?),
            6 => IpAddr::from(self.array::<16>()?),
            _ => return None,
        };
        Some(Some(SocketAddr::new(ip, self.u16()?)))
    }
}

/// The longest address: a family, an IPv6 address and a port.
pub(super) const ADDRESS_MAX: usize = 1 + 16 + 2;

pub(super) fn tag_field(tag: &Tag) -> [u8; Tag::MAX] {
    let mut field = [0; Tag::MAX];
    field[..tag.as_str().len()].copy_from_slice(tag.as_str().as_bytes());
    field
}

/// The scope and the flow label of an IPv6 address have no meaning at another host and are not written.
pub(super) fn put_address(
    address: Option<SocketAddr>,
    out: &mut impl Sink,
) -> Result<(), Overflow> {
    let Some(address) = address else { return out.put(&[0]) };
    let port = address.port().to_be_bytes();
    match address.ip() {
        IpAddr::V4(ip) => out.put_all([&[4], &ip.octets(), &port]),
        IpAddr::V6(ip) => out.put_all([&[6], &ip.octets(), &port]),
    }
}
