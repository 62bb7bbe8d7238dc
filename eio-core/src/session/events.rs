//! [`Events`]: the events a session has for its application, each reported once.

use super::{CloseReason, Event, UpgradeFailure};

#[derive(Clone, Copy, Debug)]
pub(super) struct Events {
    upgraded: bool,
    upgrade_failed: Option<UpgradeFailure>,
    ended: Option<CloseReason>,
    /// Whether [`Event::Closed`] was reported.
    closed: bool,
}

impl Events {
    pub(super) const NONE: Self =
        Self { upgraded: false, upgrade_failed: None, ended: None, closed: false };

    pub(super) const fn ended(&self) -> Option<CloseReason> {
        self.ended
    }

    pub(super) fn upgraded(&mut self) {
        self.upgraded = true;
    }

    pub(super) fn upgrade_failed(&mut self, failure: UpgradeFailure) {
        self.upgrade_failed = Some(failure);
    }

    /// Records the end; returns whether it is the first, since only the first reason counts.
    pub(super) fn end(&mut self, reason: CloseReason) -> bool {
        let first = self.ended.is_none();
        if first {
            self.ended = Some(reason);
        }
        first
    }

    /// In the order in which they can have happened: after a failed upgrade another may succeed, not the reverse.
    pub(super) fn poll(&mut self) -> Option<Event> {
        if let Some(failure) = self.upgrade_failed.take() {
            return Some(Event::UpgradeFailed(failure));
        }
        if core::mem::take(&mut self.upgraded) {
            return Some(Event::Upgraded);
        }
        let reason = self.ended.filter(|_| !self.closed)?;
        self.closed = true;
        Some(Event::Closed(reason))
    }
}
