//! The state machines of a session: [`ServerSession`] and [`ClientSession`].
//!
//! A session only decides. The driver reports events ([`Packet`](crate::packet::Packet)s, lost connections, the time)
//! and asks for the next action. A session knows packets, but neither bytes nor sockets, and it stores no message:
//! received messages pass through borrowed, and messages to send stay in the driver's queue until the session says
//! which lane takes the next one.
//!
//! Packets travel over a [`Lane`]: the GET by which a polling client receives, the POST by which it sends, or the
//! WebSocket. A session has at most one of each at a time. Only the session decides which of them carries messages, so
//! that every message is sent exactly once and in order, also during an upgrade.
//!
//! Methods come in four families: getters; `handle_*` and changes of lanes (inputs from the network and the clock);
//! commands (from the application); `poll_*` (outputs for the driver). After calls of the second and third family,
//! poll in this order:
//!
//! 1. `poll_transmit` on **every** attached lane until it returns `None`: a packet on one lane often makes packets due
//!    on another. It can end the session, but not revive it.
//! 2. `poll_event` until it returns `None`.
//! 3. `poll_timeout`, and set the timer to it.
//!
//! [`server`] and [`client`] have the transition tables.

use core::fmt;

mod body;
pub mod client;
mod close;
mod events;
mod heartbeat;
pub mod server;
mod upgrade;

pub use client::ClientSession;
pub use close::CloseReason;
pub use heartbeat::MAX_EXTENSIONS;
pub use server::{ServerSession, Transmit};
pub use upgrade::UpgradeFailure;

/// A path that packets take between the two ends.
// Exhaustive, as are `Event` and `Transmit`: a driver must handle each of them, so a new one must not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Lane {
    /// A polling GET: packets from the server, in its response.
    Get,
    /// A polling POST: packets from the client, in its body.
    Post,
    /// A WebSocket: packets both ways.
    WebSocket,
}

/// The deadlines of a server, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Timing {
    /// From the handshake, and from each pong, to the next ping. The open packet announces it.
    pub ping_interval_ms: u32,
    /// From a ping to the end of the session if no pong arrives. The open packet announces it.
    pub ping_timeout_ms: u32,
    /// From the connection of a WebSocket to the end of an upgrade to it.
    pub upgrade_timeout_ms: u32,
    /// From [`ServerSession::close`] to the end of the session, even if messages are still queued.
    pub close_timeout_ms: u32,
}

impl Default for Timing {
    /// 25 s, 20 s, 10 s and 30 s, the defaults of engine.io (JavaScript).
    fn default() -> Self {
        Self {
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            upgrade_timeout_ms: 10_000,
            close_timeout_ms: 30_000,
        }
    }
}

/// An event for the application, besides messages. From `poll_event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Event {
    /// The WebSocket is the transport from now on.
    Upgraded,
    /// An upgrade failed. The session continues over polling.
    UpgradeFailed(UpgradeFailure),
    /// The session ended. Reported exactly once, as the last event.
    Closed(CloseReason),
}

/// A rule that the peer or the driver broke. Each variant says how it affects the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Violation {
    /// A second GET while one is held. The session ends; the first GET still has to be answered.
    OverlappingGet,
    /// A second POST while one is read. The session ends.
    OverlappingPost,
    /// A polling request for a session whose transport is WebSocket. The session is not affected.
    TransportMismatch,
    /// A second WebSocket for a session that has one. The session and the first WebSocket are not affected.
    AlreadyUpgrading,
    /// The session ended, possibly with an earlier packet of the same body.
    Ended,
    /// A ping from a client on a lane that carries the session. The session ends.
    WrongDirection,
    /// A packet other than the next one of an upgrade. The upgrade fails, the session continues.
    UnexpectedPacket,
    /// The lane is not attached, or no packet can arrive on it. The session is not affected.
    NotAttached,
    /// A packet other than the open packet where a client expects that. The session ends.
    NotOpened,
}

impl Violation {
    /// The status of the HTTP response to the request that broke the rule (docs/protocol.md 2.2, 2.3.9, 2.4.4).
    pub const fn status(self) -> u16 {
        400
    }

    /// The `code` in the JSON body of that response (docs/protocol.md 2.2); `None` if the body is empty.
    pub const fn reject_code(self) -> Option<u8> {
        match self {
            // "Session ID unknown"
            Self::Ended => Some(1),
            // "Bad request"
            Self::TransportMismatch | Self::AlreadyUpgrading => Some(3),
            _ => None,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OverlappingGet => "a GET is already held for this session",
            Self::OverlappingPost => "a POST is already being read for this session",
            Self::TransportMismatch => "the transport of the session is WebSocket",
            Self::AlreadyUpgrading => "the session already has a WebSocket",
            Self::Ended => "the session has ended",
            Self::WrongDirection => "a client must not send a ping",
            Self::UnexpectedPacket => "not the next packet of an upgrade",
            Self::NotAttached => "no packet can arrive on this lane",
            Self::NotOpened => "the first packet is not an open packet",
        })
    }
}

impl core::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_have_the_codes_of_engine_io() {
        assert_eq!((Violation::Ended.status(), Violation::Ended.reject_code()), (400, Some(1)));
        assert_eq!(Violation::TransportMismatch.reject_code(), Some(3));
        assert_eq!(Violation::AlreadyUpgrading.reject_code(), Some(3));
        assert_eq!(Violation::OverlappingGet.reject_code(), None);
        assert_eq!(Violation::OverlappingPost.reject_code(), None);
    }

    #[test]
    fn default_times_are_those_of_engine_io() {
        let timing = Timing::default();
        assert_eq!((timing.ping_interval_ms, timing.ping_timeout_ms), (25_000, 20_000));
        assert_eq!((timing.upgrade_timeout_ms, timing.close_timeout_ms), (10_000, 30_000));
        // A client ends an upgrade no later than the server, and waits no less for the end of a session.
        let client = client::ClientTiming::default();
        assert_eq!(client.open_timeout_ms, 20_000);
        assert!(client.upgrade_timeout_ms <= timing.upgrade_timeout_ms);
        assert!(client.close_timeout_ms >= timing.close_timeout_ms);
    }

    #[test]
    fn sessions_take_at_most_128_bytes() {
        assert!(size_of::<ServerSession>() <= 128, "{}", size_of::<ServerSession>());
        assert!(size_of::<ClientSession>() <= 128, "{}", size_of::<ClientSession>());
    }
}
