//! The heartbeat from both ends: the server's [`Heartbeat`] and the client's [`Liveness`].
//!
//! Both are a deadline and not a task. The server pings, waits, rests; the client only watches that pings
//! come. Neither knows what carries a ping, and neither ever pauses: not for an upgrade, not for a slow
//! handler of the application ([`MAX_EXTENSIONS`] bounds that), not while closing.

use crate::time::Instant;

/// How often in a row `extend` postpones the end of a silent peer whose bytes wait unread.
///
/// Bytes that arrived in time count even if the application looks at them late; one that handles nothing
/// for five timeouts (100 s by default) is not slow but stuck, and then the session is not kept for it.
pub const MAX_EXTENSIONS: u8 = 5;

/// The server's side: when to ping, and until when a pong must be here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heartbeat {
    interval: u32,
    timeout: u32,
    beat: Beat,
    patience: Patience,
}

#[derive(Clone, Copy, Debug)]
enum Beat {
    /// The last ping was answered.
    Resting { ping_at: Instant },
    /// A ping waits for a lane to carry it.
    Due { pong_by: Instant },
    /// A lane took the ping.
    Sent { pong_by: Instant },
}

impl Heartbeat {
    /// Protocol 2.5.1: the first ping comes `interval` after the handshake, never at once.
    pub(super) const fn new(interval: u32, timeout: u32, now: Instant) -> Self {
        let beat = Beat::Resting { ping_at: now.after(interval) };
        Self { interval, timeout, beat, patience: Patience::FULL }
    }

    pub(super) const fn deadline(&self) -> Instant {
        match self.beat {
            Beat::Resting { ping_at } => ping_at,
            Beat::Due { pong_by } | Beat::Sent { pong_by } => pong_by,
        }
    }

    /// Protocol 2.5.3: a pong without a ping is harmless, and does not answer one that is still to be sent.
    pub(super) fn handle_pong(&mut self, now: Instant) {
        if let Beat::Sent { .. } = self.beat {
            self.beat = Beat::Resting { ping_at: now.after(self.interval) };
        }
    }

    pub(super) fn handle_progress(&mut self) {
        self.patience = Patience::FULL;
    }

    /// Whether the peer has been silent for too long.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        match self.beat {
            // Protocol 2.5.2: a session nobody polls dies at pingInterval + pingTimeout, so the time runs from
            // when the ping was due, whether or not a lane ever takes it. But a driver that stalled must not
            // take the peer's time to answer away: then it runs from now.
            Beat::Resting { ping_at } if now >= ping_at => {
                let stalled = now.millis_since(ping_at) > u64::from(self.timeout / 4);
                let pong_by = if stalled { now } else { ping_at }.after(self.timeout);
                self.beat = Beat::Due { pong_by };
                false
            }
            Beat::Resting { .. } => false,
            Beat::Due { pong_by } | Beat::Sent { pong_by } => now >= pong_by,
        }
    }

    pub(super) fn extend(&mut self, now: Instant) -> bool {
        match &mut self.beat {
            Beat::Due { pong_by } | Beat::Sent { pong_by }
                if now >= *pong_by && self.patience.spend() =>
            {
                *pong_by = now.after(self.timeout);
                true
            }
            _ => false,
        }
    }

    /// Whether a ping is due; it counts as sent from here on.
    pub(super) fn take_ping(&mut self) -> bool {
        let Beat::Due { pong_by } = self.beat else { return false };
        self.beat = Beat::Sent { pong_by };
        true
    }
}

/// The client's side: until when the next ping must be here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Liveness {
    interval: u32,
    timeout: u32,
    ping_by: Instant,
    patience: Patience,
}

impl Liveness {
    pub(super) const fn new(interval: u32, timeout: u32, now: Instant) -> Self {
        let ping_by = now.after(interval).after(timeout);
        Self { interval, timeout, ping_by, patience: Patience::FULL }
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.ping_by
    }

    pub(super) fn handle_ping(&mut self, now: Instant) {
        self.ping_by = now.after(self.interval).after(self.timeout);
    }

    pub(super) fn handle_progress(&mut self) {
        self.patience = Patience::FULL;
    }

    pub(super) fn extend(&mut self, now: Instant) -> bool {
        let extended = now >= self.ping_by && self.patience.spend();
        if extended {
            self.ping_by = now.after(self.timeout);
        }
        extended
    }
}

/// Extensions left until a packet is handled again.
#[derive(Clone, Copy, Debug)]
struct Patience(u8);

impl Patience {
    const FULL: Self = Self(MAX_EXTENSIONS);

    fn spend(&mut self) -> bool {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says when the peer is given up, if the ping that was due at 100 is noticed at `noticed`.
    fn given_up(noticed: u64) -> u64 {
        let mut heartbeat = Heartbeat::new(100, 40, Instant::from_millis(0));
        assert!(!heartbeat.handle_timeout(Instant::from_millis(noticed)));
        heartbeat.deadline().as_millis()
    }

    #[test]
    fn only_a_driver_that_stalled_gives_the_peer_more_time() {
        assert_eq!([100, 101, 109, 110].map(given_up), [140; 4]);
        assert_eq!([111, 200, 5_000].map(given_up), [151, 240, 5_040]);
    }
}
