//! The WebSocket of a session, from both ends: probing, current, or leaving.
//!
//! ```text
//! server:  Detached ─► Waiting ─2probe─► Probed ─5─► Current
//!             ▲            └───────┬────────┘           │
//!             └──── Leaving ◄──────┴── or it failed ◄───┘ or the session ended
//!
//! client:  Unused ─► Wanted ─► Dialing ─► Probing ─3probe─► Pausing ─5─► Current
//! ```
//!
//! Only `Waiting`, `Probed`, `Probing` and their like have a deadline, and it runs from the first of them:
//! an attempt that moves is no longer allowed than one that does not. `Leaving` keeps the lane until its
//! last word, the hang-up, has been handed out: an old socket and a new one never share the lane.

use crate::time::Instant;

/// The data of the ping and pong by which a client tries a WebSocket.
pub(super) const PROBE: &str = "probe";

/// Why an upgrade came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum UpgradeFailure {
    /// It took too long.
    Timeout,
    /// The WebSocket could not be opened, or broke.
    Lost,
    /// The peer sent something else than the next packet of an upgrade.
    UnexpectedPacket,
}

impl core::fmt::Display for UpgradeFailure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Timeout => "the upgrade took too long",
            Self::Lost => "the WebSocket of the upgrade was lost",
            Self::UnexpectedPacket => "the peer did not follow the upgrade",
        })
    }
}

impl core::error::Error for UpgradeFailure {}

/// The WebSocket as a server session sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerSocket {
    Detached,
    /// Connected; no probe yet.
    Waiting {
        until: Instant,
    },
    /// `2probe` came.
    Probed {
        until: Instant,
        answer_due: bool,
    },
    /// It carries the session. The answer to the probe may still be due: a client may send `5` right
    /// behind `2probe`.
    Current {
        answer_due: bool,
    },
    /// It is to be hung up, after a close packet if that is still due.
    Leaving {
        close_due: bool,
    },
}

impl ServerSocket {
    pub(super) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Waiting { until } | Self::Probed { until, .. } => Some(until),
            _ => None,
        }
    }
}

/// The WebSocket as a client session sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientSocket {
    Unused,
    /// The driver is to open one. `until` is `None` if it is the first transport of the session.
    Wanted {
        until: Option<Instant>,
    },
    /// The driver opens it.
    Dialing {
        until: Option<Instant>,
    },
    /// Connected; waits for `3probe`.
    Probing {
        until: Instant,
        probe_due: bool,
    },
    /// `3probe` came; waits for the GET and the POST in flight.
    Pausing {
        until: Instant,
    },
    /// It carries the session.
    Current,
    /// It is to be hung up, after a close packet if that is still due.
    Leaving {
        close_due: bool,
    },
}

impl ClientSocket {
    pub(super) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Wanted { until } | Self::Dialing { until } => until,
            Self::Probing { until, .. } | Self::Pausing { until } => Some(until),
            _ => None,
        }
    }
}
