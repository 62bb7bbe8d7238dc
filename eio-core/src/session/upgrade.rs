//! The WebSocket of a session, as the server and the client see it: probing, current, or closing.
//!
//! ```text
//! server:  Detached ──► Connected ──2probe──► Probed ──5──► Current
//!             ▲             └────────┬──────────┘              │
//!             └───── Closing ◄───────┴─ the upgrade failed or ─┘
//!                                       the session ended
//!
//! client:  Unused ──► Wanted ──► Connecting ──► Probing ──3probe──► Pausing ──5──► Current
//!             ▲                      └─────────────┴───────┬──────────┘               │
//!             └───── Closing ◄─────────────────────────────┴─ the upgrade failed or ──┘
//!                                                             the session ended
//! ```
//!
//! The full tables are in [`server`](super::server) and [`client`](super::client).
//!
//! The deadline of an upgrade starts with the first of its states and does not move: a slow upgrade gets no more time
//! than a silent one. `Closing` keeps the lane until its last item, the hang-up, was handed out, so that an old
//! WebSocket and a new one never share the lane.

use crate::time::Instant;

/// The data of the ping and pong with which a client probes a WebSocket.
pub(super) const PROBE: &str = "probe";

/// Why an upgrade failed. The session continues over polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum UpgradeFailure {
    /// `upgrade_timeout_ms` elapsed.
    Timeout,
    /// The WebSocket could not be opened, or was lost.
    Lost,
    /// The peer sent anything but the next packet of an upgrade.
    UnexpectedPacket,
}

impl core::fmt::Display for UpgradeFailure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Timeout => "the upgrade timed out",
            Self::Lost => "the WebSocket of the upgrade was lost",
            Self::UnexpectedPacket => "the peer sent an unexpected packet during the upgrade",
        })
    }
}

impl core::error::Error for UpgradeFailure {}

/// The WebSocket as a server session sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerSocket {
    Detached,
    /// Connected; no probe yet.
    Connected {
        until: Instant,
    },
    /// `2probe` arrived. `answer_due`: `3probe` was not sent yet.
    Probed {
        until: Instant,
        answer_due: bool,
    },
    /// It carries the session. The answer to the probe may still be due, since a client may send `5` directly
    /// after `2probe`.
    Current {
        answer_due: bool,
    },
    /// To be hung up, after a close packet if one is due.
    Closing {
        close_due: bool,
    },
}

impl ServerSocket {
    pub(super) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Connected { until } | Self::Probed { until, .. } => Some(until),
            _ => None,
        }
    }
}

/// The WebSocket as a client session sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientSocket {
    Unused,
    /// The driver has to open one. `until` is `None` if it is the first transport of the session.
    Wanted {
        until: Option<Instant>,
    },
    /// The driver is opening it.
    Connecting {
        until: Option<Instant>,
    },
    /// Connected; waits for `3probe`. `probe_due`: `2probe` was not sent yet.
    Probing {
        until: Instant,
        probe_due: bool,
    },
    /// `3probe` arrived; waits for the GET and the POST in flight.
    Pausing {
        until: Instant,
    },
    /// It carries the session.
    Current,
    /// To be hung up, after a close packet if one is due.
    Closing {
        close_due: bool,
    },
}

impl ClientSocket {
    pub(super) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Wanted { until } | Self::Connecting { until } => until,
            Self::Probing { until, .. } | Self::Pausing { until } => Some(until),
            _ => None,
        }
    }
}
