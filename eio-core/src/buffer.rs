//! Where bytes wait: [`RecvBuffer`] on the way in, [`Sink`] and [`Writer`] on the way out.
//!
//! A fragmented WebSocket message and a chunked HTTP body are the same problem: payload separated by
//! framing. `RecvBuffer` solves it once, in memory its owner lends:
//!
//! ```text
//!  0      start      kept      head        tail      capacity
//!  | free | kept payload | gap | unread bytes | spare  |
//! ```
//!
//! A decoder looks at the unread bytes and either [keeps](RecvBuffer::keep) them (they become payload) or
//! [skips](RecvBuffer::skip) them (they were framing). Kept payload is contiguous; what follows it (the
//! next frame, a pipelined request) stays unread. Bytes move only when payload is kept across a gap.

/// The output has no room for what was to be written. Nothing of it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Overflow;

impl core::fmt::Display for Overflow {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the output buffer is full")
    }
}

impl core::error::Error for Overflow {}

/// Received bytes in lent storage, see the [module](self).
///
/// ```
/// use eio_core::buffer::RecvBuffer;
///
/// let mut rx = RecvBuffer::new([0; 16]);
/// rx.append(b"3:abc2:de").unwrap();
/// (rx.skip(2), rx.keep(3)); // "3:" is framing, "abc" is payload
/// (rx.skip(2), rx.keep(2)); // "2:" is framing, "de" slides up to "abc"
/// assert_eq!(rx.kept(), b"abcde");
/// assert!(rx.unread().is_empty());
/// ```
#[derive(Debug)]
pub struct RecvBuffer<S> {
    storage: S,
    marks: Marks,
}

