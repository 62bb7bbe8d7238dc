//! [`Inbox`]: messages and notices of a session that its application has not taken, in order.

use std::collections::VecDeque;

use eio_core::packet::Message;
use eio_core::session::{CloseReason, UpgradeFailure};

use crate::error::SendError;
use crate::io::message_queue::MessageQueue;

/// Messages in one block of memory, and the rare notices between them.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    messages: MessageQueue,
    /// The number of messages that were ever pushed.
    pushed: u64,
    /// The number of messages that were ever popped.
    popped: u64,
    /// Each with the number of messages before it.
    notices: VecDeque<(u64, Notice)>,
    ended: bool,
}

/// An event other than a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Upgraded,
    UpgradeFailed(UpgradeFailure),
    Unsent(SendError),
    Closed(CloseReason),
}

/// The next event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'i> {
    Message(Message<'i>),
    Notice(Notice),
}

impl Inbox {
    pub(crate) fn push(&mut self, message: Message<'_>) {
        self.messages.push(message);
        self.pushed += 1;
    }

    pub(crate) fn notify(&mut self, notice: Notice) {
        self.notices.push_back((self.pushed, notice));
    }

    /// The number of notices.
    pub(crate) fn notices(&self) -> usize {
        self.notices.len()
    }

    pub(crate) fn front(&self) -> Option<Item<'_>> {
        match self.notices.front() {
            Some((position, notice)) if *position == self.popped => Some(Item::Notice(*notice)),
            _ => self.messages.front().map(Item::Message),
        }
    }

    pub(crate) fn pop(&mut self) {
        match self.notices.front() {
            Some((position, notice)) if *position == self.popped => {
                self.ended |= matches!(notice, Notice::Closed(_));
                self.notices.pop_front();
            }
            _ if !self.messages.is_empty() => {
                self.messages.pop();
                self.popped += 1;
            }
            _ => {}
        }
    }

    /// Whether [`Notice::Closed`] was popped.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Bytes of messages.
    pub(crate) fn bytes(&self) -> usize {
        self.messages.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_and_messages_keep_their_order() {
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
            assert!(!inbox.has_ended());
            assert_eq!(inbox.front(), Some(item));
            inbox.pop();
        }
        assert!(inbox.has_ended() && inbox.front().is_none());
    }
}
