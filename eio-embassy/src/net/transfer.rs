//! [`ConnBuffers`]: the buffers of one connection, and the transfer of bytes between them and the halves.

use core::cell::Cell;
use core::future::{pending, poll_fn};
use core::task::Poll;

use eio_core::buffer::RecvBuffer;
use eio_core::time::Instant;
use embassy_futures::select::{Either3, select3};
use embedded_io_async::{Read, Write};

use crate::buffers::SendBuffer;
use crate::error::{Closed, Error};
use crate::poll::poll_once;
use crate::time::sleep_until;

/// After this number of reads that were ready at once, the deadline, the writer and other futures of the task have a turn. A
/// socket holds fewer bytes that arrived before the deadline.
const READS_IN_A_ROW: u8 = 32;

/// The buffers of one connection. All state of a transfer is here, so a future that is dropped loses no byte.
#[derive(Debug)]
// In this order: Thumb instructions address the fields near the start of a struct in fewer bytes.
#[repr(C)]
pub(crate) struct ConnBuffers<'b> {
    /// The next decision needs at least this many more bytes.
    pub(crate) need: usize,
    /// The writer accepted bytes that it was not yet asked to flush.
    flush_due: bool,
    /// Reads that were ready at once, one after another.
    reads: u8,
    /// Messages in `out`, or written after the last flush was complete.
    pub(crate) unconfirmed: u32,
    /// Why the connection cannot receive or send any more.
    lost: Option<Error>,
    pub(crate) rx: RecvBuffer<&'b mut [u8]>,
    pub(crate) out: SendBuffer<'b>,
}

impl<'b> ConnBuffers<'b> {
    pub(crate) fn new(rx: &'b mut [u8], tx: &'b mut [u8]) -> Self {
        let (rx, out) = (RecvBuffer::new(rx), SendBuffer::new(tx));
        Self { rx, out, need: 1, flush_due: false, reads: 0, unconfirmed: 0, lost: None }
    }

    pub(crate) fn into_memory(self) -> (&'b mut [u8], &'b mut [u8]) {
        (self.rx.into_storage(), self.out.into_memory())
    }

    /// Why the connection cannot receive or send any more: the end of the stream, or an error of a half.
    pub(crate) const fn lost(&self) -> Option<Error> {
        self.lost
    }

    /// The connection failed. Bytes received before stay.
    pub(crate) fn lose(&mut self, error: Error) {
        self.lost = Some(error);
        self.flush_due = false;
        self.out.clear();
    }

    /// Another connection follows. Received bytes are discarded, bytes to send stay.
    pub(crate) fn reset(&mut self) {
        self.flush_due = false;
        self.lost = None;
        self.rx.clear();
    }

    /// Whether bytes have to be written or flushed.
    pub(crate) fn has_unsent(&self) -> bool {
        self.lost.is_none() && (!self.out.is_empty() || self.flush_due)
    }

    /// Waits for one read (if `receive`), write or flush, whichever is ready first, or until `deadline`: then the
    /// result is true. A lost connection is never ready.
    pub(crate) async fn transfer<R: Read, W: Write>(
        &mut self,
        reader: &mut R,
        writer: &mut W,
        receive: bool,
        deadline: Option<Instant>,
    ) -> bool {
        let reads = core::mem::take(&mut self.reads);
        let (spare, unsent, flush) = self.pending(receive);
        let read = async {
            if spare.is_empty() {
                return pending().await;
            }
            // Two turns, because a timer that has expired is not ready at its first poll.
            let mut turns = if reads == READS_IN_A_ROW { 2 } else { 0 };
            poll_fn(|context| match turns {
                0 => Poll::Ready(()),
                _ => {
                    turns -= 1;
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            })
            .await;
            reader.read(spare).await
        };
        let waited = Cell::new(false);
        let write = async {
            waited.set(true);
            if !unsent.is_empty() {
                writer.write(unsent).await
            } else if flush {
                writer.flush().await.map(|()| 0)
            } else {
                pending().await
            }
        };
        // Reading first: bytes that arrived in time count, even if they are processed late.
        match select3(read, write, sleep_until(deadline)).await {
            Either3::First(result) => {
                self.reads = if waited.get() { 0 } else { reads + 1 };
                self.received(result.map_err(|error| Error::io(&error)));
            }
            Either3::Second(result) => self.written(result.map_err(|error| Error::io(&error))),
            Either3::Third(()) => return true,
        }
        false
    }

    /// Room to receive into, bytes to write, and whether to flush.
    fn pending(&mut self, receive: bool) -> (&mut [u8], &[u8], bool) {
        if self.lost.is_some() {
            return (&mut [], &[], false);
        }
        let spare = if receive { self.rx.spare_mut(self.need) } else { &mut [] };
        (spare, self.out.unsent(), self.flush_due)
    }

    /// Bytes were received into the spare room. Zero bytes: the peer closed the connection.
    fn received(&mut self, result: Result<usize, Error>) {
        match result {
            Ok(0) => self.lose(Error::Closed(Closed::TransportClose)),
            Ok(n) => self.rx.fill(n),
            Err(error) => self.lose(error),
        }
    }

    /// Writes as much as the connection accepts without waiting.
    pub(crate) async fn write_now<W: Write>(&mut self, writer: &mut W) {
        loop {
            let (_, unsent, _) = self.pending(false);
            if unsent.is_empty() {
                return;
            }
            match poll_once(writer.write(unsent)).await {
                Poll::Ready(result) => self.written(result.map_err(|error| Error::io(&error))),
                Poll::Pending => return,
            }
        }
    }

    /// The writer accepted bytes. Zero bytes: it flushed.
    fn written(&mut self, result: Result<usize, Error>) {
        match result {
            Ok(n) => {
                self.out.consume(n);
                self.flush_due = n > 0;
                if n == 0 {
                    self.unconfirmed = 0;
                }
            }
            Err(error) => self.lose(error),
        }
    }
}
