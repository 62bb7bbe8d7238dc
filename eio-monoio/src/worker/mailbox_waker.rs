//! [`MailboxWaker`]: wakes the runtime of a worker from any thread.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;

/// The sending end of a socket pair. The worker waits for the receiving end to become readable.
pub(crate) struct MailboxWaker(UnixStream);

impl MailboxWaker {
    /// A waker, and the socket that the worker waits on.
    pub(crate) fn pair() -> io::Result<(Self, UnixStream)> {
        let (waker, wake_rx) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        Ok((Self(waker), wake_rx))
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    pub(crate) fn wake(&self) {
        // A full socket has wake-ups that the worker has yet to receive, so it will wake.
        let _ = (&self.0).write(b"!");
    }
}