/// The positions inside a [`RecvBuffer`], apart from its storage: a driver that parses in a shared scratch
/// buffer keeps these while the storage is away.
///
/// Invariant: `start <= kept <= head <= tail <= storage.len()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks {
    /// First kept byte.
    start: usize,
    /// One past the last kept byte.
    kept: usize,
    /// First unread byte.
    head: usize,
    /// One past the last unread byte.
    tail: usize,
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> RecvBuffer<S> {
    /// An empty buffer over all of `storage`.
    pub const fn new(storage: S) -> Self {
        Self { storage, marks: Marks { start: 0, kept: 0, head: 0, tail: 0 } }
    }

    /// A buffer whose first `filled` bytes are unread input. More than `storage` holds counts as all of it.
    pub fn with_unread(storage: S, filled: usize) -> Self {
        let mut rx = Self::new(storage);
        rx.fill(filled);
        rx
    }

    /// Payload decided so far.
    #[inline]
    pub fn kept(&self) -> &[u8] {
        &self.storage.as_ref()[self.marks.start..self.marks.kept]
    }

    /// Payload decided so far, for parsers that work in place (unmasking, base64).
    #[inline]
    pub fn kept_mut(&mut self) -> &mut [u8] {
        &mut self.storage.as_mut()[self.marks.start..self.marks.kept]
    }

    /// The length of [`kept`](Self::kept), without a look at the storage.
    #[inline]
    pub(crate) fn kept_len(&self) -> usize {
        self.marks.kept - self.marks.start
    }

    /// Bytes no decoder has decided about.
    #[inline]
    pub fn unread(&self) -> &[u8] {
        &self.storage.as_ref()[self.marks.head..self.marks.tail]
    }

    /// Bytes no decoder has decided about, mutable.
    #[inline]
    pub fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.storage.as_mut()[self.marks.head..self.marks.tail]
    }

    /// Makes the next `n` unread bytes payload, directly behind what is kept. More than there are counts as all.
    pub fn keep(&mut self, n: usize) {
        let m = &mut self.marks;
        let n = n.min(m.tail - m.head);
        if m.start == m.kept {
            // Nothing kept yet: payload begins where it lies, no byte moves.
            (m.start, m.kept) = (m.head, m.head);
        } else if m.kept != m.head {
            self.storage.as_mut().copy_within(m.head..m.head + n, m.kept);
        }
        m.kept += n;
        m.head += n;
    }

    /// Skips `framing` bytes and keeps the `n` behind them, forgetting what was kept: no byte moves. More than
    /// there are counts as all.
    #[inline]
    pub(crate) fn replace(&mut self, framing: usize, n: usize) {
        let m = &mut self.marks;
        m.start = m.head + framing.min(m.tail - m.head);
        m.kept = m.start + n.min(m.tail - m.start);
        m.head = m.kept;
    }

    /// Drops the next `n` unread bytes: framing. More than there are counts as all.
    #[inline]
    pub fn skip(&mut self, n: usize) {
        self.marks.head += n.min(self.marks.tail - self.marks.head);
    }

    /// Forgets the kept payload; unread bytes stay where they are.
    #[inline]
    pub fn release(&mut self) {
        let m = &mut self.marks;
        if m.head == m.tail {
            *m = Marks::default();
        } else {
            (m.start, m.kept) = (m.head, m.head);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.marks = Marks::default();
    }

    /// Whether neither payload nor unread input is held: the storage may be given back.
    pub fn is_empty(&self) -> bool {
        self.marks.start == self.marks.kept && self.marks.head == self.marks.tail
    }

    /// How many bytes the storage holds in all.
    pub fn capacity(&self) -> usize {
        self.storage.as_ref().len()
    }

    /// Bytes in use: kept payload and unread input, without the gap between them.
    pub fn len(&self) -> usize {
        (self.marks.kept - self.marks.start) + (self.marks.tail - self.marks.head)
    }

    /// How many more unread bytes fit once everything is moved together.
    pub fn room(&self) -> usize {
        self.capacity() - self.len()
    }

    /// Free space behind the unread bytes, to be received into; follow with [`fill`](Self::fill). Moves
    /// what is held to the front first when less than `wanted` is free there and moving gains space.
    #[inline]
    pub fn spare_mut(&mut self, wanted: usize) -> &mut [u8] {
        if self.capacity() - self.marks.tail < wanted {
            self.compact();
        }
        &mut self.storage.as_mut()[self.marks.tail..]
    }

    /// Says that `n` bytes were received into [`spare_mut`](Self::spare_mut). More than was spare counts as all.
    #[inline]
    pub fn fill(&mut self, n: usize) {
        self.marks.tail += n.min(self.capacity() - self.marks.tail);
    }

    /// Copies `bytes` behind the unread ones.
    ///
    /// # Errors
    /// [`Overflow`], with nothing copied, if they do not fit even after moving everything together.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        let spare = self.spare_mut(bytes.len());
        spare.get_mut(..bytes.len()).ok_or(Overflow)?.copy_from_slice(bytes);
        self.fill(bytes.len());
        Ok(())
    }

    /// Moves what is held into other storage, the way a connection takes an unfinished message out of a
    /// shared scratch buffer, or grows. The old storage comes back.
    ///
    /// # Errors
    /// The buffer unchanged and the refused storage, if that is smaller than [`len`](Self::len).
    pub fn transfer<T: AsRef<[u8]> + AsMut<[u8]>>(
        self,
        mut storage: T,
    ) -> Result<(RecvBuffer<T>, S), (Self, T)> {
        let (kept, unread) = (self.kept(), self.unread());
        let into = storage.as_mut();
        let Some((front, rest)) = into.split_at_mut_checked(kept.len()) else {
            return Err((self, storage));
        };
        let Some(rest) = rest.get_mut(..unread.len()) else {
            return Err((self, storage));
        };
        front.copy_from_slice(kept);
        rest.copy_from_slice(unread);
        let (kept, tail) = (kept.len(), kept.len() + unread.len());
        let marks = Marks { start: 0, kept, head: kept, tail };
        Ok((RecvBuffer { storage, marks }, self.storage))
    }

    /// Gives the storage back.
    pub fn into_storage(self) -> S {
        self.storage
    }

    /// Moves kept and unread bytes to the front of the storage, without a gap.
    #[inline(never)]
    pub fn compact(&mut self) {
        let m = self.marks;
        let storage = self.storage.as_mut();
        let kept = m.kept - m.start;
        if m.start > 0 {
            storage.copy_within(m.start..m.kept, 0);
        }
        if m.head > kept {
            storage.copy_within(m.head..m.tail, kept);
        }
        let tail = kept + (m.tail - m.head);
        self.marks = Marks { start: 0, kept, head: kept, tail };
    }
}

/// Where encoders write: a growing buffer of a server, a fixed one of a microcontroller.
pub trait Sink {
    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`Overflow`], with nothing written.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Overflow>;

    /// Appends `n` bytes for the caller to overwrite; their content until then is initialised but unspecified.
    ///
    /// # Errors
    /// [`Overflow`], with nothing appended.
    fn claim(&mut self, n: usize) -> Result<&mut [u8], Overflow>;

    /// Appends all `parts`, one behind the other. For a sink whose [`claim`](Self::claim) has to clear memory, worth
    /// implementing.
    ///
    /// # Errors
    /// [`Overflow`], with nothing written.
    #[inline]
    fn put_all<const N: usize>(&mut self, parts: [&[u8]; N]) -> Result<(), Overflow> {
        let sum = parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(part.len()));
        let mut room = self.claim(sum.ok_or(Overflow)?)?;
        for part in parts {
            let (front, rest) = room.split_at_mut_checked(part.len()).ok_or(Overflow)?;
            front.copy_from_slice(part);
            room = rest;
        }
        Ok(())
    }
}

