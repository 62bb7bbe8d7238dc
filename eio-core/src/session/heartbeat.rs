//! The heartbeat: [`Heartbeat`] of the server and [`Liveness`] of the client.
//!
//! Both are a deadline, not a task. The server sends pings and waits for pongs; the client only checks that pings
//! arrive. Neither depends on the lane that carries a ping, and neither pauses: not for an upgrade, not while closing,
//! not for a slow handler of the application (except for [`MAX_EXTENSIONS`]).
//!
//! | state of `Heartbeat` | input | next state | effect |
//! |---|---|---|---|
//! | Idle | timeout before `ping_at` | Idle | |
//! | Idle | timeout from `ping_at` on | Due | `pong_by` is `ping_at + timeout`; or `now + timeout` if the driver is late by over `timeout / 4` |
//! | Due | a lane takes the ping | Sent | ping; the round trip begins at the last input |
//! | Sent | pong | Idle | `ping_at` is `now + interval`; the round trip ends |
//! | Idle, Due | pong | unchanged | |
//! | Due, Sent | timeout before `pong_by` | unchanged | |
//! | Due, Sent | timeout from `pong_by` on | unchanged | the session ends |
//! | Due, Sent | `extend` from `pong_by` on, extensions left | unchanged | `pong_by` is `now + timeout` |
//! | any | packet on a lane that carries the session | as above | all extensions again |
//!
//! | input of `Liveness` | effect |
//! |---|---|
//! | ping | `ping_by` is `now + interval + timeout` |
//! | timeout from `ping_by` on | the session ends |
//! | `extend` from `ping_by` on, extensions left | `ping_by` is `now + timeout` |
//! | packet on a lane that carries the session | all extensions again |

use crate::time::Instant;

/// How often in a row [`extend`](super::ServerSession::extend) postpones the end of a silent peer whose data is unread.
///
/// Data that arrived in time counts even if the application handles it late. An application that handles nothing for
/// five timeouts (100 s by default) is stuck rather than slow, and its session ends.
pub const MAX_EXTENSIONS: u8 = 5;

/// The server's heartbeat: when to ping, and when a pong is overdue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heartbeat {
    interval_ms: u32,
    timeout_ms: u32,
    state: PingState,
    extensions: ExtensionBudget,
    /// From the last ping that was answered to its pong; `u32::MAX` before.
    round_trip_ms: u32,
}

const NO_ROUND_TRIP: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
enum PingState {
    /// No ping is outstanding.
    Idle { ping_at: Instant },
    /// A ping waits for a lane. `lane_at`: the last time at which a lane may have become ready for it.
    Due { pong_by: Instant, lane_at: ShortInstant },
    /// A lane took the ping.
    Sent { pong_by: Instant, sent_at: ShortInstant },
}

/// The lower half of an [`Instant`], for times less than 49 days ago: no session is silent for longer.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShortInstant(u32);

impl ShortInstant {
    pub(super) const fn new(now: Instant) -> Self {
        Self(now.as_millis() as u32)
    }

    pub(super) const fn millis_until(self, now: Instant) -> u32 {
        (now.as_millis() as u32).wrapping_sub(self.0)
    }
}

impl Heartbeat {
    /// docs/protocol.md 2.5.1: the first ping is sent `interval_ms` after the handshake, not at once.
    pub(super) const fn new(interval_ms: u32, timeout_ms: u32, now: Instant) -> Self {
        let state = PingState::Idle { ping_at: now.after(interval_ms) };
        let extensions = ExtensionBudget::FULL;
        Self { interval_ms, timeout_ms, state, extensions, round_trip_ms: NO_ROUND_TRIP }
    }

    pub(super) const fn deadline(&self) -> Instant {
        match self.state {
            PingState::Idle { ping_at } => ping_at,
            PingState::Due { pong_by, .. } | PingState::Sent { pong_by, .. } => pong_by,
        }
    }

    /// From the last ping that was answered to its pong, in milliseconds.
    pub(super) const fn round_trip_ms(&self) -> Option<u32> {
        if self.round_trip_ms == NO_ROUND_TRIP { None } else { Some(self.round_trip_ms) }
    }

    /// A lane is ready from now on: a ping that is due is sent now.
    pub(super) fn handle_lane(&mut self, now: Instant) {
        if let PingState::Due { lane_at, .. } = &mut self.state {
            *lane_at = ShortInstant::new(now);
        }
    }

