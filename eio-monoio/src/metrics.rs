//! [`Metrics`]: counters and gauges of each worker, and the text format of Prometheus.
//!
//! Each worker writes its own numbers, and any thread may read them: a write is one load and one store, without a lock
//! and without an atomic read-modify-write.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use eio_core::session::CloseReason;
use eio_core::transport::Transport;

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

    pub(crate) fn upgraded(&self) {
        self.add(UPGRADES, 0, 1);
        self.subtract(SESSIONS, by(Transport::Polling), 1);
        self.add(SESSIONS, by(Transport::WebSocket), 1);
    }

    pub(crate) fn read(&self) -> WorkerMetrics {
        WorkerMetrics(self.0.each_ref().map(|number| number.load(Ordering::Relaxed)))
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
pub(crate) const MESSAGES_RECEIVED: CounterRange = CounterRange::after(UPGRADES, 2);
pub(crate) const MESSAGES_SENT: CounterRange = CounterRange::after(MESSAGES_RECEIVED, 1);
pub(crate) const BYTES_RECEIVED: CounterRange = CounterRange::after(MESSAGES_SENT, 1);
pub(crate) const BYTES_SENT: CounterRange = CounterRange::after(BYTES_RECEIVED, 1);
pub(crate) const QUEUED: CounterRange = CounterRange::after(BYTES_SENT, 1);
pub(crate) const ACCEPTED: CounterRange = CounterRange::after(QUEUED, 1);
pub(crate) const MOVED: CounterRange = CounterRange::after(ACCEPTED, 1);
pub(crate) const TLS_FAILURES: CounterRange = CounterRange::after(MOVED, 1);
const REFUSALS: CounterRange = CounterRange::after(TLS_FAILURES, STATUSES.len() + 1);
const ERRORS: CounterRange = CounterRange::after(REFUSALS, CODES.len());
const COUNT: usize = ERRORS.first + ERRORS.len;

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
const STATUSES: [u16; 13] = [400, 401, 403, 404, 405, 408, 413, 414, 417, 426, 431, 500, 503];
/// The codes of [`Reject`](eio_core::request::Reject).
const CODES: [u8; 6] = [0, 1, 2, 3, 4, 5];

/// The counters of one worker since the server started, and its current gauges.
///
/// Each number is exact, but they are not read at the same instant: the worker continues while they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerMetrics([u64; COUNT]);

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

    /// Upgrades that began and failed, by timeout or by the client.
    pub fn upgrades_failed(&self) -> u64 {
        self.get(UPGRADES, 1)
    }

    /// Messages received over `transport`.
    pub fn messages_received(&self, transport: Transport) -> u64 {
        self.get(MESSAGES_RECEIVED, by(transport))
    }

    /// Messages that were queued for sending.
    pub fn messages_sent(&self) -> u64 {
        self.get(MESSAGES_SENT, 0)
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

    /// Requests that the server or [`Handler::connect`](crate::Handler::connect) answered with `status`, which is at least
    /// 400. Statuses other than 400, 401, 403, 404, 405, 408, 413, 414, 417, 426, 431, 500 and 503 share one number.
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

    fn get(&self, range: CounterRange, index: usize) -> u64 {
        self.0.get(range.first + index).copied().unwrap_or(0)
    }
}

/// The metrics of a server, read by [`Remote::metrics`](crate::Remote::metrics).
///
/// [`Display`](fmt::Display) writes the text format of Prometheus, version 0.0.4, with a series for each worker. A
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// The metrics of each worker, in the order of their numbers.
    pub workers: Vec<WorkerMetrics>,
    /// Open connections of all workers. A gauge.
    pub connections: u64,
    /// The numbers of a node about its cluster; `None` without one. Only with the feature `nats`.
    #[cfg(feature = "nats")]
    pub cluster: Option<crate::ClusterMetrics>,
}

impl Metrics {
    /// The `Content-Type` of the text that [`Display`](fmt::Display) writes.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// The sums over all workers.
    pub fn total(&self) -> WorkerMetrics {
        let mut total = [0u64; COUNT];
        for worker in &self.workers {
            for (sum, number) in total.iter_mut().zip(worker.0) {
                // Wrapping: a gauge that is read between two of its updates may be below zero.
                *sum = sum.wrapping_add(number);
            }
        }
        WorkerMetrics(total)
    }
}

/// A family of series.
struct Family {
    name: &'static str,
    help: &'static str,
    slots: CounterRange,
    label: Label,
}

/// The label by which the series of a family differ, besides the worker.
enum Label {
    None,
    Transport,
    Reason,
    Result,
    Status,
    Code,
}

