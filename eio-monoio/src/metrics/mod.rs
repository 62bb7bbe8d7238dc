//! [`Metrics`]: counters, gauges and histograms of each worker, and figures of the server and the process.
//!
//! Each worker writes its own numbers, and any thread may read them: a write is one load and one store, without a lock
//! and without an atomic read-modify-write. Only dropped messages are counted by any thread.

#[cfg(feature = "nats")]
pub(crate) mod cluster;
mod dropped;
pub(crate) mod histogram;
mod process;
mod refused;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eio_core::session::CloseReason;
use eio_core::transport::Transport;

pub use self::dropped::DropReason;
pub use self::histogram::Histogram;
pub use self::process::ProcessMetrics;
pub use self::refused::RefusedConnection;
use crate::worker::net::Driver;

/// The numbers of one worker, which only that worker writes.
#[derive(Debug)]
// Two cache lines, which are fetched together: avoids false sharing between workers.
#[repr(align(128))]
pub(crate) struct Counters([AtomicU64; COUNT]);

impl Default for Counters {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; COUNT])
    }
}

impl Counters {
    /// Adds `n` to number `index` of `range`.
    #[inline]
    pub(crate) fn add(&self, range: CounterRange, index: usize, n: u64) {
        if let Some(number) = self.0.get(range.first + index) {
            number.store(number.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        }
    }

    /// Adds a duration to histogram `index` of `range`.
    pub(crate) fn observe(&self, range: CounterRange, index: usize, duration: Duration) {
        let first = index * histogram::LEN;
        self.add(range, first + histogram::bucket(duration), 1);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.add(range, first + histogram::SUM, nanos);
    }

    /// Counts messages that were not queued. Any thread may call it.
    #[cold]
    pub(crate) fn dropped(&self, reason: DropReason, n: u64) {
        if let Some(number) = self.0.get(DROPPED.first + reason as usize) {
            number.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Open sessions over either transport.
    pub(crate) fn open_sessions(&self) -> u64 {
        let number = |transport| self.0[SESSIONS.first + by(transport)].load(Ordering::Relaxed);
        TRANSPORTS.map(number).iter().fold(0, |sum, number| sum.wrapping_add(*number))
    }

    pub(crate) fn set_driver(&self, driver: Driver) {
        let number = DRIVERS.iter().position(|known| *known == driver).map_or(0, |at| at + 1);
        self.add(DRIVER, 0, number as u64);
    }

    pub(crate) fn subtract(&self, range: CounterRange, index: usize, n: u64) {
        self.add(range, index, n.wrapping_neg());
    }

    /// Counts an error response. `code`: the error code of Engine.IO, if it has one.
    pub(crate) fn refused(&self, status: u16, code: Option<u8>) {
        let index = STATUSES.iter().position(|known| *known == status);
        self.add(REFUSALS, index.unwrap_or(STATUSES.len()), 1);
        if let Some(code) = code.map(usize::from).filter(|code| *code < CODES.len()) {
            self.add(ERRORS, code, 1);
        }
    }

    pub(crate) fn refused_connection(&self, reason: RefusedConnection) {
        if let Some(index) = RefusedConnection::ALL.iter().position(|known| *known == reason) {
            self.add(REFUSED, index, 1);
        }
    }

    pub(crate) fn opened(&self, transport: Transport) {
        self.add(OPENED, by(transport), 1);
        self.add(SESSIONS, by(transport), 1);
    }

    pub(crate) fn closed(&self, transport: Transport, reason: CloseReason) {
        self.subtract(SESSIONS, by(transport), 1);
        if let Some(index) = REASONS.iter().position(|known| *known == reason) {
            self.add(CLOSED, index, 1);
        }
    }

    /// Counts messages that a session had accepted and no transport had taken when it ended.
    pub(crate) fn undelivered(&self, reason: CloseReason, n: u64) {
        if let Some(index) = REASONS.iter().position(|known| *known == reason) {
            self.add(UNDELIVERED, index, n);
        }
    }

    pub(crate) fn upgraded(&self) {
        self.add(UPGRADES, 0, 1);
        self.subtract(SESSIONS, by(Transport::Polling), 1);
        self.add(SESSIONS, by(Transport::WebSocket), 1);
    }

    pub(crate) fn read(&self) -> WorkerMetrics {
        let numbers = self.0.each_ref().map(|number| number.load(Ordering::Relaxed));
        WorkerMetrics { numbers, unresponsive: Duration::ZERO }
    }
}

/// The numbers of one kind, which differ by a label.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CounterRange {
    first: usize,
    len: usize,
}

impl CounterRange {
    const fn after(before: Self, len: usize) -> Self {
        Self { first: before.first + before.len, len }
    }
}

/// The index of a transport's number.
pub(crate) const fn by(transport: Transport) -> usize {
    match transport {
        Transport::Polling => 0,
        Transport::WebSocket => 1,
    }
}

pub(crate) const SESSIONS: CounterRange = CounterRange { first: 0, len: 2 };
const OPENED: CounterRange = CounterRange::after(SESSIONS, 2);
const CLOSED: CounterRange = CounterRange::after(OPENED, REASONS.len());
/// Upgrades that completed, and upgrades that failed.
pub(crate) const UPGRADES: CounterRange = CounterRange::after(CLOSED, 2);
pub(crate) const UPGRADES_STARTED: CounterRange = CounterRange::after(UPGRADES, 1);
pub(crate) const MESSAGES_RECEIVED: CounterRange = CounterRange::after(UPGRADES_STARTED, 2);
pub(crate) const MESSAGES_SENT: CounterRange = CounterRange::after(MESSAGES_RECEIVED, 1);
pub(crate) const BYTES_RECEIVED: CounterRange = CounterRange::after(MESSAGES_SENT, 1);
pub(crate) const BYTES_SENT: CounterRange = CounterRange::after(BYTES_RECEIVED, 1);
pub(crate) const QUEUED: CounterRange = CounterRange::after(BYTES_SENT, 1);
pub(crate) const ACCEPTED: CounterRange = CounterRange::after(QUEUED, 1);
pub(crate) const MOVED: CounterRange = CounterRange::after(ACCEPTED, 1);
pub(crate) const TLS_FAILURES: CounterRange = CounterRange::after(MOVED, 1);
pub(crate) const OVER_BUDGET: CounterRange = CounterRange::after(TLS_FAILURES, 1);
const REFUSED: CounterRange = CounterRange::after(OVER_BUDGET, RefusedConnection::ALL.len());
const REFUSALS: CounterRange = CounterRange::after(REFUSED, STATUSES.len() + 1);
const ERRORS: CounterRange = CounterRange::after(REFUSALS, CODES.len());
const DROPPED: CounterRange = CounterRange::after(ERRORS, DropReason::ALL.len());
const UNDELIVERED: CounterRange = CounterRange::after(DROPPED, REASONS.len());
pub(crate) const BYTES_LOST: CounterRange = CounterRange::after(UNDELIVERED, 1);
/// Histograms, one for each [`HandlerCall`].
pub(crate) const HANDLER: CounterRange =
    CounterRange::after(BYTES_LOST, HandlerCall::ALL.len() * histogram::LEN);
/// Histograms of accepted handshakes, one for each transport.
pub(crate) const HANDSHAKE: CounterRange =
    CounterRange::after(HANDLER, TRANSPORTS.len() * histogram::LEN);
pub(crate) const TLS_HANDSHAKE: CounterRange = CounterRange::after(HANDSHAKE, histogram::LEN);
pub(crate) const LAG: CounterRange = CounterRange::after(TLS_HANDSHAKE, histogram::LEN);
/// The position in [`DRIVERS`] plus one.
const DRIVER: CounterRange = CounterRange::after(LAG, 1);
const COUNT: usize = DRIVER.first + DRIVER.len;

const DRIVERS: [Driver; 2] = [Driver::IoUring, Driver::Epoll];

const TRANSPORTS: [Transport; 2] = [Transport::Polling, Transport::WebSocket];
const REASONS: [CloseReason; 8] = [
    CloseReason::ClientDisconnect,
    CloseReason::ServerDisconnect,
    CloseReason::PingTimeout,
    CloseReason::TransportClose,
    CloseReason::TransportError,
    CloseReason::ParseError,
    CloseReason::PayloadTooLarge,
    CloseReason::HandlerPanicked,
];
/// Other statuses count as `other`.
const STATUSES: [u16; 14] = [400, 401, 403, 404, 405, 408, 413, 414, 417, 426, 429, 431, 500, 503];
/// The codes of [`Reject`](eio_core::request::Reject).
const CODES: [u8; 6] = [0, 1, 2, 3, 4, 5];

/// A function of the application whose time is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandlerCall {
    /// [`Handler::connect`](crate::Handler::connect).
    Connect,
    /// [`Handler::open`](crate::Handler::open).
    Open,
    /// [`Handler::message`](crate::Handler::message), of the messages that
    /// [`time_messages`](crate::Config::time_messages) selects.
    Message,
    /// [`Handler::disconnect`](crate::Handler::disconnect).
    Disconnect,
    /// [`Handler::respond`](crate::Handler::respond), which calls [`Handler::request`](crate::Handler::request).
    Request,
}

impl HandlerCall {
    pub(crate) const ALL: [Self; 5] =
        [Self::Connect, Self::Open, Self::Message, Self::Disconnect, Self::Request];
}

/// The counters of one worker since the server started, and its current gauges.
///
/// Each number is exact, but they are not read at the same instant: the worker continues while they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerMetrics {
    numbers: [u64; COUNT],
    unresponsive: Duration,
}

