//! [`MessageQueue`]: messages in order, in one block of memory.

use eio_core::packet::Message;

use crate::error::SendError;
use crate::message::OwnedMessage;

/// A first-in first-out queue of messages without an allocation for each: records of a five-byte head (kind, length)
/// and the data, in one vector.
///
/// The vector is in a box, because each session has two queues and most sessions never use them.
#[derive(Debug, Default)]
pub(crate) struct MessageQueue(Option<Box<Records>>);

#[derive(Debug, Default)]
struct Records {
    records: Vec<u8>,
    /// Where the first record begins. Invariant: a record boundary, `<= records.len()`.
    first: usize,
}

const HEAD: usize = 5;

/// How a queued message is sent, in the first byte of its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark(u8);

impl Mark {
    const TEXT: u8 = 1;
    /// A receipt waits for the outcome.
    const CONFIRMED: u8 = 2;
    /// It is not compressed.
    const PLAIN: u8 = 4;

    pub(crate) fn new(confirmed: bool, plain: bool) -> Self {
        Self((u8::from(confirmed) * Self::CONFIRMED) | (u8::from(plain) * Self::PLAIN))
    }

    pub(crate) fn is_confirmed(self) -> bool {
        self.0 & Self::CONFIRMED != 0
    }

    pub(crate) fn is_plain(self) -> bool {
        self.0 & Self::PLAIN != 0
    }
}

/// A vector with a larger capacity is freed when the queue becomes empty.
const KEEP: usize = 16 * 1024;

impl MessageQueue {
    /// Whether a message of `len` bytes can be queued: a record has a 32-bit length.
    pub(crate) fn check(len: usize) -> Result<(), SendError> {
        let max = u32::MAX as usize;
        if len > max { Err(SendError::TooLarge { len, max }) } else { Ok(()) }
    }

    pub(crate) fn push(&mut self, message: Message<'_>) {
        self.push_marked(message, Mark::default());
    }

    pub(crate) fn push_marked(&mut self, message: Message<'_>, Mark(mark): Mark) {
        let (kind, data) = match message {
            Message::Text(text) => (mark | Mark::TEXT, text.as_bytes()),
            Message::Binary(bytes) => (mark, bytes),
        };
        self.0.get_or_insert_default().push(kind, data);
    }

    /// The oldest message.
    pub(crate) fn front(&self) -> Option<Message<'_>> {
        let (kind, data) = self.0.as_ref()?.front()?;
        if kind & Mark::TEXT == 0 {
            return Some(Message::Binary(data));
        }
        Some(Message::text(data).unwrap_or(Message::Binary(data)))
    }

    /// The mark of the oldest message.
    pub(crate) fn front_mark(&self) -> Mark {
        let kind = self.0.as_ref().and_then(|records| records.records.get(records.first));
        Mark(kind.map_or(0, |kind| kind & !Mark::TEXT))
    }

    /// Drops the oldest message.
    pub(crate) fn pop(&mut self) {
        let Some(records) = &mut self.0 else { return };
        let Some((_, data)) = records.front() else { return };
        records.first += HEAD + data.len();
        if self.is_empty() {
            self.clear();
        }
    }

    /// All messages, in order.
    pub(crate) fn into_messages(mut self) -> Vec<OwnedMessage> {
        let mut messages = Vec::new();
        while let Some(message) = self.front() {
            messages.push(message.into());
            self.pop();
        }
        messages
    }

    /// Appends all messages of `later`.
    pub(crate) fn append(&mut self, later: Self) {
        if self.is_empty() {
            *self = later;
        } else if let (Some(records), Some(later)) = (&mut self.0, later.0) {
            records.records.extend_from_slice(&later.records[later.first..]);
        }
    }

    /// Drops all messages. Small memory is kept for the next message.
    pub(crate) fn clear(&mut self) {
        if let Some(records) = &mut self.0 {
            if records.records.capacity() > KEEP {
                self.0 = None;
            } else {
                records.records.clear();
                records.first = 0;
            }
        }
    }

    /// Bytes of all records, their heads included.
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |records| records.records.len() - records.first)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// The number of messages. It reads the head of each.
    pub(crate) fn count(&self) -> usize {
        self.0.as_ref().map_or(0, |records| records.count())
    }
}

