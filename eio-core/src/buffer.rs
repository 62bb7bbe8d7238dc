//! [`RecvBuffer`], the receive buffer of all decoders, and [`Sink`] and [`Writer`], the output of all encoders.
//!
//! A fragmented WebSocket message and a chunked HTTP body are the same problem: payload separated by framing.
//! `RecvBuffer` solves it once, in memory that its owner lends:
//!
//! ```text
//!  0      start      kept      head        tail      capacity
//!  | free | kept payload | gap | unread bytes | spare  |
//! ```
//!
//! A decoder reads the unread bytes and either [keeps](RecvBuffer::keep) them as payload or [skips](RecvBuffer::skip)
//! them as framing. Kept payload is contiguous; bytes after it (the next frame, a pipelined request) stay unread. Bytes
//! move only when payload is kept across a gap.

/// The output has no room. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Overflow;

impl core::fmt::Display for Overflow {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the output buffer is full")
    }
}

impl core::error::Error for Overflow {}

/// Received bytes in storage that the caller lends, see the [module](self).
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

/// The positions inside a [`RecvBuffer`], separate from its storage.
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

    /// A buffer whose first `filled` bytes are unread; at most all of `storage`.
    pub fn with_unread(storage: S, filled: usize) -> Self {
        let mut rx = Self::new(storage);
        rx.fill(filled);
        rx
    }

    /// The payload kept so far.
    #[inline]
    pub fn kept(&self) -> &[u8] {
        &self.storage.as_ref()[self.marks.start..self.marks.kept]
    }

    /// The payload kept so far, for parsers that work in place (unmasking, base64).
    #[inline]
    pub fn kept_mut(&mut self) -> &mut [u8] {
        &mut self.storage.as_mut()[self.marks.start..self.marks.kept]
    }

    /// The length of [`kept`](Self::kept) in bytes, without access to the storage.
    #[inline]
    pub(crate) fn kept_len(&self) -> usize {
        self.marks.kept - self.marks.start
    }

    /// The bytes that no decoder has kept or skipped.
    #[inline]
    pub fn unread(&self) -> &[u8] {
        &self.storage.as_ref()[self.marks.head..self.marks.tail]
    }

    /// The bytes that no decoder has kept or skipped, mutable.
    #[inline]
    pub fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.storage.as_mut()[self.marks.head..self.marks.tail]
    }

    /// Makes the next `n` unread bytes payload, directly after the bytes kept before; at most all unread bytes.
    pub fn keep(&mut self, n: usize) {
        let m = &mut self.marks;
        let n = n.min(m.tail - m.head);
        if m.start == m.kept {
            // No payload kept yet: it starts where it is, and no byte moves.
            (m.start, m.kept) = (m.head, m.head);
        } else if m.kept != m.head {
            self.storage.as_mut().copy_within(m.head..m.head + n, m.kept);
        }
        m.kept += n;
        m.head += n;
    }

    /// Skips `framing` bytes and keeps the next `n`, and drops the bytes kept before. No byte moves. At most all unread
    /// bytes are skipped or kept.
    #[inline]
    pub(crate) fn replace(&mut self, framing: usize, n: usize) {
        let m = &mut self.marks;
        m.start = m.head + framing.min(m.tail - m.head);
        m.kept = m.start + n.min(m.tail - m.start);
        m.head = m.kept;
    }

    /// Drops the next `n` unread bytes; at most all.
    #[inline]
    pub fn skip(&mut self, n: usize) {
        self.marks.head += n.min(self.marks.tail - self.marks.head);
    }

    /// Drops the kept payload; unread bytes stay where they are.
    #[inline]
    pub fn release(&mut self) {
        let m = &mut self.marks;
        if m.head == m.tail {
            *m = Marks::default();
        } else {
            (m.start, m.kept) = (m.head, m.head);
        }
    }

    /// Drops the first `n` bytes of the kept payload; at most all. No byte moves.
    pub fn release_front(&mut self, n: usize) {
        self.marks.start += n.min(self.kept_len());
    }

    /// Drops the kept payload and the unread bytes.
    pub fn clear(&mut self) {
        self.marks = Marks::default();
    }

    /// Whether the buffer holds neither payload nor unread bytes, so that its storage can be reused.
    pub fn is_empty(&self) -> bool {
        self.marks.start == self.marks.kept && self.marks.head == self.marks.tail
    }

    /// The size of the storage in bytes.
    pub fn capacity(&self) -> usize {
        self.storage.as_ref().len()
    }

    /// Bytes in use: kept payload and unread bytes, without the gap between them.
    pub fn len(&self) -> usize {
        (self.marks.kept - self.marks.start) + (self.marks.tail - self.marks.head)
    }

    /// How many more bytes fit after [`compact`](Self::compact).
    pub fn room(&self) -> usize {
        self.capacity() - self.len()
    }

    /// The free space after the unread bytes, to receive into; call [`fill`](Self::fill) afterwards. If less than
    /// `wanted` bytes are free there, it [compacts](Self::compact) first, so the result can still be shorter than
    /// `wanted`.
    #[inline]
    pub fn spare_mut(&mut self, wanted: usize) -> &mut [u8] {
        if self.capacity() - self.marks.tail < wanted {
            self.compact();
        }
        &mut self.storage.as_mut()[self.marks.tail..]
    }

    /// Adds the `n` bytes that were received into [`spare_mut`](Self::spare_mut); at most all spare bytes.
    #[inline]
    pub fn fill(&mut self, n: usize) {
        self.marks.tail += n.min(self.capacity() - self.marks.tail);
    }

    /// Copies `bytes` after the unread bytes.
    ///
    /// # Errors
    /// [`Overflow`], with nothing copied, if they do not fit even after [`compact`](Self::compact).
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        let spare = self.spare_mut(bytes.len());
        spare.get_mut(..bytes.len()).ok_or(Overflow)?.copy_from_slice(bytes);
        self.fill(bytes.len());
        Ok(())
    }

    /// Copies kept and unread bytes into other storage and returns the old storage. A connection uses it to take an
    /// unfinished message out of a shared buffer, or to grow.
    ///
    /// # Errors
    /// The unchanged buffer and the new storage, if that is smaller than [`len`](Self::len).
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

    /// Returns the storage.
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

