//! [`Receipt`]: whether one message was handed to the kernel.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::error::SendError;
use crate::worker::wakers::WakerSlot;

/// The outcome of one message, from [`Socket::try_send_with_receipt`](crate::Socket::try_send_with_receipt): a future
/// that completes when the message was handed to the kernel, or will never be.
///
/// It completes with:
/// - `Ok`: the kernel has accepted all bytes of the message, over whichever transport took it. The client may not have
///   received them: only an answer of the client shows that.
/// - `Err(SendError::Closed)`: the session has ended before, or the connection broke while the message was written.
///
/// A receipt neither keeps the session open nor delays the message, and dropping it has no effect. If several tasks poll
/// clones of one receipt, the last is woken.
///
/// ```
/// use eio_monoio::{SendError, Socket};
///
/// /// Sends a line, and stores it for later if it was not handed over.
/// async fn deliver(socket: &Socket<()>, line: &str, store: impl Fn(&str)) -> Result<(), SendError> {
///     let sent = match socket.try_send_with_receipt(line) {
///         Ok(receipt) => receipt.await,
///         Err(error) => Err(error),
///     };
///     sent.inspect_err(|_| store(line))
/// }
/// ```
#[must_use = "it only reports the outcome; `try_send` costs less"]
#[derive(Clone)]
pub struct Receipt(Rc<Outcome>);

#[derive(Default)]
struct Outcome {
    result: Cell<Option<Result<(), SendError>>>,
    waiter: WakerSlot,
}

impl Receipt {
    /// The outcome, if it is known.
    pub fn outcome(&self) -> Option<Result<(), SendError>> {
        self.0.result.get()
    }
}

impl Future for Receipt {
    type Output = Result<(), SendError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.outcome() {
            Some(result) => Poll::Ready(result),
            None => {
                self.0.waiter.register(cx);
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receipt").field(&self.outcome()).finish()
    }
}

/// The side of the transport: it travels with the message. Dropping it reports [`SendError::Closed`].
pub(crate) struct Confirm(Rc<Outcome>);

impl Confirm {
    pub(crate) fn new() -> (Self, Receipt) {
        let outcome = Rc::<Outcome>::default();
        (Self(outcome.clone()), Receipt(outcome))
    }

    /// The kernel has all bytes of the message.
    pub(crate) fn sent(self) {
        self.0.result.set(Some(Ok(())));
    }
}

impl Drop for Confirm {
    fn drop(&mut self) {
        if self.0.result.get().is_none() {
            self.0.result.set(Some(Err(SendError::Closed)));
        }
        self.0.waiter.wake();
    }
}

/// The receipts of messages in a send buffer and in the write operation in progress, by where each message ends.
#[derive(Default)]
pub(crate) struct WriteConfirms {
    queued: VecDeque<(usize, Confirm)>,
    in_flight: VecDeque<(usize, Confirm)>,
}

impl WriteConfirms {
    /// Adds the message that ends after `end` bytes of the send buffer.
    pub(crate) fn add(&mut self, end: usize, confirm: Confirm) {
        self.queued.push_back((end, confirm));
    }

    /// The buffer is written from now on.
    pub(crate) fn begin(&mut self) {
        self.in_flight = std::mem::take(&mut self.queued);
    }

    /// Takes the next message that ends within the first `sent` bytes of the write.
    pub(crate) fn pop(&mut self, sent: usize) -> Option<Confirm> {
        let is_sent = self.in_flight.front().is_some_and(|(end, _)| *end <= sent);
        if is_sent { self.in_flight.pop_front().map(|(_, confirm)| confirm) } else { None }
    }

    /// Takes all messages, which will not be sent.
    pub(crate) fn take_unsent(&mut self) -> Self {
        std::mem::take(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_confirmed_up_to_the_bytes_that_were_accepted() {
        let mut confirms = WriteConfirms::default();
        let receipts: Vec<_> = [5, 9, 20]
            .into_iter()
            .map(|end| {
                let (confirm, receipt) = Confirm::new();
                confirms.add(end, confirm);
                receipt
            })
            .collect();
        let outcomes = || receipts.iter().map(Receipt::outcome).collect::<Vec<_>>();
        assert!(confirms.pop(100).is_none(), "nothing is written yet");
        confirms.begin();
        std::iter::from_fn(|| confirms.pop(19)).for_each(Confirm::sent);
        assert_eq!(outcomes(), [Some(Ok(())), Some(Ok(())), None]);
        drop(confirms.take_unsent());
        assert_eq!(outcomes()[2], Some(Err(SendError::Closed)));
    }
}