impl WorkerMetrics {
    /// Open sessions whose transport is `transport`. A gauge.
    pub fn sessions(&self, transport: Transport) -> u64 {
        self.get(SESSIONS, by(transport))
    }

    /// Sessions that were opened with `transport`.
    pub fn sessions_opened(&self, transport: Transport) -> u64 {
        self.get(OPENED, by(transport))
    }

    /// Sessions that ended for this reason.
    pub fn sessions_closed(&self, reason: CloseReason) -> u64 {
        REASONS.iter().position(|known| *known == reason).map_or(0, |at| self.get(CLOSED, at))
    }

    /// Completed upgrades from polling to WebSocket.
    pub fn upgrades(&self) -> u64 {
        self.get(UPGRADES, 0)
    }

    /// Upgrades that began: a WebSocket of a session that polling carries was connected. Each is then counted as
    /// completed or as failed, unless its session ends before.
    ///
    /// Engine.IO: the event `upgrading`; for one session see [`Socket::upgrading`](crate::Socket::upgrading).
    pub fn upgrades_started(&self) -> u64 {
        self.get(UPGRADES_STARTED, 0)
    }

    /// Upgrades that began and failed, by timeout or by the client.
    pub fn upgrades_failed(&self) -> u64 {
        self.get(UPGRADES, 1)
    }

