//! [`RecvMode`]: which peers send all the time.

use std::cell::Cell;

use eio_core::time::Instant;

/// How often a peer sends.
#[derive(Default)]
pub(crate) struct RecvMode {
    /// When it was asked about last, in milliseconds, of which these are the last 16 bits: the one in six hundred
    /// pauses of more than a minute that they make a short one matters to nobody.
    last: Cell<u16>,
    /// How often in a row it was soon after.
    streak: Cell<u8>,
}

impl RecvMode {
    /// So many waits in a row make a peer busy.
    const STREAK: u8 = 16;
    /// And one of so many milliseconds none.
    const SOON: u16 = 100;

    /// Whether the peer is a busy one, to be asked before each wait for input. A clock that stands still, as one may
    /// that is only looked at now and then, makes a peer busier than it is.
    #[inline]
    pub(crate) fn is_busy(&self, now: Instant) -> bool {
        let now = now.as_millis() as u16;
        let soon = now.wrapping_sub(self.last.replace(now)) <= Self::SOON;
        let streak = if soon { self.streak.get().saturating_add(1) } else { 0 };
        self.streak.set(streak);
        streak >= Self::STREAK
    }

    /// Whether that has just begun again.
    pub(crate) fn has_paused(&self) -> bool {
        self.streak.get() == 0
    }

    /// It is not for a while, though it goes on sending.
    pub(crate) fn relax(&self) {
        self.streak.set(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_often_is_busy_until_it_pauses() {
        let pace = RecvMode::default();
        let mut at = 1_000_000_000_000;
        let mut wait = |millis| {
            at += millis;
            pace.is_busy(Instant::from_millis(at))
        };
        assert!((0..15).all(|_| !wait(50)), "the first comes after a pause");
        assert!(!wait(100));
        assert!((0..1000).all(|_| wait(100)));
        assert!(!wait(101));
        assert!((0..15).all(|_| !wait(0)));
        assert!((0..1000).all(|_| wait(0)));
        pace.relax();
        assert!((0..14).all(|_| !wait(0)));
        assert!(!pace.has_paused());
        assert!(wait(0));
        assert!(!wait(200));
        assert!(pace.has_paused());
    }
}
