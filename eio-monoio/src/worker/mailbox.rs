//! [`Mailbox`]: from any thread to one core.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::worker::net::Socket;
use crate::worker::yield_now;

/// Mail from any thread to one core: a vector under a mutex, and a socket pair as the bell. One bell per batch.
pub(crate) struct Mailbox<T> {
    /// None once the owner has ended.
    queue: Mutex<Option<Queued<T>>>,
    /// The owner may be asleep: the next sender rings.
    armed: AtomicBool,
    bell: UnixStream,
}

struct Queued<T> {
    items: Vec<T>,
    /// What they were said to weigh.
    bytes: usize,
}

/// Why a mailbox did not take an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undelivered {
    /// So much waits already.
    Full,
    /// The owner has ended.
    Closed,
}

/// The owner's end of a [`Mailbox`], made on the core that reads it.
pub(crate) struct MailboxReceiver {
    stream: Socket,
    /// The last call brought mail.
    had_items: Cell<bool>,
    /// Those who [step back](yield_now::yield_now) on this core are woken by it.
    of_worker: bool,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> io::Result<(Self, UnixStream)> {
        let (bell, wake_rx) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        let queue = Mutex::new(Some(Queued { items: Vec::new(), bytes: 0 }));
        Ok((Self { queue, armed: AtomicBool::new(true), bell }, wake_rx))
    }

    /// Posts one item. An owner that has ended does not get it.
    pub(crate) fn send(&self, item: T) {
        let _ = self.offer(item, 0, usize::MAX);
    }

    /// Posts one item of so many bytes, unless `limit` of them wait already. One may overshoot.
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
            wake_owner(&self.bell);
        }
        Ok(())
    }

    /// Waits for mail and swaps it into `into`, which must be empty.
    pub(crate) async fn recv(&self, bell: &MailboxReceiver, into: &mut Vec<T>) -> io::Result<()> {
        // Between two batches everything else gets its turn, however fast the senders are.
        let mut may_take = !bell.had_items.replace(false);
        loop {
            self.armed.store(true, Ordering::SeqCst);
            if may_take {
                if let Some(queue) = &mut *self.lock() {
                    std::mem::swap(&mut queue.items, into);
                    queue.bytes = 0;
                }
                if !into.is_empty() {
                    // What a sender rang for in between costs one empty turn.
                    self.armed.store(false, Ordering::SeqCst);
                    bell.had_items.set(true);
                    return Ok(());
                }
            } else if self.lock().as_ref().is_some_and(|queue| !queue.items.is_empty()) {
                wake_owner(&self.bell);
            }
            may_take = true;
            poll_fn(|cx| bell.stream.poll_readable(cx)).await?;
            if bell.stream.try_recv(&mut [0; 64])? == Some(0) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            yield_now::wake_all();
        }
    }

    /// The owner has ended: what nobody read is dropped, and what comes from now on.
    pub(crate) fn close(&self) {
        let unread = self.lock().take();
        drop(unread);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Queued<T>>> {
        // Nothing that can panic runs under the lock.
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl MailboxReceiver {
    /// For a mailbox that comes and goes.
    pub(crate) fn new(wake_rx: UnixStream) -> io::Result<Self> {
        let stream = Socket::from_fd(OwnedFd::from(wake_rx))?;
        Ok(Self { stream, had_items: Cell::new(false), of_worker: false })
    }

    /// For the mailbox of the core itself, which is read as long as anything runs on it.
    pub(crate) fn of_worker<T>(wake_rx: UnixStream, mailbox: &Mailbox<T>) -> io::Result<Self> {
        let sender = mailbox.bell.try_clone()?;
        let mut bell = Self::new(wake_rx)?;
        bell.of_worker = true;
        yield_now::set_bell(sender);
        Ok(bell)
    }
}

/// Has the owner of the other end look.
pub(crate) fn wake_owner(mut bell: &UnixStream) {
    // A full socket means that unheard bells are waiting: the owner will look.
    let _ = io::Write::write(&mut bell, b"!");
}

impl Drop for MailboxReceiver {
    fn drop(&mut self) {
        if !self.of_worker {
            return;
        }
        yield_now::end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_takes_nothing_but_what_weighs_nothing_until_it_is_read() {
        let (mailbox, _ear) = Mailbox::new().unwrap();
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