    /// Messages received over `transport`.
    pub fn messages_received(&self, transport: Transport) -> u64 {
        self.get(MESSAGES_RECEIVED, by(transport))
    }

    /// Messages that sessions accepted: a broadcast counts once for each session. With
    /// [`messages_dropped`](Self::messages_dropped) they are all messages that the application sent.
    pub fn messages_sent(&self) -> u64 {
        self.get(MESSAGES_SENT, 0)
    }

    /// Messages that were not accepted, once for each session that did not receive one. A message that
    /// [`Socket::try_send`](crate::Socket::try_send) refuses counts, also if the application sends it again.
    pub fn messages_dropped(&self, reason: DropReason) -> u64 {
        self.get(DROPPED, reason as usize)
    }

    /// Messages that were accepted and that no transport had taken when their session ended for this reason.
    pub fn messages_undelivered(&self, reason: CloseReason) -> u64 {
        REASONS.iter().position(|known| *known == reason).map_or(0, |at| self.get(UNDELIVERED, at))
    }

    /// Bytes that WebSockets had taken and the kernel had not when their connection ended. Over TLS the
    /// number may be too large by what the kernel took in the last write.
    pub fn bytes_lost(&self) -> u64 {
        self.get(BYTES_LOST, 0)
    }

    /// Bytes of HTTP and WebSocket received, including heads and frames, without the overhead of TLS.
    pub fn bytes_received(&self) -> u64 {
        self.get(BYTES_RECEIVED, 0)
    }

    /// Bytes of HTTP and WebSocket sent, including heads and frames, without the overhead of TLS.
    pub fn bytes_sent(&self) -> u64 {
        self.get(BYTES_SENT, 0)
    }

    /// Bytes queued for sending in all sessions. A gauge, updated at each message, send and heartbeat of a session.
    pub fn bytes_queued(&self) -> u64 {
        self.get(QUEUED, 0)
    }

    /// Accepted connections.
    pub fn connections_accepted(&self) -> u64 {
        self.get(ACCEPTED, 0)
    }

    /// Connections that were moved to the worker that owns the session of their request.
    pub fn connections_moved(&self) -> u64 {
        self.get(MOVED, 0)
    }

    /// Connections whose TLS handshake failed.
    pub fn tls_failures(&self) -> u64 {
        self.get(TLS_FAILURES, 0)
    }

    /// Unfinished messages and requests that were refused for [`memory_budget`](crate::Config::memory_budget).
    pub fn over_budget(&self) -> u64 {
        self.get(OVER_BUDGET, 0)
    }

    /// Connections that were closed before their first request for this reason.
    pub fn connections_refused(&self, reason: RefusedConnection) -> u64 {
        let index = RefusedConnection::ALL.iter().position(|known| *known == reason);
        index.map_or(0, |at| self.get(REFUSED, at))
    }

