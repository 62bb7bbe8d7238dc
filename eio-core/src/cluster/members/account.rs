//! [`Account`]: which of a node's numbered messages arrived.

use crate::time::Instant;

/// The messages of one sender on one channel: to this node, or to all.
///
/// The bus keeps the order of a sender's messages, so a gap in their numbers is a loss. A loss after the last message
/// becomes known by the count in the sender's next hello; since hellos arrive over another subscription, messages
/// may still arrive for `settle_ms`. One that arrives later than its loss was counted corrects the count.
///
/// Messages count from the second hello on that says a count: those before the first arrived while the sender was not
/// known, and messages may overtake a hello.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    /// When the first hello with a count came.
    since: Option<Instant>,
    /// The count of the sender in its second such hello: messages before it are not counted.
    base: Option<u64>,
    /// The lowest and highest number, and how many messages, that arrived before that hello.
    early: Option<(u64, u64, u64)>,
    /// The highest number accounted for.
    highest: u64,
    missing: u64,
    told: u64,
    /// A count that the sender announced, and when its messages should have arrived.
    announced: Option<(u64, Instant)>,
}

impl Account {
    pub(super) fn handle_message(&mut self, number: u64) {
        let Some(base) = self.base else {
            let (low, high, count) = self.early.unwrap_or((number, number, 0));
            self.early = Some((low.min(number), high.max(number), count + 1));
            return;
        };
        if number > self.highest {
            self.missing = self.missing.saturating_add(number - self.highest - 1);
            self.highest = number;
        } else if number > base {
            self.missing = self.missing.saturating_sub(1);
        }
    }

    pub(super) fn handle_count(&mut self, count: u64, settle_ms: u32, now: Instant) {
        if self.base.is_none() {
            if self.since.get_or_insert(now).after(settle_ms) > now {
                return;
            }
            let (low, high, arrived) = self.early.take().unwrap_or((count, count, 0));
            // Which of the early messages the count includes is known only if it includes all or none.
            let base = if low <= count { high.max(count) } else { count };
            (self.base, self.highest) = (Some(base), base.max(high));
            self.missing =
                (self.highest - base).saturating_sub(if low <= count { 0 } else { arrived });
        } else if count > self.highest && self.announced.is_none() {
            self.announced = Some((count, now.after(settle_ms)));
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.announced.map(|(_, due)| due)
    }

    pub(super) fn handle_timeout(&mut self, settle_ms: u32, now: Instant) {
        if let Some((count, due)) = self.announced
            && due <= now
        {
            if due.after(settle_ms) <= now {
                // This node was stopped: the messages may wait to be read.
                self.announced = Some((count, now.after(settle_ms)));
                return;
            }
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
