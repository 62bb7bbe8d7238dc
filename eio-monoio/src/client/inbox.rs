//! [`Inbox`]: what a session has for its application, in the order it happened.

use std::collections::VecDeque;

use eio_core::packet::Message;
use eio_core::session::{CloseReason, UpgradeFailure};

use crate::error::SendError;
use crate::io::message_queue::MessageQueue;

/// Messages in one block of memory, and the rare other things that stand between them.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    messages: MessageQueue,
    /// Messages that ever came, and that were ever taken.
    came: u64,
    taken: u64,
    /// Each with the number of messages that come before it.
    notices: VecDeque<(u64, Notice)>,
    over: bool,
}

/// What is told besides messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Upgraded,
    UpgradeFailed(UpgradeFailure),
    Unsent(SendError),
    Closed(CloseReason),
}

/// What is next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'i> {
    Message(Message<'i>),
    Notice(Notice),
}

impl Inbox {
    pub(crate) fn push(&mut self, message: Message<'_>) {
        self.messages.push(message);
        self.came += 1;
    }

    pub(crate) fn notify(&mut self, notice: Notice) {
        self.notices.push_back((self.came, notice));
    }

    /// How many notices wait.
    pub(crate) fn notices(&self) -> usize {
        self.notices.len()
    }

    pub(crate) fn front(&self) -> Option<Item<'_>> {
        match self.notices.front() {
            Some((after, notice)) if *after == self.taken => Some(Item::Notice(*notice)),
            _ => self.messages.front().map(Item::Message),
        }
    }

    pub(crate) fn pop(&mut self) {
        match self.notices.front() {
            Some((after, notice)) if *after == self.taken => {
                self.over |= matches!(notice, Notice::Closed(_));
                self.notices.pop_front();
            }
            _ if !self.messages.is_empty() => {
                self.messages.pop();
                self.taken += 1;
            }
            _ => {}
        }
    }

    /// Whether the end was taken.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Bytes of messages held.
    pub(crate) fn bytes(&self) -> usize {
        self.messages.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_does_not_overtake_the_messages_before_it() {
        let mut inbox = Inbox::default();
        inbox.push("a".into());
        inbox.notify(Notice::Upgraded);
        inbox.push("b".into());
        inbox.notify(Notice::Closed(CloseReason::PingTimeout));
        for item in [
            Item::Message("a".into()),
            Item::Notice(Notice::Upgraded),
            Item::Message("b".into()),
            Item::Notice(Notice::Closed(CloseReason::PingTimeout)),
        ] {
            assert!(!inbox.is_over());
            assert_eq!(inbox.front(), Some(item));
            inbox.pop();
        }
        assert!(inbox.is_over() && inbox.front().is_none());
    }
}
