//! [`Peer`]: the address of a client, in half the memory of a `SocketAddr`.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

/// An address, if it is known. One of IPv6 has memory of its own.
pub(super) enum Peer {
    Unknown,
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
}

impl Peer {
    pub(super) fn new(address: Option<SocketAddr>) -> Self {
        match address {
            None => Self::Unknown,
            Some(SocketAddr::V4(address)) => Self::V4(address),
            Some(SocketAddr::V6(address)) => Self::V6(Box::new(address)),
        }
    }

    pub(super) fn get(&self) -> Option<SocketAddr> {
        match self {
            Self::Unknown => None,
            Self::V4(address) => Some((*address).into()),
            Self::V6(address) => Some((**address).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_whole() {
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 7, 3);
        for address in [None, Some("192.0.2.1:443".parse().unwrap()), Some(scoped.into())] {
            assert_eq!(Peer::new(address).get(), address);
        }
        assert!(size_of::<Peer>() <= size_of::<Option<SocketAddr>>() / 2);
    }
}