/// The output of encoders: a growing buffer of a server, or a fixed one of a microcontroller.
pub trait Sink {
    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`Overflow`], with nothing written.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Overflow>;

    /// Appends `n` bytes that the caller overwrites; until then their content is initialised but unspecified.
    ///
    /// # Errors
    /// [`Overflow`], with nothing appended.
    fn claim(&mut self, n: usize) -> Result<&mut [u8], Overflow>;

    /// Appends all `parts` in order. Override it if [`claim`](Self::claim) has to zero memory.
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

    /// The bytes written so far.
    #[inline]
    pub fn written(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    /// The number of bytes written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of bytes that still fit.
    pub fn room(&self) -> usize {
        self.memory.len() - self.len
    }

    /// Keeps the first `len` bytes and drops the rest, to undo writes after `len` was read.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The bytes written, for the lifetime of the memory.
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
    fn put_all_writes_all_parts_or_none() {
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
    fn first_payload_is_kept_without_a_move() {
        let mut rx = RecvBuffer::with_unread(*b"..abc", 5);
        rx.skip(2);
        rx.keep(3);
        assert_eq!(rx.kept(), b"abc");
        assert_eq!(rx.into_storage(), *b"..abc");
    }

    #[test]
    fn kept_payload_is_contiguous_and_later_bytes_stay_unread() {
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
    fn compact_frees_the_gap_and_the_front() {
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
    fn transfer_copies_kept_and_unread_and_rejects_smaller_storage() {
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
    fn counts_beyond_the_end_are_clamped() {
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
    fn replace_is_clamped_to_the_unread_bytes() {
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
    fn spare_mut_moves_bytes_only_if_space_is_short() {
        let mut rx = RecvBuffer::with_unread(*b"..ab....", 4);
        rx.skip(2);
        assert_eq!(rx.spare_mut(4), b"....");
        assert_eq!(rx.spare_mut(5), b"ab....");
        assert_eq!(rx.unread(), b"ab");
    }

    #[test]
    fn len_excludes_the_gap() {
        let mut rx = RecvBuffer::new([0; 16]);
        assert!(rx.is_empty());
        rx.append(b"#abc##de").unwrap();
        assert!(!rx.is_empty(), "unread bytes count");
        rx.skip(1);
        rx.keep(3);
        rx.skip(2);
        assert_eq!((rx.len(), rx.room(), rx.capacity()), (5, 11, 16));
        rx.skip(2);
        assert_eq!((rx.len(), rx.room()), (3, 13));
        assert!(!rx.is_empty(), "kept payload counts");
        rx.release();
        assert!(rx.is_empty());
        assert_eq!(rx.spare_mut(0).len(), 16, "an empty buffer starts at the front again");

        rx.append(b"ab").unwrap();
        rx.keep(1);
        rx.clear();
        assert_eq!((rx.kept(), rx.unread(), rx.is_empty()), (&b""[..], &b""[..], true));
    }

    #[test]
    fn kept_and_unread_bytes_are_mutable() {
        let mut rx = RecvBuffer::with_unread(*b"#abcd", 5);
        rx.skip(1);
        rx.keep(2);
        rx.kept_mut()[1] = b'B';
        rx.unread_mut()[0] = b'C';
        assert_eq!((rx.kept(), rx.unread()), (&b"aB"[..], &b"Cd"[..]));
    }

    #[test]
    fn writer_counts_and_truncates() {
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
