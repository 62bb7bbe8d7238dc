//! What may happen next in a session: [`ServerSession`] and [`ClientSession`].
//!
//! A session decides and nothing else. It is told what came ([`Packet`](crate::packet::Packet)s, lost
//! connections, the time) and asked what to do; it knows packets, but neither bytes nor sockets, and it
//! holds no message: those pass through borrowed on the way in, and wait in the driver's queue on the way
//! out, where the session only says "the next one goes here, now".
//!
//! What carries packets is a [`Lane`]: the GET a polling client receives by, the POST it sends by, or the
//! WebSocket. A session has at most one of each at a time; which of them carry messages is the session's
//! decision, made in one place, so that over an upgrade every message goes exactly once and in order.
//!
//! Methods come in four families, in this order: getters; `handle_*` and what happens to lanes (from the
//! network and the clock); commands (from the application); `poll_*` (what the driver is to do). After
//! calls of the second and third family, poll in this order:
//!
//! 1. `poll_transmit` on **every** attached lane until it says `None`: a packet on one lane often makes
//!    words for another. It can end the session, never revive one.
//! 2. `poll_event` until it says `None`.
//! 3. `poll_timeout`, and arm the timer with it.
//!
//! Numbers such as 2.4.4 in the source are sections of the project's notes on the protocol.

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

/// What carries packets between the two ends.
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

/// The deadlines a server sets, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Timing {
    /// From the handshake, and from each pong, to the next ping. Announced in the open packet.
    pub ping_interval_ms: u32,
    /// From a ping to the end of the session, without a pong. Announced in the open packet.
    pub ping_timeout_ms: u32,
    /// From the connection of a WebSocket to the end of the attempt to upgrade to it.
    pub upgrade_timeout_ms: u32,
    /// From [`ServerSession::close`] to the end, whatever is still queued.
    pub close_timeout_ms: u32,
}

impl Default for Timing {
    /// 25 s, 20 s, 10 s and 30 s: what engine.io (JavaScript) uses, so that clients see the usual figures.
    fn default() -> Self {
        Self {
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            upgrade_timeout_ms: 10_000,
            close_timeout_ms: 30_000,
        }
    }
}

/// What the application should hear of, besides messages. From `poll_event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Event {
    /// From now on the WebSocket carries the session.
    Upgraded,
    /// The session goes on over polling.
    UpgradeFailed(UpgradeFailure),
    /// The session has ended. Comes exactly once, and last.
    Closed(CloseReason),
}

/// A rule broken, by the peer or by whoever drives the session. What it did to the session stands with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Violation {
    /// A second GET while one is held. The session ends; the first GET is still to be answered.
    OverlappingGet,
    /// A second POST while one is read. The session ends.
    OverlappingPost,
    /// A polling request for a session that a WebSocket carries. The session is unharmed.
    TransportMismatch,
    /// A second WebSocket for a session that has one. The session and the first are unharmed.
    AlreadyUpgrading,
    /// The session has ended, or ended with an earlier packet of the same body.
    Ended,
    /// A ping from a client on a lane that carries the session. The session ends.
    WrongDirection,
    /// Not the packet that is next in an upgrade. The upgrade is abandoned, the session unharmed.
    UnexpectedPacket,
    /// The lane is not one this session has, or not one a packet can come on. The session is unharmed.
    NotAttached,
    /// Something else than the open packet where a client expects that. The session ends.
    NotOpened,
}

impl Violation {
    /// The status of the HTTP response to the request that did it (protocol 2.2, 2.3.9, 2.4.4).
    pub const fn status(self) -> u16 {
        400
    }

    /// The `code` in the JSON body of that response (protocol 2.2); `None` if the body is empty.
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
            Self::TransportMismatch => "the session is carried by a WebSocket",
            Self::AlreadyUpgrading => "the session already has a WebSocket",
            Self::Ended => "the session has ended",
            Self::WrongDirection => "a client does not ping",
            Self::UnexpectedPacket => "not the next packet of an upgrade",
            Self::NotAttached => "no packet can come on this lane",
            Self::NotOpened => "the first packet is not an open packet",
        })
    }
}

impl core::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_for_an_ended_or_upgraded_session_gets_the_code_of_the_reference() {
        assert_eq!((Violation::Ended.status(), Violation::Ended.reject_code()), (400, Some(1)));
        assert_eq!(Violation::TransportMismatch.reject_code(), Some(3));
        assert_eq!(Violation::AlreadyUpgrading.reject_code(), Some(3));
        assert_eq!(Violation::OverlappingGet.reject_code(), None);
        assert_eq!(Violation::OverlappingPost.reject_code(), None);
    }

    #[test]
    fn the_usual_times_are_those_of_the_reference_server() {
        let timing = Timing::default();
        assert_eq!((timing.ping_interval_ms, timing.ping_timeout_ms), (25_000, 20_000));
        assert_eq!((timing.upgrade_timeout_ms, timing.close_timeout_ms), (10_000, 30_000));
        // A client gives up an upgrade no later than the server, and waits no shorter for the end.
        let client = client::ClientTiming::default();
        assert_eq!(client.open_timeout_ms, 20_000);
        assert!(client.upgrade_timeout_ms <= timing.upgrade_timeout_ms);
        assert!(client.close_timeout_ms >= timing.close_timeout_ms);
    }

    #[test]
    fn a_session_costs_a_server_no_more_than_this() {
        assert!(size_of::<ServerSession>() <= 128, "{}", size_of::<ServerSession>());
        assert!(size_of::<ClientSession>() <= 128, "{}", size_of::<ClientSession>());
    }
}
