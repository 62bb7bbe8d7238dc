//! [`Transport`]: polling or WebSocket, and sets of them.

/// The transport of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Transport {
    /// HTTP long-polling: GET to receive, POST to send.
    Polling,
    /// WebSocket, RFC 6455.
    WebSocket,
}

impl Transport {
    /// The name in the `transport` query parameter and in `upgrades`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
        }
    }

    /// The transport with exactly this name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "polling" => Some(Self::Polling),
            "websocket" => Some(Self::WebSocket),
            _ => None,
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Polling => 1,
            Self::WebSocket => 2,
        }
    }
}

impl core::fmt::Display for Transport {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of transports.
///
/// ```
/// use eio_core::transport::{Transport, TransportSet};
///
/// let set = TransportSet::EMPTY.with(Transport::WebSocket);
/// assert!(set.contains(Transport::WebSocket) && !set.contains(Transport::Polling));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TransportSet(u8);

impl TransportSet {
    /// No transport.
    pub const EMPTY: Self = Self(0);
    /// Polling and WebSocket.
    pub const ALL: Self = Self::EMPTY.with(Transport::Polling).with(Transport::WebSocket);

    /// This set with `transport`.
    #[must_use]
    pub const fn with(self, transport: Transport) -> Self {
        Self(self.0 | transport.bit())
    }

    /// This set without `transport`.
    #[must_use]
    pub const fn without(self, transport: Transport) -> Self {
        Self(self.0 & !transport.bit())
    }

    /// Whether `transport` is in the set.
    pub const fn contains(self, transport: Transport) -> bool {
        self.0 & transport.bit() != 0
    }
    /// Whether the set is empty.
    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, polling first.
    pub fn iter(self) -> impl Iterator<Item = Transport> {
        [Transport::Polling, Transport::WebSocket].into_iter().filter(move |t| self.contains(*t))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn set_contains_added_and_not_removed_transports() {
        let both = [Transport::Polling, Transport::WebSocket];
        assert!(TransportSet::EMPTY.is_empty());
        assert_eq!(TransportSet::EMPTY.iter().next(), None);
        assert!(TransportSet::ALL.iter().eq(both));
        for (one, other) in [(both[0], both[1]), (both[1], both[0])] {
            let set = TransportSet::EMPTY.with(one);
            assert!(!set.is_empty() && set.contains(one) && !set.contains(other));
            assert_eq!(set.with(one), set);
            assert_eq!(set.with(other), TransportSet::ALL);
            assert_eq!(TransportSet::ALL.without(other), set);
            assert_eq!(set.without(other), set);
            assert!(set.without(one).is_empty());
            assert_eq!(set.iter().collect::<Vec<_>>(), [one]);
        }
    }

    #[test]
    fn name_matches_exactly() {
        for transport in TransportSet::ALL.iter() {
            assert_eq!(Transport::from_name(transport.name()), Some(transport));
        }
        for name in ["", "Polling", "polling ", "websockets", "webtransport"] {
            assert_eq!(Transport::from_name(name), None, "{name:?}");
        }
    }
}