impl Records {
    fn push(&mut self, kind: u8, data: &[u8]) {
        if self.first > self.records.len() / 2 && self.first > KEEP {
            self.records.drain(..self.first);
            self.first = 0;
        }
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        self.records.reserve(HEAD + data.len());
        self.records.push(kind);
        self.records.extend_from_slice(&len.to_ne_bytes());
        self.records.extend_from_slice(&data[..len as usize]);
    }

    /// The kind and the data of the oldest message.
    fn front(&self) -> Option<(u8, &[u8])> {
        let (&kind, rest) = self.records.get(self.first..)?.split_first()?;
        let (len, rest) = rest.split_first_chunk()?;
        Some((kind, rest.get(..u32::from_ne_bytes(*len) as usize)?))
    }

    fn count(&self) -> usize {
        let (mut at, mut count) = (self.first, 0);
        while let Some(record) = self.records.get(at..).filter(|record| !record.is_empty()) {
            let len =
                record.get(1..HEAD).and_then(|len| len.try_into().ok()).map(u32::from_ne_bytes);
            at += HEAD + len.unwrap_or_default() as usize;
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_in_first_out_with_kinds_kept() {
        let mut queue = MessageQueue::default();
        let messages = [
            Message::Text(""),
            Message::Binary(b""),
            Message::Text("é"),
            Message::Binary(b"\xff\0"),
        ];
        messages.iter().for_each(|message| queue.push(*message));
        for (popped, message) in messages.into_iter().enumerate() {
            assert_eq!(queue.count(), messages.len() - popped);
            assert_eq!(queue.front(), Some(message));
            queue.pop();
        }
        assert!(queue.is_empty() && queue.front().is_none() && queue.bytes() == 0);
        assert_eq!(queue.count(), 0);
        queue.pop();
    }

    #[test]
    fn appended_messages_are_last() {
        let mut queues = [MessageQueue::default(), MessageQueue::default()];
        for (queue, texts) in queues.iter_mut().zip([["a", "b"], ["c", "d"]]) {
            texts.iter().for_each(|text| queue.push(Message::Text(text)));
            queue.pop();
        }
        let [mut all, later] = queues;
        all.append(MessageQueue::default());
        all.append(later);
        for text in ["b", "d"] {
            assert_eq!(all.front(), Some(Message::Text(text)));
            all.pop();
        }
        all.append(MessageQueue::default());
        assert!(all.is_empty());
    }

    #[test]
    fn marks_stay_with_their_messages() {
        let mut queue = MessageQueue::default();
        let marks = [(false, false), (true, false), (false, true), (true, true)];
        let marks = marks.map(|(confirmed, plain)| Mark::new(confirmed, plain));
        for mark in marks {
            queue.push_marked(Message::Text("t"), mark);
            queue.push_marked(Message::Binary(b"b"), mark);
        }
        for mark in marks {
            for message in [Message::Text("t"), Message::Binary(b"b")] {
                assert_eq!((queue.front(), queue.front_mark()), (Some(message), mark));
                queue.pop();
            }
        }
        assert_eq!(queue.front_mark(), Mark::default());
    }

    #[test]
    fn a_queue_that_is_never_empty_does_not_grow_without_bound() {
        let mut queue = MessageQueue::default();
        let kilobyte = [7; 1024];
        queue.push(Message::Binary(&kilobyte));
        for _ in 0..10_000 {
            queue.push(Message::Binary(&kilobyte));
            queue.pop();
        }
        let capacity = queue.0.expect("memory").records.capacity();
        assert!(capacity < 128 * 1024, "{capacity}");
    }

    #[test]
    fn a_message_of_4_gib_is_refused_and_one_byte_less_accepted() {
        let too_large = |len| Err(SendError::TooLarge { len, max: u32::MAX as usize });
        for (len, expected) in [
            (0, Ok(())),
            ((1 << 32) - 1, Ok(())),
            (1 << 32, too_large(1 << 32)),
            (usize::MAX, too_large(usize::MAX)),
        ] {
            assert_eq!(MessageQueue::check(len), expected, "{len}");
        }
    }

    #[test]
    fn memory_of_a_burst_is_freed() {
        let mut queue = MessageQueue::default();
        queue.push(Message::Binary(&[0; 100_000]));
        queue.pop();
        assert!(queue.0.is_none());
    }
}
