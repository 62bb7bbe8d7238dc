//! The runtime of a worker: its I/O driver and tasks.

use std::fmt;
use std::future::Future;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

use super::sys;
use super::timer::sleep;

/// The kernel interface that a worker uses for I/O, an option of a server ([`Config::driver`](crate::Config::driver))
/// and of [`client::block_on`](crate::client::block_on).
///
/// **Default:** [`Auto`](Self::Auto). Its text form is `auto`, `io-uring` or `epoll`, for command lines and
/// configuration files:
///
/// ```
/// use eio_monoio::Driver;
///
/// assert_eq!("io-uring".parse(), Ok(Driver::IoUring));
/// assert_eq!(Driver::default().to_string(), "auto");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Driver {
    /// io_uring if the kernel, seccomp and the locked-memory limit allow it, else epoll.
    #[default]
    Auto,
    /// io_uring. If it is not available, the server or client fails to start.
    IoUring,
    /// epoll.
    Epoll,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::IoUring => "io-uring",
            Self::Epoll => "epoll",
        })
    }
}

impl FromStr for Driver {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "io-uring" => Ok(Self::IoUring),
            "epoll" => Ok(Self::Epoll),
            _ => Err("expected auto, io-uring or epoll"),
        }
    }
}

/// A runtime. It must be built on the thread that runs it: SINGLE_ISSUER binds a ring to its thread.
pub(crate) enum Runtime {
    IoUring(monoio::Runtime<IoUringDriver>),
    Epoll(monoio::Runtime<LegacyDriver>),
}

impl Runtime {
    /// Tries the ring set-ups in order of preference and uses the first that works. The runtime's own fallback does
    /// not cover a locked-memory limit that is only slightly too small. With [`Driver::Auto`], also returns why there is no
    /// ring.
    pub(crate) fn build(driver: Driver) -> io::Result<(Self, Option<io::Error>)> {
        if driver == Driver::Epoll {
            return Ok((epoll()?, None));
        }
        let ring = sys::check_io_uring_enter().and_then(|()| {
            io_uring_with(Completions::Deferred, 1024)
                .or_else(|_| io_uring_with(Completions::Cooperative, 1024))
                .or_else(|_| io_uring_with(Completions::Interrupting, 256))
        });
        match (driver, ring) {
            (_, Ok(runtime)) => Ok((runtime, None)),
            (Driver::Auto, Err(error)) => {
                crate::log::debug!(%error, "io_uring refused, falling back to epoll");
                Ok((epoll()?, Some(error)))
            }
            (_, Err(error)) => {
                let why = "no io_uring; the kernel, seccomp or the locked-memory limit refuses it";
                Err(io::Error::new(error.kind(), format!("{why}: {error}")))
            }
        }
    }

    /// The interface in use, never [`Driver::Auto`].
    pub(crate) fn driver(&self) -> Driver {
        match self {
            Self::IoUring(_) => Driver::IoUring,
            Self::Epoll(_) => Driver::Epoll,
        }
    }

    pub(crate) fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        match self {
            Self::IoUring(runtime) => {
                let output = runtime.block_on(future);
                // The kernel ends cancelled operations during a wait, and a listener is closed after its own has ended.
                runtime.block_on(sleep(Duration::from_millis(1)));
                output
            }
            Self::Epoll(runtime) => runtime.block_on(future),
        }
    }
}

/// When the kernel does the work of a completion on the worker's thread.
enum Completions {
    /// During the wait for completions: DEFER_TASKRUN (Linux 6.1). A wake-up of the thread costs less: 3 % of an echo over
    /// two connections, 8 % of a session that opens and closes. No completion arrives while a task is ready, which
    /// [`yield_now`](crate::worker::yield_now) and [`task_waker`](crate::worker::task_waker) limit.
    Deferred,
    /// When the thread enters or leaves the kernel: COOP_TASKRUN (Linux 6.0, with SINGLE_ISSUER).
    Cooperative,
    /// At any time, by an interrupt, which is about a fifth of the cost of a small echo.
    Interrupting,
}

fn io_uring_with(completions: Completions, entries: u32) -> io::Result<Runtime> {
    let mut ring = io_uring::IoUring::builder();
    match completions {
        Completions::Deferred => ring.setup_defer_taskrun().setup_single_issuer(),
        Completions::Cooperative => ring.setup_coop_taskrun().setup_single_issuer(),
        Completions::Interrupting => &mut ring,
    };
    let builder = RuntimeBuilder::<IoUringDriver>::new();
    let runtime = builder.uring_builder(ring).with_entries(entries).build()?;
    Ok(Runtime::IoUring(runtime))
}

fn epoll() -> io::Result<Runtime> {
    let builder = RuntimeBuilder::<LegacyDriver>::new();
    Ok(Runtime::Epoll(builder.with_entries(1024).build()?))
}

/// Runs `future` as a task of this worker.
#[inline(always)]
pub(crate) fn spawn(future: impl Future<Output = ()> + 'static) {
    drop(monoio::spawn(future));
}
