//! [`ConnBuffers`]: the buffers of one connection, and the transfer of bytes between them and its halves.

use core::future::pending;
use core::task::Poll;

use eio_core::buffer::RecvBuffer;
use embassy_futures::poll_once;
use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};

use crate::buffers::Outbox;
use crate::error::{Closed, Error};

/// The buffers of one connection. All state of a transfer is here, so a future that is dropped loses no byte.
#[derive(Debug)]
pub(crate) struct ConnBuffers<'b> {
    pub(crate) rx: RecvBuffer<&'b mut [u8]>,
    pub(crate) out: Outbox<'b>,
    /// The next decision needs at least this many more bytes.
    pub(crate) need: usize,
    /// The writer accepted bytes that it was not yet asked to flush.
    flush_due: bool,
    /// Why the connection cannot receive or send any more.
    lost: Option<Error>,
}

impl<'b> ConnBuffers<'b> {
    pub(crate) fn new(rx: &'b mut [u8], tx: &'b mut [u8]) -> Self {
        let (rx, out) = (RecvBuffer::new(rx), Outbox::new(tx));
        Self { rx, out, need: 1, flush_due: false, lost: None }
    }

    pub(crate) fn into_memory(self) -> (&'b mut [u8], &'b mut [u8]) {
        (self.rx.into_storage(), self.out.into_memory())
    }

    /// Why the connection cannot receive or send any more: end of the stream, or an error of the halves.
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

    /// Waits for one read (if `receive`), write or flush, whichever is ready first. Pending forever on a lost
    /// connection.
    pub(crate) async fn transfer<R: Read, W: Write>(
        &mut self,
        reader: &mut R,
        writer: &mut W,
        receive: bool,
    ) {
        if self.lost.is_some() {
            return pending().await;
        }
        let spare = if receive { self.rx.spare_mut(self.need) } else { &mut [] };
        let (unsent, flush) = (self.out.unsent(), self.flush_due);
        let read =
            async { if spare.is_empty() { pending().await } else { reader.read(spare).await } };
        let write = async {
            if !unsent.is_empty() {
                writer.write(unsent).await
            } else if flush {
                writer.flush().await.map(|()| 0)
            } else {
                pending().await
            }
        };
        // Reading first: bytes that arrived in time count, even if they are processed late.
        match select(read, write).await {
            Either::First(Ok(0)) => self.lose(Error::Closed(Closed::Silently)),
            Either::First(Ok(n)) => self.rx.fill(n),
            Either::First(Err(error)) => self.lose(Error::io(&error)),
            Either::Second(result) => self.written(result),
        }
    }

    /// Writes as much as the connection accepts without waiting.
    pub(crate) fn write_now<W: Write>(&mut self, writer: &mut W) {
        while self.lost.is_none() && !self.out.is_empty() {
            match poll_once(writer.write(self.out.unsent())) {
                Poll::Ready(result) => self.written(result),
                Poll::Pending => return,
            }
        }
    }

    /// The writer accepted bytes; zero: it flushed.
    fn written<E: embedded_io_async::Error>(&mut self, result: Result<usize, E>) {
        match result {
            Ok(n) => {
                self.out.taken(n);
                self.flush_due = n > 0;
            }
            Err(error) => self.lose(Error::io(&error)),
        }
    }
}