    /// docs/protocol.md 2.5.3: a pong without a ping is ignored, and does not answer a ping that was not sent yet.
    pub(super) fn handle_pong(&mut self, now: Instant) {
        if let PingState::Sent { sent_at, .. } = self.state {
            self.round_trip_ms = sent_at.millis_until(now).min(NO_ROUND_TRIP - 1);
            self.state = PingState::Idle { ping_at: now.after(self.interval_ms) };
        }
    }

    pub(super) fn handle_progress(&mut self) {
        self.extensions = ExtensionBudget::FULL;
    }

    /// Whether the pong is overdue.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        match self.state {
            // docs/protocol.md 2.5.2: a session that is not polled ends after pingInterval + pingTimeout, so the
            // time runs from when the ping was due, whether or not a lane takes it. But a stalled driver must not
            // shorten the peer's time to answer: then it runs from now.
            PingState::Idle { ping_at } if now >= ping_at => {
                let stalled = now.millis_since(ping_at) > u64::from(self.timeout_ms / 4);
                let pong_by = if stalled { now } else { ping_at }.after(self.timeout_ms);
                self.state = PingState::Due { pong_by, lane_at: ShortInstant::new(now) };
                false
            }
            PingState::Idle { .. } => false,
            PingState::Due { pong_by, .. } | PingState::Sent { pong_by, .. } => now >= pong_by,
        }
    }

    pub(super) fn extend(&mut self, now: Instant) -> bool {
        match &mut self.state {
            PingState::Due { pong_by, .. } | PingState::Sent { pong_by, .. }
                if now >= *pong_by && self.extensions.take() =>
            {
                *pong_by = now.after(self.timeout_ms);
                true
            }
            _ => false,
        }
    }

    /// Whether a ping is due; it then counts as sent.
    pub(super) fn take_ping(&mut self) -> bool {
        let PingState::Due { pong_by, lane_at } = self.state else { return false };
        self.state = PingState::Sent { pong_by, sent_at: lane_at };
        true
    }
}

/// The client's heartbeat: when the next ping is overdue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Liveness {
    interval_ms: u32,
    timeout_ms: u32,
    ping_by: Instant,
    extensions: ExtensionBudget,
    /// A ping has arrived.
    pinged: bool,
}

impl Liveness {
    pub(super) const fn new(interval_ms: u32, timeout_ms: u32, now: Instant) -> Self {
        let ping_by = now.after(interval_ms).after(timeout_ms);
        let extensions = ExtensionBudget::FULL;
        Self { interval_ms, timeout_ms, ping_by, extensions, pinged: false }
    }

    pub(super) const fn is_pinged(&self) -> bool {
        self.pinged
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.ping_by
    }

    pub(super) fn handle_ping(&mut self, now: Instant) {
        self.ping_by = now.after(self.interval_ms).after(self.timeout_ms);
        self.pinged = true;
    }

    pub(super) fn handle_progress(&mut self) {
        self.extensions = ExtensionBudget::FULL;
    }

    pub(super) fn extend(&mut self, now: Instant) -> bool {
        let extended = now >= self.ping_by && self.extensions.take();
        if extended {
            self.ping_by = now.after(self.timeout_ms);
        }
        extended
    }
}

/// Extensions left until a packet is handled.
#[derive(Clone, Copy, Debug)]
struct ExtensionBudget(u8);

impl ExtensionBudget {
    const FULL: Self = Self(MAX_EXTENSIONS);

    fn take(&mut self) -> bool {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the session ends if the ping that is due at 100 ms is noticed at `noticed`, in milliseconds.
    fn deadline_when_noticed_at(noticed: u64) -> u64 {
        let mut heartbeat = Heartbeat::new(100, 40, Instant::from_millis(0));
        assert!(!heartbeat.handle_timeout(Instant::from_millis(noticed)));
        heartbeat.deadline().as_millis()
    }

    #[test]
    fn only_a_stalled_driver_moves_the_deadline() {
        assert_eq!([100, 101, 109, 110].map(deadline_when_noticed_at), [140; 4]);
        assert_eq!([111, 200, 5_000].map(deadline_when_noticed_at), [151, 240, 5_040]);
    }
}
