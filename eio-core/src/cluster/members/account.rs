//! [`Account`]: which of a node's numbered messages arrived.

use crate::time::Instant;

/// The messages of one sender on one channel: to this node, or to all.
///
/// The bus keeps the order of a sender's messages, so a gap in their numbers is a loss. A loss after the last message
/// becomes known by the count in the sender's next hello; since hellos arrive over another subscription, messages
/// may still arrive for `settle_ms`. One that arrives later than its loss was counted corrects the count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    /// False until a count of the sender is known: messages before it are not counted.
    known: bool,
    /// The highest number accounted for.
    highest: u64,
    missing: u64,
    told: u64,
    /// A count that the sender announced, and when its messages should have arrived.
    announced: Option<(u64, Instant)>,
}

impl Account {
    pub(super) fn handle_message(&mut self, number: u64) {
        if !self.known || number == self.highest.wrapping_add(1) {
            (self.known, self.highest) = (true, number);
        } else if number > self.highest {
            self.missing = self.missing.saturating_add(number - self.highest - 1);
            self.highest = number;
        } else {
            self.missing = self.missing.saturating_sub(1);
        }
    }

    pub(super) fn handle_count(&mut self, count: u64, settle_ms: u32, now: Instant) {
        if !self.known {
            (self.known, self.highest) = (true, count);
        } else if count > self.highest && self.announced.is_none() {
            self.announced = Some((count, now.after(settle_ms)));
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.announced.map(|(_, due)| due)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some((count, due)) = self.announced
            && due <= now
        {
            self.announced = None;
            if count > self.highest {
                self.missing = self.missing.saturating_add(count - self.highest);
                self.highest = count;
            }
        }
    }

    /// The losses that were not told yet.
    pub(super) fn take_lost(&mut self) -> u64 {
        let news = self.missing.saturating_sub(self.told);
        self.told += news;
        news
    }

    pub(super) fn has_news(&self) -> bool {
        self.missing > self.told
    }

    pub(super) fn missing(&self) -> u64 {
        self.missing
    }
}