const FAMILIES: [Family; 15] = [
    Family {
        name: "eio_sessions",
        help: "Open sessions.",
        slots: SESSIONS,
        label: Label::Transport,
    },
    Family {
        name: "eio_sessions_opened_total",
        help: "Sessions opened, by their first transport.",
        slots: OPENED,
        label: Label::Transport,
    },
    Family {
        name: "eio_sessions_closed_total",
        help: "Sessions that ended.",
        slots: CLOSED,
        label: Label::Reason,
    },
    Family {
        name: "eio_upgrades_total",
        help: "Upgrades from polling to WebSocket.",
        slots: UPGRADES,
        label: Label::Result,
    },
    Family {
        name: "eio_messages_received_total",
        help: "Messages received.",
        slots: MESSAGES_RECEIVED,
        label: Label::Transport,
    },
    Family {
        name: "eio_messages_sent_total",
        help: "Messages queued for sending.",
        slots: MESSAGES_SENT,
        label: Label::None,
    },
    Family {
        name: "eio_received_bytes_total",
        help: "Bytes of HTTP and WebSocket received.",
        slots: BYTES_RECEIVED,
        label: Label::None,
    },
    Family {
        name: "eio_sent_bytes_total",
        help: "Bytes of HTTP and WebSocket sent.",
        slots: BYTES_SENT,
        label: Label::None,
    },
    Family {
        name: "eio_queued_bytes",
        help: "Bytes queued for sending.",
        slots: QUEUED,
        label: Label::None,
    },
    Family {
        name: "eio_connections_accepted_total",
        help: "Connections accepted.",
        slots: ACCEPTED,
        label: Label::None,
    },
    Family {
        name: "eio_connections_moved_total",
        help: "Connections moved to another worker.",
        slots: MOVED,
        label: Label::None,
    },
    Family {
        name: "eio_tls_failures_total",
        help: "Connections whose TLS handshake failed.",
        slots: TLS_FAILURES,
        label: Label::None,
    },
    Family {
        name: "eio_refusals_total",
        help: "Requests answered with an error status.",
        slots: REFUSALS,
        label: Label::Status,
    },
    Family {
        name: "eio_connection_errors_total",
        help: "Requests refused with an error code of Engine.IO.",
        slots: ERRORS,
        label: Label::Code,
    },
    Family {
        name: "eio_connections",
        help: "Open connections of all workers.",
        slots: CounterRange { first: 0, len: 0 },
        label: Label::None,
    },
];

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Family { name, help, slots, label } in &FAMILIES {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            writeln!(f, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
            if slots.len == 0 {
                writeln!(f, "{name} {}", self.connections)?;
            }
            for (id, worker) in self.workers.iter().enumerate() {
                for index in 0..slots.len {
                    write!(f, "{name}{{worker=\"{id}\"")?;
                    label.write(f, index)?;
                    writeln!(f, "}} {}", worker.get(*slots, index))?;
                }
            }
        }
        #[cfg(feature = "nats")]
        if let Some(cluster) = &self.cluster {
            cluster.write(f)?;
        }
        Ok(())
    }
}

impl Label {
    fn write(&self, f: &mut fmt::Formatter<'_>, index: usize) -> fmt::Result {
        match (self, STATUSES.get(index)) {
            (Self::None, _) => Ok(()),
            (Self::Transport, _) => labelled(f, "transport", TRANSPORTS.get(index)),
            (Self::Reason, _) => labelled(f, "reason", REASONS.get(index)),
            (Self::Result, _) => labelled(f, "result", ["completed", "failed"].get(index)),
            (Self::Code, _) => labelled(f, "code", CODES.get(index)),
            (Self::Status, None) => labelled(f, "status", Some(&"other")),
            (Self::Status, status) => labelled(f, "status", status),
        }
    }
}

/// No value has a character that must be escaped.
fn labelled(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    value: Option<&impl fmt::Display>,
) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, ",{name}=\"{value}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_written_once() {
        let counters = Counters::default();
        // Each has a distinct value: number n is n + 1.
        for (n, number) in counters.0.iter().enumerate() {
            number.store(n as u64 + 1, Ordering::Relaxed);
        }
        let metrics = Metrics {
            workers: vec![counters.read()],
            connections: 7,
            #[cfg(feature = "nats")]
            cluster: None,
        };
        let text = metrics.to_string();
        let mut shown: Vec<u64> = text
            .lines()
            .filter(|line| line.contains("worker="))
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        shown.sort_unstable();
        assert_eq!(shown, (1..=COUNT as u64).collect::<Vec<_>>(), "{text}");
        assert!(text.contains("\neio_connections 7\n"), "{text}");
    }

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
    fn unknown_statuses_share_one_number() {
        let counters = Counters::default();
        [400, 418, 451].into_iter().for_each(|status| counters.refused(status, Some(9)));
        let read = counters.read();
        assert_eq!((read.refusals(400), read.refusals(418), read.refusals(451)), (1, 2, 2));
        assert_eq!((0..=9).map(|code| read.connection_errors(code)).sum::<u64>(), 0);
    }
}
