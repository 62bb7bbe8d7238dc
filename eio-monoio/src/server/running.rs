//! [`Running`]: the handle of a server that runs.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use crate::error::ServeError;
#[cfg(feature = "nats")]
use crate::server::cluster::node::Node;
use crate::server::listener::{Endpoint, SocketFile};
use crate::server::remote::Remote;
use crate::server::shard::shared::ServerShared;
use crate::server::signals::SignalWatch;
use crate::server::watch::Watch;
use crate::worker::net::Driver;

/// The message of a worker that accepts connections.
pub(super) struct Started {
    pub(super) driver: Driver,
    /// Why it has no ring, with [`Driver::Auto`].
    pub(super) refused: Option<io::Error>,
}

/// A running server. Dropping it shuts the server down and waits for the end.
///
/// ```
/// # use eio_monoio::Server;
/// # fn start<H: eio_monoio::Handler>(
/// #     new_handler: impl Fn() -> H + Send + Sync + 'static,
/// # ) -> Result<(), eio_monoio::ServeError> {
/// let running = Server::new(new_handler).bind("127.0.0.1:0")?;
/// println!("ws://{}/engine.io/ on {}", running.local_addr(), running.driver());
///
/// // From any thread: a `Remote` sends to sessions and ends the server.
/// let remote = running.remote();
/// std::thread::spawn(move || {
///     std::thread::sleep(std::time::Duration::from_secs(60));
///     remote.shutdown();
/// });
/// running.join()
/// # }
/// ```
#[must_use = "dropping it ends the server: call `join`, or keep it"]
pub struct Running {
    endpoints: Vec<Endpoint>,
    file: Option<SocketFile>,
    /// The driver of each worker that has started.
    drivers: Vec<Driver>,
    workers: usize,
    shared: Arc<ServerShared>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    signals: Option<SignalWatch>,
    /// The threads of the cluster. They end after the workers.
    #[cfg(feature = "nats")]
    node: Option<Node>,
    watch: Option<Watch>,
}

impl Running {
    pub(super) fn new(
        endpoints: Vec<Endpoint>,
        file: Option<SocketFile>,
        shared: Arc<ServerShared>,
        signals: Option<SignalWatch>,
    ) -> Self {
        let (drivers, threads) = (Vec::new(), Vec::new());
        Self {
            endpoints,
            file,
            drivers,
            workers: 0,
            shared,
            threads,
            signals,
            #[cfg(feature = "nats")]
            node: None,
            watch: None,
        }
    }

    #[cfg(feature = "nats")]
    pub(super) fn set_node(&mut self, node: Node) {
        self.node = Some(node);
    }

    pub(super) fn add_worker(&mut self, thread: JoinHandle<io::Result<()>>) {
        self.workers += 1;
        self.threads.push(thread);
    }

    /// Waits until every worker accepts connections.
    pub(super) fn wait_for_start(
        mut self,
        started: &mpsc::Receiver<Started>,
    ) -> Result<Self, ServeError> {
        let workers = self.workers;
        let mut why = None;
        for _ in 0..workers {
            match started.recv() {
                Ok(Started { driver, refused }) => {
                    self.drivers.push(driver);
                    why = why.or(refused);
                }
                Err(_) => {
                    self.shutdown();
                    self.join()?;
                    return Err(io::Error::other("a worker ended at its start").into());
                }
            }
        }
        let driver = self.driver();
        if let Some(error) = why {
            let epoll = self.drivers.iter().filter(|driver| **driver == Driver::Epoll).count();
            crate::log::warn!(
                %error,
                epoll,
                workers,
                "io_uring refused, these workers use epoll: see the seccomp profile of the container, \
                 kernel.io_uring_disabled and `ulimit -l`, or choose epoll by Config::driver"
            );
        }
        for endpoint in &self.endpoints {
            crate::log::info!(address = %endpoint, %driver, workers, "listening");
        }
        Ok(self)
    }

    pub(super) fn watched_by(self, watch: Option<Watch>) -> Self {
        // Not by a struct expression: `Running` has a destructor.
        let mut this = self;
        this.watch = watch;
        this
    }

