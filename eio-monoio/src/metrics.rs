//! [`Metrics`]: what a server has done and holds, by worker, and the text Prometheus reads.
//!
//! Each core writes numbers of its own, which anybody may read: a load and a store each, no lock and no bus cycle.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use eio_core::session::CloseReason;
use eio_core::transport::Transport;

/// The numbers of one core. Only that core writes them.
#[derive(Debug)]
// Two lines of a cache, which are fetched together: cores do not get in each other's way.
#[repr(align(128))]
pub(crate) struct Counters([AtomicU64; COUNT]);

impl Default for Counters {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; COUNT])
    }
}

impl Counters {
    /// Adds to one of the numbers of `what`, the first if there is no more than one.
    #[inline]
    pub(crate) fn add(&self, what: CounterRange, index: usize, n: u64) {
        if let Some(number) = self.0.get(what.first + index) {
            number.store(number.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        }
    }

    pub(crate) fn subtract(&self, what: CounterRange, index: usize, n: u64) {
        self.add(what, index, n.wrapping_neg());
    }

    /// An answer that is none the client hoped for. `code`: Engine.IO's, if it has one.
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

/// Numbers of one kind, told apart by a label.
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

/// The place of a transport's number.
pub(crate) const fn by(transport: Transport) -> usize {
    match transport {
        Transport::Polling => 0,
        Transport::WebSocket => 1,
    }
}

pub(crate) const SESSIONS: CounterRange = CounterRange { first: 0, len: 2 };
const OPENED: CounterRange = CounterRange::after(SESSIONS, 2);
const CLOSED: CounterRange = CounterRange::after(OPENED, REASONS.len());
/// Upgrades that were completed, and that came to nothing.
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
/// What else an application refuses with counts as `other`.
const STATUSES: [u16; 13] = [400, 401, 403, 404, 405, 408, 413, 414, 417, 426, 431, 500, 503];
/// Of [`Reject`](eio_core::request::Reject).
const CODES: [u8; 6] = [0, 1, 2, 3, 4, 5];

/// What one worker has done since the server began, and what it holds now.
///
/// Every number is right by itself; together they are not of one moment, as the worker goes on meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerMetrics([u64; COUNT]);

impl WorkerMetrics {
    /// Sessions that are open and carried by `transport` now.
    pub fn sessions(&self, transport: Transport) -> u64 {
        self.get(SESSIONS, by(transport))
    }

    /// Sessions that began with `transport`.
    pub fn sessions_opened(&self, transport: Transport) -> u64 {
        self.get(OPENED, by(transport))
    }

    /// Sessions that ended for this reason.
    pub fn sessions_closed(&self, reason: CloseReason) -> u64 {
        REASONS.iter().position(|known| *known == reason).map_or(0, |at| self.get(CLOSED, at))
    }

    /// Sessions that went from polling to WebSocket.
    pub fn upgrades(&self) -> u64 {
        self.get(UPGRADES, 0)
    }

    /// Upgrades that were begun and came to nothing, because of their timeout or what the client did.
    pub fn upgrades_failed(&self) -> u64 {
        self.get(UPGRADES, 1)
    }

    /// Messages that came over `transport` for the handler.
    pub fn messages_received(&self, transport: Transport) -> u64 {
        self.get(MESSAGES_RECEIVED, by(transport))
    }

    /// Messages that were accepted to be sent.
    pub fn messages_sent(&self) -> u64 {
        self.get(MESSAGES_SENT, 0)
    }

    /// Bytes of HTTP and WebSocket received, heads and frames included, without what TLS adds.
    pub fn bytes_received(&self) -> u64 {
        self.get(BYTES_RECEIVED, 0)
    }

    /// Bytes of HTTP and WebSocket sent, heads and frames included, without what TLS adds.
    pub fn bytes_sent(&self) -> u64 {
        self.get(BYTES_SENT, 0)
    }

    /// Bytes that wait to be sent in all sessions, about: as of the last message, send or heartbeat of each.
    pub fn bytes_queued(&self) -> u64 {
        self.get(QUEUED, 0)
    }

    /// Connections that were accepted.
    pub fn connections_accepted(&self) -> u64 {
        self.get(ACCEPTED, 0)
    }

    /// Connections that were passed on to another worker, to which the session of a request belongs.
    pub fn connections_moved(&self) -> u64 {
        self.get(MOVED, 0)
    }

    /// Connections that ended in the handshake of TLS.
    pub fn tls_failures(&self) -> u64 {
        self.get(TLS_FAILURES, 0)
    }

    /// Requests that the server, or [`Handler::connect`](crate::Handler::connect), answered with this status of 400 or
    /// above. Statuses that it does not know have one number together. What
    /// [`Handler::request`](crate::Handler::request) answers does not count.
    pub fn refusals(&self, status: u16) -> u64 {
        let index = STATUSES.iter().position(|known| *known == status);
        self.get(REFUSALS, index.unwrap_or(STATUSES.len()))
    }

    /// Requests that were refused with this code of Engine.IO's (JS `connection_error`): 0 an unknown transport, 1 an
    /// unknown session, 2 a handshake that is no GET, 3 a bad request, 4
    /// [forbidden](crate::Refusal::forbidden) by the application, 5 another version. They count as
    /// [refusals](Self::refusals) too.
    pub fn connection_errors(&self, code: u8) -> u64 {
        if usize::from(code) < CODES.len() { self.get(ERRORS, usize::from(code)) } else { 0 }
    }

    fn get(&self, what: CounterRange, index: usize) -> u64 {
        self.0.get(what.first + index).copied().unwrap_or(0)
    }
}

/// What the workers of a server have done and hold: see [`Remote::metrics`](crate::Remote::metrics).
///
/// A handler mounts them where it likes:
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
///
/// [`Display`](fmt::Display) writes the text format of Prometheus, version 0.0.4, with a series for each worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Those of each worker.
    pub workers: Vec<WorkerMetrics>,
    /// Connections that are open, of all workers.
    pub connections: u64,
}

impl Metrics {
    /// The `Content-Type` of the text that [`Display`](fmt::Display) writes.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Those of all workers together.
    pub fn total(&self) -> WorkerMetrics {
        let mut total = [0u64; COUNT];
        for worker in &self.workers {
            for (sum, number) in total.iter_mut().zip(worker.0) {
                // A gauge that one worker has just raised and not yet lowered wraps in between.
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

/// What tells the series of a worker apart.
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
        help: "Sessions that are open, by what carries them.",
        slots: SESSIONS,
        label: Label::Transport,
    },
    Family {
        name: "eio_sessions_opened_total",
        help: "Sessions that were opened, by what carried them at first.",
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
        help: "Messages accepted to be sent.",
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
        help: "Bytes that wait to be sent.",
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
        help: "Connections passed on to another worker.",
        slots: MOVED,
        label: Label::None,
    },
    Family {
        name: "eio_tls_failures_total",
        help: "Connections that ended in the handshake of TLS.",
        slots: TLS_FAILURES,
        label: Label::None,
    },
    Family {
        name: "eio_refusals_total",
        help: "Requests answered with an error, by the status.",
        slots: REFUSALS,
        label: Label::Status,
    },
    Family {
        name: "eio_connection_errors_total",
        help: "Requests refused, by the code of Engine.IO.",
        slots: ERRORS,
        label: Label::Code,
    },
    Family {
        name: "eio_connections",
        help: "Connections that are open, of all workers.",
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

/// No value here has a character that must be escaped.
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
    fn every_number_has_one_place_and_is_shown() {
        let counters = Counters::default();
        // Told apart by their values: the number of place n is n + 1.
        for (n, number) in counters.0.iter().enumerate() {
            number.store(n as u64 + 1, Ordering::Relaxed);
        }
        let metrics = Metrics { workers: vec![counters.read()], connections: 7 };
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
    fn every_close_reason_is_counted_apart() {
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
    fn an_unknown_status_is_counted_with_its_like() {
        let counters = Counters::default();
        [400, 418, 451].into_iter().for_each(|status| counters.refused(status, Some(9)));
        let read = counters.read();
        assert_eq!((read.refusals(400), read.refusals(418), read.refusals(451)), (1, 2, 2));
        assert_eq!((0..=9).map(|code| read.connection_errors(code)).sum::<u64>(), 0);
    }
}
