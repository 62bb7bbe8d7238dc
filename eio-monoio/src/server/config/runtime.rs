//! [`Config`]: threads, the kernel interface and listening sockets.

use std::time::Duration;

use super::Config;
use crate::worker::net::Driver;

/// # Runtime
///
/// Threads, the kernel interface and listening sockets.
impl Config {
    /// The number of workers: threads, each with its own listener, runtime and part of the sessions.
    ///
    /// **Default:** [`std::thread::available_parallelism`]. **Range:** 1 to 1,024.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// The number of threads for [`blocking`](crate::blocking) work, of all workers together. They start when there is
    /// work and end after 5 s without.
    ///
    /// **Default:** 8. **Range:** 1 to 1,024. If all of them are busy, further work waits, in order.
    #[must_use]
    pub fn blocking_threads(mut self, threads: usize) -> Self {
        self.blocking_threads = threads;
        self
    }

    /// The kernel interface for I/O.
    ///
    /// **Default:** [`Driver::Auto`]. With [`Driver::IoUring`] the server does not start where the kernel refuses it.
    #[must_use]
    pub fn driver(mut self, driver: Driver) -> Self {
        self.driver = driver;
        self
    }

    /// The backlog of `listen(2)`: the number of connections that the kernel queues before they are accepted, for each
    /// worker. A Unix-domain socket has one queue for all workers.
    ///
    /// **Default:** 1,024. **Range:** 1 to 65,535; the kernel applies `net.core.somaxconn` as well. The kernel drops
    /// further connection attempts over TCP, which clients repeat.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Whether the kernel hands TCP connections over only with their first bytes while many clients connect
    /// (`TCP_DEFER_ACCEPT`, see tcp(7)), which saves up to a tenth of the CPU time of a short session.
    ///
    /// **Default:** true: a worker turns it on when 256 connections have arrived within 250 ms, with at least three
    /// quarters as many first requests, and off when fewer than 512 connections or three quarters as many requests have
    /// arrived in a second. While it is on, a connection that sends nothing is accepted 1 s late, or 3 s after a lost
    /// packet: limits, metrics and [`head_timeout`](Self::head_timeout) begin then. A flood of such connections does not
    /// turn it on. It is off at the latest 1 s after the last client, and from the beginning of a shutdown or drain.
    ///
    /// Not for Unix-domain sockets, with [`share_port`](Self::share_port), or for a [given](crate::Server::listen) socket
    /// that has another value than 0 and 1 already. With false the option is not touched.
    #[must_use]
    pub fn defer_accept(mut self, defer: bool) -> Self {
        self.defer_accept = defer;
        self
    }

    /// Whether other processes of the same user may listen on the same TCP port (SO_REUSEPORT): a new process starts
    /// while the old one still runs, and the kernel distributes connections among both.
    ///
    /// **Default:** false: [`Server::bind`](crate::Server::bind) fails if the port is in use. With true, a shutdown or
    /// drain leaves the port to the other processes at once, and no connection is reset: the kernel drops connection
    /// attempts until the port is left, after 200 ms, and the client repeats them, mostly after 1 s. Without another
    /// process they fail then.
    #[must_use]
    pub fn share_port(mut self, share: bool) -> Self {
        self.share_port = share;
        self
    }

    /// The time for which [`Server::bind`](crate::Server::bind) and [`Server::bind_unix`](crate::Server::bind_unix)
    /// repeat their attempt while the address is in use. After SIGKILL the kernel closes the sockets of a process in the
    /// background, which takes it up to a second for 15,000 connections.
    ///
    /// **Default:** 5 s. **Range:** 0 to 24 h. The wait is logged at WARN. After it the error is
    /// [`AddrInUse`](std::io::ErrorKind::AddrInUse); with 0 there is one attempt.
    #[must_use]
    pub fn bind_timeout(mut self, timeout: Duration) -> Self {
        self.bind_timeout = timeout;
        self
    }

    /// The permissions of the socket that [`Server::bind_unix`](crate::Server::bind_unix) creates, such as `0o660`.
    ///
    /// **Default:** those that the umask leaves. **Range:** 0 to `0o777`.
    #[must_use]
    pub fn unix_socket_mode(mut self, mode: u32) -> Self {
        self.unix_socket_mode = Some(mode);
        self
    }
}
