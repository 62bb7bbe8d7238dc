//! [`Outbox`]: numbered messages until their acknowledgement.

use heapless::{Deque, Vec};

/// A message with its number, as it is sent.
pub type Entry = Vec<u8, 36>;

/// The last `N` messages that are not acknowledged. When it is full, the oldest message is dropped and counted: a sensor
/// wants its latest readings. A device that must not drop any asks [`is_full`](Self::is_full) first.
pub struct Outbox<const N: usize> {
    messages: Deque<Entry, N>,
    /// The number of the first message in the queue.
    first: u32,
    /// How many messages at the front are sent in this session.
    sent: usize,
    dropped: u32,
}

impl<const N: usize> Outbox<N> {
    /// An empty queue. The first message has number 1.
    pub const fn new() -> Self {
        Self { messages: Deque::new(), first: 1, sent: 0, dropped: 0 }
    }

    /// Whether [`push`](Self::push) drops a message.
    pub fn is_full(&self) -> bool {
        self.messages.is_full()
    }

    /// How many messages are not acknowledged.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether all messages are acknowledged.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many messages were dropped because the queue was full.
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Appends a message; data beyond 32 bytes is cut.
    pub fn push(&mut self, data: &[u8]) {
        if self.is_full() {
            self.remove_first();
            self.dropped += 1;
        }
        let number = self.first.wrapping_add(self.messages.len() as u32);
        let mut entry = Entry::new();
        let _ = entry.extend_from_slice(&number.to_be_bytes());
        let room = entry.capacity() - entry.len();
        let _ = entry.extend_from_slice(&data[..data.len().min(room)]);
        let _ = self.messages.push_back(entry);
    }

    /// The next message to send.
    pub fn unsent(&self) -> Option<&Entry> {
        self.messages.iter().nth(self.sent)
    }

    /// The message of [`unsent`](Self::unsent) is sent.
    pub fn mark_sent(&mut self) {
        self.sent = self.messages.len().min(self.sent + 1);
    }

    /// A new session begins: all messages are to be sent, since those sent before may be lost.
    pub const fn rewind(&mut self) {
        self.sent = 0;
    }

    /// The server has processed the messages up to `number`. Numbers of messages that were never sent have no effect.
    pub fn acknowledge(&mut self, number: u32) {
        while number.wrapping_sub(self.first) < self.sent as u32 {
            self.remove_first();
        }
    }

    fn remove_first(&mut self) {
        if self.messages.pop_front().is_some() {
            self.first = self.first.wrapping_add(1);
            self.sent = self.sent.saturating_sub(1);
        }
    }
}

impl<const N: usize> Default for Outbox<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(outbox: &Outbox<4>) -> Option<u32> {
        outbox.unsent().map(|entry| u32::from_be_bytes(*entry.first_chunk().unwrap()))
    }

    fn send(outbox: &mut Outbox<4>, messages: usize) {
        for _ in 0..messages {
            outbox.mark_sent();
        }
    }

    #[test]
    fn messages_stay_until_they_are_acknowledged() {
        let mut outbox = Outbox::new();
        assert_eq!(number(&outbox), None);
        outbox.push(b"a");
        outbox.push(b"b");
        outbox.push(b"c");
        assert_eq!(outbox.unsent().unwrap(), b"\0\0\0\x01a");
        send(&mut outbox, 2);
        assert_eq!(number(&outbox), Some(3));
        outbox.acknowledge(1);
        assert_eq!((number(&outbox), outbox.len()), (Some(3), 2));
        // A new session sends unacknowledged messages again, with the same numbers.
        outbox.rewind();
        assert_eq!(number(&outbox), Some(2));
        send(&mut outbox, 9);
        assert_eq!(number(&outbox), None);
        outbox.acknowledge(3);
        assert!(outbox.is_empty());
        outbox.push(b"d");
        assert_eq!(number(&outbox), Some(4));
    }

    #[test]
    fn acknowledgement_of_another_message_has_no_effect() {
        let mut outbox = Outbox::new();
        outbox.push(b"a");
        outbox.push(b"b");
        send(&mut outbox, 1);
        // Not sent yet, never sent, acknowledged before.
        for other in [2, 3, 0, u32::MAX] {
            outbox.acknowledge(other);
            assert_eq!(outbox.len(), 2, "{other}");
        }
        outbox.acknowledge(1);
        outbox.acknowledge(1);
        assert_eq!(outbox.len(), 1);
    }

    #[test]
    fn full_queue_drops_the_oldest_and_counts_it() {
        let mut outbox = Outbox::new();
        for byte in 0..6 {
            outbox.push(&[byte]);
        }
        assert_eq!((outbox.len(), outbox.dropped(), outbox.is_full()), (4, 2, true));
        assert_eq!(number(&outbox), Some(3));
        send(&mut outbox, 3);
        outbox.push(&[6]);
        assert_eq!((number(&outbox), outbox.dropped()), (Some(6), 3));
        outbox.push(&[7; 99]);
        outbox.rewind();
        assert_eq!(number(&outbox), Some(5));
        send(&mut outbox, 3);
        assert_eq!(outbox.unsent().map(|entry| entry.len()), Some(36), "cut");
    }

    #[test]
    fn numbers_continue_after_the_largest() {
        let mut outbox = Outbox { first: u32::MAX, ..Outbox::<4>::new() };
        outbox.push(b"a");
        outbox.push(b"b");
        assert_eq!(number(&outbox), Some(u32::MAX));
        send(&mut outbox, 2);
        outbox.acknowledge(0);
        assert!(outbox.is_empty());
    }
}
