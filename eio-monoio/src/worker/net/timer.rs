//! [`Timer`]: a timer of the kernel, which a worker waits for as for a socket.
//!
//! The timers of the runtime would read the clock twice in each turn of the worker and limit each of its waits: 350
//! instructions of a turn, whether a timer is due or not.

use std::future::poll_fn;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::socket::Socket;
use super::sys;

/// One time to wait for, of one task.
pub(crate) struct Timer {
    /// Its descriptor is waited for as that of a socket, and never sends or receives.
    socket: Socket,
}

impl Timer {
    /// A timer without a time.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: takes no pointer.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has opened this descriptor, and nothing else owns it.
        Ok(Self { socket: Socket::adopt(unsafe { OwnedFd::from_raw_fd(fd) })? })
    }

    /// Expires `after` this time from now, never earlier; with `None`, not at all. Replaces the time set before.
    pub(crate) fn set(&self, after: Option<Duration>) {
        sys::set_timer(self.socket.raw(), after);
    }

    /// Ready once when the time has passed, or if the kernel cannot wait for it.
    pub(crate) fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let waited = ready!(self.socket.poll_readable(cx));
            // After a wait that had completed before the time was replaced, the timer has not expired.
            if waited.is_err() || sys::take_expiration(self.socket.raw()) {
                return Poll::Ready(());
            }
        }
    }
}

/// Completes after `duration`, or at once if there is no descriptor for a timer.
pub(super) async fn sleep(duration: Duration) {
    if let Ok(timer) = Timer::new() {
        timer.set(Some(duration));
        poll_fn(|cx| timer.poll_expired(cx)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Instant;

    use super::super::{Driver, Runtime};
    use super::*;

    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(3600);

    fn with_timer(test: impl AsyncFn(&Timer)) {
        for driver in [Driver::Epoll, Driver::Auto] {
            let (mut runtime, _) = Runtime::build(driver).unwrap();
            runtime.block_on(async { test(&Timer::new().unwrap()).await });
        }
    }

    async fn expired(timer: &Timer) {
        poll_fn(|cx| timer.poll_expired(cx)).await;
    }

    fn is_pending(timer: &Timer) -> bool {
        timer.poll_expired(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[test]
    fn a_timer_expires_once_and_not_early() {
        with_timer(async |timer| {
            for after in [SHORT, Duration::ZERO, SHORT] {
                let begun = Instant::now();
                timer.set(Some(after));
                expired(timer).await;
                assert!(begun.elapsed() >= after);
                assert!(is_pending(timer));
            }
        });
    }

    #[test]
    fn a_time_replaces_the_one_before() {
        with_timer(async |timer| {
            timer.set(Some(LONG));
            assert!(is_pending(timer));
            timer.set(Some(SHORT));
            expired(timer).await;
            // The time has passed, and is replaced before the wait learns it.
            for later in [Some(LONG), None] {
                timer.set(Some(SHORT));
                assert!(is_pending(timer));
                std::thread::sleep(SHORT * 2);
                timer.set(later);
                sleep(SHORT).await;
                assert!(is_pending(timer));
            }
            timer.set(Some(SHORT));
            expired(timer).await;
        });
    }
}
