//! [`RecvMode`]: detects peers that send continuously, for which a pending receive operation is cheaper.

use std::cell::Cell;

use eio_core::time::Instant;

/// How often a peer sends.
#[derive(Default)]
pub(crate) struct RecvMode {
    /// The time of the last wait for input, as the last 16 bits of milliseconds. They make one in six hundred pauses of
    /// more than a minute look short, which only delays the end of a streak.
    last: Cell<u16>,
    /// The number of waits in a row that began soon after the previous one.
    streak: Cell<u8>,
}

impl RecvMode {
    /// From this number of waits in a row, a peer counts as sending continuously.
    const STREAK: u8 = 16;
    /// A wait that begins more than this number of milliseconds after the previous one ends a streak.
    const SOON: u16 = 100;

    /// Whether the peer sends continuously; called before each wait for input. If the clock is updated rarely, a peer
    /// seems to send more often than it does.
    #[inline]
    pub(crate) fn is_continuous(&self, now: Instant) -> bool {
        let now = now.as_millis() as u16;
        let soon = now.wrapping_sub(self.last.replace(now)) <= Self::SOON;
        let streak = if soon { self.streak.get().saturating_add(1) } else { 0 };
        self.streak.set(streak);
        streak >= Self::STREAK
    }

    /// Whether the last wait began after a pause.
    pub(crate) fn has_paused(&self) -> bool {
        self.streak.get() == 0
    }

    /// Begins a new streak without a pause.
    pub(crate) fn restart(&self) {
        self.streak.set(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_sends_often_is_continuous_until_it_pauses() {
        let mode = RecvMode::default();
        let mut at = 1_000_000_000_000;
        let mut wait = |millis| {
            at += millis;
            mode.is_continuous(Instant::from_millis(at))
        };
        assert!((0..15).all(|_| !wait(50)), "the first wait begins after a pause");
        assert!(!wait(100));
        assert!((0..1000).all(|_| wait(100)));
        assert!(!wait(101));
        assert!((0..15).all(|_| !wait(0)));
        assert!((0..1000).all(|_| wait(0)));
        mode.restart();
        assert!((0..14).all(|_| !wait(0)));
        assert!(!mode.has_paused());
        assert!(wait(0));
        assert!(!wait(200));
        assert!(mode.has_paused());
    }
}