    /// Requests that the server or [`Handler::connect`](crate::Handler::connect) answered with `status`, which is at least
    /// 400. Statuses other than 400, 401, 403, 404, 405, 408, 413, 414, 417, 426, 429, 431, 500 and 503 share one number.
    /// Responses of [`Handler::request`](crate::Handler::request) are not counted.
    pub fn refusals(&self, status: u16) -> u64 {
        let index = STATUSES.iter().position(|known| *known == status);
        self.get(REFUSALS, index.unwrap_or(STATUSES.len()))
    }

    /// Requests refused with an error code of Engine.IO: 0 unknown transport, 1 unknown session, 2 handshake method other
    /// than GET, 3 bad request, 4 [forbidden](crate::Refusal::forbidden) by the application, 5 unsupported version. Other
    /// codes are not counted. They count as [refusals](Self::refusals) too.
    ///
    /// Engine.IO: the event `connection_error`.
    pub fn connection_errors(&self, code: u8) -> u64 {
        if usize::from(code) < CODES.len() { self.get(ERRORS, usize::from(code)) } else { 0 }
    }

    /// The times of a function of the application, from the call to the end of its future.
    pub fn handler_time(&self, call: HandlerCall) -> Histogram {
        self.histogram(HANDLER, call as usize)
    }

    /// The times of the accepted handshakes over `transport`: from the complete request to the response,
    /// [`Handler::connect`](crate::Handler::connect) included.
    pub fn handshake_time(&self, transport: Transport) -> Histogram {
        self.histogram(HANDSHAKE, by(transport))
    }

    /// The times of the completed TLS handshakes.
    pub fn tls_handshake_time(&self) -> Histogram {
        self.histogram(TLS_HANDSHAKE, 0)
    }

    /// The times that the worker took to notice a message of another thread, once each
    /// [`lag_interval`](crate::Config::lag_interval): as long as every event waits for the handlers that run.
    pub fn lag(&self) -> Histogram {
        self.histogram(LAG, 0)
    }

    /// The time for which the worker has not noticed a message that waits for it. A gauge, that grows while a handler
    /// blocks the worker.
    pub fn unresponsive(&self) -> Duration {
        self.unresponsive
    }

    /// The kernel interface that the worker uses; `None` before it has started.
    pub fn driver(&self) -> Option<Driver> {
        let number = usize::try_from(self.get(DRIVER, 0)).ok()?;
        DRIVERS.get(number.checked_sub(1)?).copied()
    }

    pub(crate) fn with_unresponsive(self, unresponsive: Duration) -> Self {
        Self { unresponsive, ..self }
    }

    fn get(&self, range: CounterRange, index: usize) -> u64 {
        self.numbers.get(range.first + index).copied().unwrap_or(0)
    }

    fn histogram(&self, range: CounterRange, index: usize) -> Histogram {
        let first = index * histogram::LEN;
        Histogram::new(std::array::from_fn(|number| self.get(range, first + number)))
    }
}

/// The metrics of a server, read by [`Remote::metrics`](crate::Remote::metrics).
///
/// [`Display`](std::fmt::Display) writes the text format of Prometheus, version 0.0.4, with a series for each worker. A
/// handler can serve it at any path:
///
/// ```
/// # use std::borrow::Cow;
/// use eio_monoio::{Metrics, Remote};
/// use http::{Request, Response, header};
///
/// // In `Handler::request`:
/// fn request(request: Request<Vec<u8>>) -> Response<Cow<'static, [u8]>> {
///     match (request.uri().path(), Remote::current()) {
///         ("/metrics", Some(server)) => Response::builder()
///             .header(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)
///             .body(Cow::Owned(server.metrics().to_string().into_bytes()))
///             .unwrap_or_default(),
///         _ => Response::builder().status(404).body(Cow::Borrowed(&b""[..])).unwrap_or_default(),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// The metrics of each worker, in the order of their numbers.
    pub workers: Vec<WorkerMetrics>,
    /// Open connections of all workers. A gauge.
    pub connections: u64,
    /// The numbers of a node about its cluster; `None` without one. Only with the feature `nats`.
    #[cfg(feature = "nats")]
    pub cluster: Option<cluster::ClusterMetrics>,
    /// The bytes that count for [`memory_budget`](crate::Config::memory_budget), of the whole process, to 256 KiB for each
    /// worker. A gauge.
    pub held_bytes: u64,
    /// Limits of the server, to compare the gauges with.
    pub limits: LimitMetrics,
    /// Figures of the process. If another library writes them into the same text, set this to `None`.
    pub process: Option<ProcessMetrics>,
}

