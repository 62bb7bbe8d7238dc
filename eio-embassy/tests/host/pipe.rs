//! A connection in memory.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};

/// The limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes in flight in one direction.
    pub(crate) capacity: usize,
    /// Bytes of one read or write.
    pub(crate) step: usize,
    /// Every read and write is pending once before it is ready.
    pub(crate) stutter: bool,
}

pub(crate) const UNLIMITED: Limits = Limits { capacity: 4096, step: usize::MAX, stutter: false };

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    closed: bool,
    broken: bool,
    wakers: Vec<Waker>,
}

/// One direction.
#[derive(Clone, Debug)]
struct Wire {
    state: Rc<RefCell<State>>,
    limits: Limits,
}

#[derive(Debug)]
pub(crate) struct Reader {
    wire: Wire,
    stuttered: bool,
}

#[derive(Debug)]
pub(crate) struct Writer {
    wire: Wire,
    stuttered: bool,
}

/// Two endpoints, each with its halves.
pub(crate) fn pair(limits: Limits) -> ((Reader, Writer), (Reader, Writer)) {
    let wire = || Wire { state: Rc::default(), limits };
    let (up, down) = (wire(), wire());
    let end = |from: &Wire, to: &Wire| {
        let reader = Reader { wire: from.clone(), stuttered: false };
        (reader, Writer { wire: to.clone(), stuttered: false })
    };
    (end(&down, &up), end(&up, &down))
}

impl Writer {
    /// Resets the connection: the peer reads an error after the bytes written so far.
    pub(crate) fn reset(&self) {
        self.wire.state.borrow_mut().broken = true;
        self.wire.wake();
    }
}

impl Wire {
    fn wake(&self) {
        let wakers = std::mem::take(&mut self.state.borrow_mut().wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    async fn transfer(
        &self,
        stuttered: &mut bool,
        mut attempt: impl FnMut(&mut State) -> Option<Result<usize, ErrorKind>>,
    ) -> Result<usize, ErrorKind> {
        let done = poll_fn(|context| {
            if self.limits.stutter && !std::mem::replace(stuttered, true) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut state = self.state.borrow_mut();
            match attempt(&mut state) {
                Some(done) => {
                    *stuttered = false;
                    Poll::Ready(done)
                }
                None => {
                    state.wakers.push(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        self.wake();
        done
    }
}

impl ErrorType for Reader {
    type Error = ErrorKind;
}

impl ErrorType for Writer {
    type Error = ErrorKind;
}

impl Read for Reader {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, ErrorKind> {
        assert!(!into.is_empty(), "a read without room looks like the end of the stream");
        let step = self.wire.limits.step;
        self.wire
            .transfer(&mut self.stuttered, |state| {
                let n = into.len().min(state.bytes.len()).min(step);
                for (slot, byte) in into.iter_mut().zip(state.bytes.drain(..n)) {
                    *slot = byte;
                }
                match n {
                    0 if state.broken => Some(Err(ErrorKind::ConnectionReset)),
                    0 if !state.closed => None,
                    n => Some(Ok(n)),
                }
            })
            .await
    }
}

impl Write for Writer {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let Limits { capacity, step, .. } = self.wire.limits;
        self.wire
            .transfer(&mut self.stuttered, |state| {
                if state.closed {
                    return Some(Err(ErrorKind::BrokenPipe));
                }
                let n = bytes.len().min(capacity - state.bytes.len()).min(step);
                state.bytes.extend(&bytes[..n]);
                (n > 0 || bytes.is_empty()).then_some(Ok(n))
            })
            .await
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.wire.state.borrow_mut().closed = true;
        self.wire.wake();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.wire.state.borrow_mut().closed = true;
        self.wire.wake();
    }
}