/// A [`Sink`] over a slice.
///
/// ```
/// use eio_core::buffer::{Overflow, Sink, Writer};
///
/// let mut memory = [0; 4];
/// let mut out = Writer::new(&mut memory);
/// out.put(b"abc")?;
/// assert_eq!(out.put(b"de"), Err(Overflow));
/// assert_eq!(out.written(), b"abc");
/// # Ok::<(), Overflow>(())
/// ```
#[derive(Debug)]
pub struct Writer<'a> {
    memory: &'a mut [u8],
    /// Invariant: `len <= memory.len()`.
    len: usize,
}

impl<'a> Writer<'a> {
    /// Writes from the start of `memory`.
    #[inline]
    pub fn new(memory: &'a mut [u8]) -> Self {
        Self { memory, len: 0 }
    }

    /// What was written.
    #[inline]
    pub fn written(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many more bytes fit.
    pub fn room(&self) -> usize {
        self.memory.len() - self.len
    }

    /// Takes back all but the first `len` bytes: undoes what was written after `len` was read.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// What was written, for as long as the memory is lent.
    #[inline]
    pub fn into_written(self) -> &'a mut [u8] {
        &mut self.memory[..self.len]
    }
}

impl Sink for Writer<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        self.claim(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn claim(&mut self, n: usize) -> Result<&mut [u8], Overflow> {
        let free = self.memory.get_mut(self.len..).and_then(|free| free.get_mut(..n));
        let free = free.ok_or(Overflow)?;
        self.len += n;
        Ok(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_written_one_behind_the_other_or_not_at_all() {
        let mut memory = [0; 6];
        let mut out = Writer::new(&mut memory);
        assert_eq!(out.put_all([b"abc", b"", b"defg"]), Err(Overflow));
        assert_eq!(out.written(), b"");
        out.put_all([b"ab", b"", b"cd"]).unwrap();
        assert_eq!(out.put_all([b"ef", b"g"]), Err(Overflow));
        out.put_all([b"ef"]).unwrap();
        assert_eq!(out.put_all::<0>([]), Ok(()));
        assert_eq!(out.written(), b"abcdef");
    }

    #[test]
    fn keeping_the_first_payload_moves_nothing() {
        let mut rx = RecvBuffer::with_unread(*b"..abc", 5);
        rx.skip(2);
        rx.keep(3);
        assert_eq!(rx.kept(), b"abc");
        assert_eq!(rx.into_storage(), *b"..abc");
    }

    #[test]
    fn payload_slides_over_framing_and_what_follows_stays() {
        let mut rx = RecvBuffer::with_unread(*b"#ab##cd#next", 12);
        rx.skip(1);
        rx.keep(2);
        rx.skip(2);
        rx.keep(2);
        rx.skip(1);
        assert_eq!((rx.kept(), rx.unread()), (&b"abcd"[..], &b"next"[..]));
        rx.release();
        assert_eq!((rx.kept(), rx.unread()), (&b""[..], &b"next"[..]));
    }

    #[test]
    fn compacting_gains_the_gap_and_the_front() {
        let mut rx = RecvBuffer::with_unread(*b"-ab--cd", 7);
        rx.skip(1);
        rx.keep(2);
        rx.skip(2);
        assert_eq!(rx.room(), 3);
        rx.append(b"efg").unwrap();
        assert_eq!((rx.kept(), rx.unread()), (&b"ab"[..], &b"cdefg"[..]));
        assert_eq!(rx.append(b"h"), Err(Overflow));
    }

    #[test]
    fn transfer_takes_kept_and_unread_and_refuses_a_smaller_home() {
        let mut rx = RecvBuffer::with_unread(*b"#ab#cde", 7);
        rx.skip(1);
        rx.keep(2);
        rx.skip(1);
        let (rx, _) = rx.transfer([0; 1]).unwrap_err();
        let (rx, _) = rx.transfer([0; 4]).unwrap_err();
        let (rx, old) = rx.transfer([0; 8]).unwrap();
        assert_eq!((rx.kept(), rx.unread(), rx.room()), (&b"ab"[..], &b"cde"[..], 3));
        assert_eq!(old, *b"#ab#cde");
        assert_eq!(rx.transfer([0; 5]).unwrap().0.room(), 0);
    }

    #[test]
    fn counts_beyond_the_end_never_panic() {
        let mut rx = RecvBuffer::with_unread([1; 4], 9);
        rx.keep(9);
        rx.skip(9);
        rx.fill(9);
        assert_eq!((rx.kept().len(), rx.unread().len()), (4, 0));

        let mut rx = RecvBuffer::with_unread([1; 8], 4);
        rx.skip(3);
        rx.keep(9);
        assert_eq!((rx.kept().len(), rx.unread().len()), (1, 0));
        rx.fill(3);
        rx.skip(9);
        assert_eq!((rx.kept().len(), rx.unread().len()), (1, 0));
    }

    #[test]
    fn what_is_replaced_is_never_more_than_there_is() {
        let left = |framing, n| {
            let mut rx = RecvBuffer::new([0; 8]);
            rx.append(b"..head").unwrap();
            rx.skip(2);
            rx.replace(framing, n);
            (rx.kept().to_vec(), rx.unread().to_vec())
        };
        assert_eq!(left(1, 2), (b"ea".to_vec(), b"d".to_vec()));
        assert_eq!(left(1, 4), (b"ead".to_vec(), b"".to_vec()));
        assert_eq!(left(5, 0), (b"".to_vec(), b"".to_vec()));
    }

    #[test]
    fn nothing_moves_as_long_as_there_is_room_behind() {
        let mut rx = RecvBuffer::with_unread(*b"..ab....", 4);
        rx.skip(2);
        assert_eq!(rx.spare_mut(4), b"....");
        assert_eq!(rx.spare_mut(5), b"ab....");
        assert_eq!(rx.unread(), b"ab");
    }

    #[test]
    fn what_is_held_is_counted_without_the_gap() {
        let mut rx = RecvBuffer::new([0; 16]);
        assert!(rx.is_empty());
        rx.append(b"#abc##de").unwrap();
        assert!(!rx.is_empty(), "unread input is something");
        rx.skip(1);
        rx.keep(3);
        rx.skip(2);
        assert_eq!((rx.len(), rx.room(), rx.capacity()), (5, 11, 16));
        rx.skip(2);
        assert_eq!((rx.len(), rx.room()), (3, 13));
        assert!(!rx.is_empty(), "kept payload is something");
        rx.release();
        assert!(rx.is_empty());
        assert_eq!(rx.spare_mut(0).len(), 16, "an empty buffer begins at the front again");

        rx.append(b"ab").unwrap();
        rx.keep(1);
        rx.clear();
        assert_eq!((rx.kept(), rx.unread(), rx.is_empty()), (&b""[..], &b""[..], true));
    }

    #[test]
    fn both_views_of_the_same_bytes_can_be_written_through() {
        let mut rx = RecvBuffer::with_unread(*b"#abcd", 5);
        rx.skip(1);
        rx.keep(2);
        rx.kept_mut()[1] = b'B';
        rx.unread_mut()[0] = b'C';
        assert_eq!((rx.kept(), rx.unread()), (&b"aB"[..], &b"Cd"[..]));
    }

    #[test]
    fn a_writer_says_what_it_holds_and_takes_back_what_is_asked() {
        let mut memory = [0; 6];
        let mut out = Writer::new(&mut memory);
        assert!(out.is_empty());
        out.put(b"abc").unwrap();
        assert!(!out.is_empty());
        assert_eq!((out.len(), out.room()), (3, 3));
        out.claim(2).unwrap().copy_from_slice(b"de");
        assert_eq!(out.put(b"fg"), Err(Overflow));
        assert_eq!((out.written(), out.room()), (&b"abcde"[..], 1));
        out.truncate(9);
        assert_eq!(out.len(), 5);
        out.truncate(2);
        assert_eq!(out.written(), b"ab");
        assert_eq!(out.into_written(), b"ab");
    }

    #[test]
    fn compact_makes_all_free_space_spare() {
        let mut rx = RecvBuffer::with_unread(*b"-ab--cd", 7);
        rx.skip(1);
        rx.keep(2);
        rx.skip(2);
        rx.compact();
        assert_eq!((rx.kept(), rx.unread()), (&b"ab"[..], &b"cd"[..]));
        assert_eq!(rx.spare_mut(0).len(), 3);
        rx.compact();
        assert_eq!(rx.into_storage()[..4], *b"abcd");
    }
}