/// The options that limit a server, as it applies them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitMetrics {
    /// [`max_connections`](crate::Config::max_connections).
    pub max_connections: u64,
    /// [`max_handshakes_per_second`](crate::Config::max_handshakes_per_second), if it is set.
    pub max_handshakes_per_second: Option<u64>,
    /// [`max_payload`](crate::Config::max_payload).
    pub max_payload: u64,
    /// [`outbound_high_water`](crate::Config::outbound_high_water).
    pub outbound_high_water: u64,
    /// [`inbound_high_water`](crate::Config::inbound_high_water).
    pub inbound_high_water: u64,
    /// [`mailbox_high_water`](crate::Config::mailbox_high_water).
    pub mailbox_high_water: u64,
    /// [`memory_budget`](crate::Config::memory_budget), if it is set.
    pub memory_budget: Option<u64>,
}

impl Metrics {
    /// The `Content-Type` of the text that [`Display`](std::fmt::Display) writes.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// The sums over all workers; the longest [`unresponsive`](WorkerMetrics::unresponsive), and epoll if one has it.
    pub fn total(&self) -> WorkerMetrics {
        let mut numbers = [0u64; COUNT];
        for worker in &self.workers {
            for (sum, number) in numbers.iter_mut().zip(worker.numbers) {
                // Wrapping: a gauge that is read between two of its updates may be below zero.
                *sum = sum.wrapping_add(number);
            }
        }
        // The worker with the worst driver stands for all.
        numbers[DRIVER.first] =
            self.workers.iter().map(|worker| worker.get(DRIVER, 0)).max().unwrap_or(0);
        let unresponsive = self.workers.iter().map(|worker| worker.unresponsive).max();
        WorkerMetrics { numbers, unresponsive: unresponsive.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_close_reason_is_counted_separately() {
        let counters = Counters::default();
        for (n, reason) in REASONS.into_iter().enumerate() {
            (0..=n).for_each(|_| {
                counters.opened(Transport::Polling);
                counters.closed(Transport::Polling, reason);
            });
        }
        let read = counters.read();
        for (n, reason) in REASONS.into_iter().enumerate() {
            assert_eq!(read.sessions_closed(reason), n as u64 + 1, "{reason}");
        }
        assert_eq!(read.sessions(Transport::Polling), 0);
        assert_eq!(read.sessions_opened(Transport::Polling), 36);
    }

    #[test]
    fn histograms_of_one_range_are_separate() {
        let counters = Counters::default();
        counters.observe(HANDLER, HandlerCall::Open as usize, Duration::from_millis(7));
        counters.observe(HANDLER, HandlerCall::Message as usize, Duration::from_micros(3));
        counters.observe(HANDLER, HandlerCall::Message as usize, Duration::from_secs(100));
        let read = counters.read();
        let times = HandlerCall::ALL.map(|call| read.handler_time(call));
        assert_eq!(times.each_ref().map(Histogram::count), [0, 1, 2, 0, 0]);
        assert_eq!(times[1].sum(), Duration::from_millis(7));
        assert_eq!(times[2].sum(), Duration::from_secs(100) + Duration::from_micros(3));
        assert_eq!(times[2].buckets().next(), Some((Some(Duration::from_micros(100)), 1)));
        assert_eq!((read.lag().count(), read.tls_handshake_time().count()), (0, 0));
    }

    #[test]
    fn driver_of_the_server_is_epoll_if_one_worker_has_it() {
        let worker = |driver| {
            let counters = Counters::default();
            counters.set_driver(driver);
            counters.read()
        };
        let total = |workers| {
            let limits = LimitMetrics::default();
            let metrics = Metrics {
                workers,
                connections: 0,
                #[cfg(feature = "nats")]
                cluster: None,
                held_bytes: 0,
                limits,
                process: None,
            };
            metrics.total().driver()
        };
        assert_eq!(total(vec![Counters::default().read()]), None);
        let (ring, epoll) = (worker(Driver::IoUring), worker(Driver::Epoll));
        assert_eq!(total(vec![ring.clone(), ring.clone()]), Some(Driver::IoUring));
        assert_eq!(total(vec![ring.clone(), epoll, ring]), Some(Driver::Epoll));
    }

    #[test]
    fn unknown_statuses_share_one_number() {
        let counters = Counters::default();
        [400, 418, 451].into_iter().for_each(|status| counters.refused(status, Some(9)));
        let read = counters.read();
        assert_eq!((read.refusals(400), read.refusals(418), read.refusals(451)), (1, 2, 2));
        assert_eq!((0..=9).map(|code| read.connection_errors(code)).sum::<u64>(), 0);
    }
}