    /// The TCP address of the server, with the port that the kernel chose if the port was 0. If there are several, the
    /// first one; if there are only Unix-domain sockets, `0.0.0.0:0`.
    pub fn local_addr(&self) -> SocketAddr {
        let tcp = self.endpoints.iter().find_map(|endpoint| match endpoint {
            Endpoint::Tcp(address) => Some(*address),
            Endpoint::Unix(_) => None,
        });
        tcp.unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into())
    }

    /// All addresses on which the server listens.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The kernel interface that all workers use for I/O.
    ///
    /// With [`Driver::Auto`], a limit on locked memory may give a ring to some workers only. This is
    /// [`Driver::Epoll`] then, and a warning is logged.
    pub fn driver(&self) -> Driver {
        common_driver(&self.drivers)
    }

    /// The number of workers.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// A handle for other threads. It may outlive the server.
    pub fn remote(&self) -> Remote {
        Remote::new(self.shared.clone())
    }

    /// Starts an orderly shutdown and returns at once. Further calls have no effect.
    ///
    /// 1. New sessions are refused with 503 and `Retry-After`. Requests in progress are answered.
    /// 2. Every session sends its queued messages and a close packet, and its handlers complete.
    /// 3. Connections are accepted until all sessions have ended, for [`shutdown_grace`](crate::Config::shutdown_grace)
    ///    at most: a polling client may be between two polls.
    /// 4. A quarter of a second after that grace the server stops waiting for incomplete requests, for polling clients
    ///    that do not poll, for upgrades in progress, for clients that do not close, and for handlers of sessions that
    ///    have ended.
    /// 5. After [`shutdown_timeout`](crate::Config::shutdown_timeout), remaining sessions end, and connections and
    ///    handlers are cut off.
    ///
    /// A listener that other processes share ([`Listener::inherited`](crate::Listener::inherited),
    /// [`share_port`](crate::Config::share_port)) is left to them at once, and a handshake on a connection that was
    /// accepted before is not refused: its session opens, and closes.
    pub fn shutdown(&self) {
        self.shared.shut_down();
    }

    /// Starts a drain and returns at once: an orderly shutdown whose sessions do not all close at the same time. Further
    /// calls have no effect, nor has one after [`shutdown`](Self::shutdown).
    ///
    /// 1. [`Remote::is_ready`] returns false, for the readiness check of a load balancer. Listeners that other processes
    ///    share are left to them.
    /// 2. For [`drain_wait`](crate::Config::drain_wait) everything else continues as before.
    /// 3. The sessions close evenly over [`drain_time`](crate::Config::drain_time), each after its queued messages: over
    ///    polling at the next poll, over WebSocket with code 1001. Handshakes are refused as in a shutdown. Until a
    ///    session has ended its messages are received; sends to it return [`SendError::Closed`](crate::SendError).
    /// 4. The server shuts down.
    pub fn drain(&self) {
        self.shared.drain();
    }

    /// Blocks until the server has ended, which [`shutdown`](Self::shutdown), [`Remote::shutdown`] or a signal causes.
    ///
    /// # Errors
    /// [`ServeError::Io`]: the first error that ended a worker, or "a worker panicked".
    pub fn join(mut self) -> Result<(), ServeError> {
        self.wait()
    }

    fn wait(&mut self) -> Result<(), ServeError> {
        let mut result = Ok(());
        for thread in self.threads.drain(..) {
            let outcome =
                thread.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")));
            result = result.and(outcome);
        }
        #[cfg(feature = "nats")]
        drop(self.node.take());
        drop(self.file.take());
        drop((self.signals.take(), self.watch.take()));
        result.map_err(ServeError::Io)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown();
        if let Err(error) = self.wait() {
            crate::log::error!(%error, "the server ended with an error");
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("endpoints", &self.endpoints)
            .field("driver", &self.driver())
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// The driver that all workers have; epoll if they differ.
fn common_driver(drivers: &[Driver]) -> Driver {
    match drivers.first() {
        Some(first) if drivers.iter().all(|driver| driver == first) => *first,
        _ => Driver::Epoll,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn driver_is_epoll_if_any_worker_uses_epoll() {
        use Driver::{Epoll, IoUring};
        for (drivers, expected) in [
            (&[IoUring, IoUring][..], IoUring),
            (&[Epoll, Epoll], Epoll),
            (&[IoUring, Epoll, IoUring], Epoll),
            (&[Epoll, IoUring], Epoll),
        ] {
            assert_eq!(common_driver(drivers), expected, "{drivers:?}");
        }
    }
}
