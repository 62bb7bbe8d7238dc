//! [`Mailbox`]: a queue from any thread to one worker.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::worker::mailbox_waker::MailboxWaker;
use crate::worker::net::Socket;
use crate::worker::{task_waker, yield_now};

/// Items from any thread to one worker: a vector under a mutex, and a waker. Each batch of items costs one wake-up.
pub(crate) struct Mailbox<T> {
    /// `None` after the owner has ended.
    queue: Mutex<Option<Queue<T>>>,
    /// The owner may be asleep: the next sender wakes it.
    armed: AtomicBool,
    waker: MailboxWaker,
}

struct Queue<T> {
    items: Vec<T>,
    /// The sum of the sizes that the senders gave.
    bytes: usize,
}

/// Why a mailbox did not take an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undelivered {
    /// The queue has reached its limit.
    Full,
    /// The owner has ended.
    Closed,
}

/// The owner's side of a [`Mailbox`], made on the worker that reads it.
pub(crate) struct MailboxReceiver {
    socket: Socket,
    /// The last call returned items.
    had_items: Cell<bool>,
    /// It also wakes the tasks of this worker that have [yielded](yield_now::yield_now).
    of_worker: bool,
}

impl<T> Mailbox<T> {
    /// A mailbox, and the socket for its [`MailboxReceiver`].
    pub(crate) fn new() -> io::Result<(Self, UnixStream)> {
        let (waker, wake_rx) = MailboxWaker::pair()?;
        let queue = Mutex::new(Some(Queue { items: Vec::new(), bytes: 0 }));
        Ok((Self { queue, armed: AtomicBool::new(true), waker }, wake_rx))
    }

    /// Sends one item. If the owner has ended, the item is dropped.
    pub(crate) fn send(&self, item: T) {
        let _ = self.offer(item, 0, usize::MAX);
    }

    /// Sends one item of `bytes` bytes, unless `limit` bytes are queued already. One item may exceed the limit.
    pub(crate) fn offer(&self, item: T, bytes: usize, limit: usize) -> Result<(), Undelivered> {
        match &mut *self.lock() {
            Some(queue) if queue.bytes >= limit => return Err(Undelivered::Full),
            Some(queue) => {
                queue.items.push(item);
                queue.bytes = queue.bytes.saturating_add(bytes);
            }
            None => return Err(Undelivered::Closed),
        }
        if self.armed.swap(false, Ordering::AcqRel) {
            self.waker.wake();
        }
        Ok(())
    }

    /// Waits for items and swaps them into `into`, which must be empty.
    pub(crate) async fn recv(
        &self,
        receiver: &MailboxReceiver,
        into: &mut Vec<T>,
    ) -> io::Result<()> {
        // Between two batches all other tasks run, however fast the senders are.
        let mut may_take = !receiver.had_items.replace(false);
        loop {
            self.armed.store(true, Ordering::SeqCst);
            if may_take {
                if let Some(queue) = &mut *self.lock() {
                    std::mem::swap(&mut queue.items, into);
                    queue.bytes = 0;
                }
                if !into.is_empty() {
                    // A wake-up that a sender caused in between costs one call that finds nothing.
                    self.armed.store(false, Ordering::SeqCst);
                    receiver.had_items.set(true);
                    return Ok(());
                }
            } else if self.lock().as_ref().is_some_and(|queue| !queue.items.is_empty()) {
                self.waker.wake();
            }
            may_take = true;
            poll_fn(|cx| receiver.socket.poll_readable(cx)).await?;
            if receiver.socket.try_recv(&mut [0; 64])? == Some(0) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            yield_now::wake_all();
            task_waker::wake_posted();
        }
    }

    /// The owner has ended: drops queued items, and all that are sent from now on.
    pub(crate) fn close(&self) {
        let unread = self.lock().take();
        drop(unread);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Queue<T>>> {
        // Nothing that can panic runs under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MailboxReceiver {
    /// For a mailbox that may end before its worker.
    pub(crate) fn new(wake_rx: UnixStream) -> io::Result<Self> {
        let socket = Socket::from_fd(OwnedFd::from(wake_rx))?;
        Ok(Self { socket, had_items: Cell::new(false), of_worker: false })
    }

    /// For the mailbox of the worker itself, which is read as long as any task runs on it.
    pub(crate) fn of_worker<T>(wake_rx: UnixStream, mailbox: &Mailbox<T>) -> io::Result<Self> {
        let waker = mailbox.waker.try_clone()?;
        let mut receiver = Self::new(wake_rx)?;
        receiver.of_worker = true;
        task_waker::set_waker(waker.try_clone()?);
        yield_now::set_waker(waker);
        Ok(receiver)
    }
}

impl Drop for MailboxReceiver {
    fn drop(&mut self) {
        if self.of_worker {
            yield_now::clear_waker();
            task_waker::clear_waker();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_refuses_offers_and_accepts_sends() {
        let (mailbox, _wake_rx) = Mailbox::new().unwrap();
        assert_eq!(mailbox.offer(1, 60, 100), Ok(()));
        assert_eq!(mailbox.offer(2, 60, 100), Ok(()));
        assert_eq!(mailbox.offer(3, 1, 100), Err(Undelivered::Full));
        mailbox.send(4);
        let read = {
            let mut queue = mailbox.lock();
            let queue = queue.as_mut().unwrap();
            (queue.bytes, std::mem::take(&mut queue.items))
        };
        assert_eq!(read, (120, vec![1, 2, 4]));
        mailbox.close();
        assert_eq!(mailbox.offer(5, 0, 100), Err(Undelivered::Closed));
    }
}
