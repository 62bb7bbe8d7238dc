//! The text format of Prometheus, version 0.0.4. Names follow its conventions: base units (seconds, bytes), `_total` for
//! counters, label values without spaces.

use std::fmt;
use std::time::Duration;

use eio_core::session::CloseReason;

use super::{
    ACCEPTED, BYTES_LOST, BYTES_RECEIVED, BYTES_SENT, CLOSED, CODES, CounterRange, DROPPED,
    DropReason, ERRORS, HANDLER, HANDSHAKE, HandlerCall, Histogram, LAG, MESSAGES_RECEIVED,
    MESSAGES_SENT, MOVED, Metrics, OPENED, OVER_BUDGET, QUEUED, REASONS, REFUSALS, REFUSED,
    RefusedConnection, SESSIONS, STATUSES, TLS_FAILURES, TLS_HANDSHAKE, TRANSPORTS, UNDELIVERED,
    UPGRADES, UPGRADES_STARTED, histogram,
};

/// A family of series with the numbers of each worker.
struct Family {
    name: &'static str,
    help: &'static str,
    numbers: CounterRange,
    label: Label,
}

/// The label by which the series of a family differ, besides the worker.
#[derive(Clone, Copy)]
enum Label {
    None,
    Transport,
    Reason,
    Dropped,
    Refused,
    Result,
    Status,
    Code,
    Handler,
}

const fn family(
    name: &'static str,
    help: &'static str,
    numbers: CounterRange,
    label: Label,
) -> Family {
    Family { name, help, numbers, label }
}

/// Counters end in `_total`; the others are gauges.
const FAMILIES: [Family; 20] = [
    family("eio_sessions", "Open sessions.", SESSIONS, Label::Transport),
    family(
        "eio_sessions_opened_total",
        "Sessions opened, by their first transport.",
        OPENED,
        Label::Transport,
    ),
    family("eio_sessions_closed_total", "Sessions that ended.", CLOSED, Label::Reason),
    family("eio_upgrades_started_total", "Upgrades that began.", UPGRADES_STARTED, Label::None),
    family("eio_upgrades_total", "Upgrades from polling to WebSocket.", UPGRADES, Label::Result),
    family(
        "eio_messages_received_total",
        "Messages received.",
        MESSAGES_RECEIVED,
        Label::Transport,
    ),
    family(
        "eio_messages_sent_total",
        "Messages that sessions accepted for sending.",
        MESSAGES_SENT,
        Label::None,
    ),
    family(
        "eio_messages_dropped_total",
        "Messages that sessions did not accept.",
        DROPPED,
        Label::Dropped,
    ),
    family(
        "eio_messages_undelivered_total",
        "Accepted messages that no transport had taken when their session ended.",
        UNDELIVERED,
        Label::Reason,
    ),
    family(
        "eio_lost_bytes_total",
        "Bytes that WebSockets had taken and not sent when their connection ended.",
        BYTES_LOST,
        Label::None,
    ),
    family(
        "eio_received_bytes_total",
        "Bytes of HTTP and WebSocket received.",
        BYTES_RECEIVED,
        Label::None,
    ),
    family("eio_sent_bytes_total", "Bytes of HTTP and WebSocket sent.", BYTES_SENT, Label::None),
    family("eio_queued_bytes", "Bytes queued for sending.", QUEUED, Label::None),
    family("eio_connections_accepted_total", "Connections accepted.", ACCEPTED, Label::None),
    family(
        "eio_connections_moved_total",
        "Connections moved to another worker.",
        MOVED,
        Label::None,
    ),
    family(
        "eio_tls_failures_total",
        "Connections whose TLS handshake failed.",
        TLS_FAILURES,
        Label::None,
    ),
    family(
        "eio_over_budget_total",
        "Unfinished messages and requests refused for the memory budget.",
        OVER_BUDGET,
        Label::None,
    ),
    family(
        "eio_connections_refused_total",
        "Connections closed before their first request.",
        REFUSED,
        Label::Refused,
    ),
    family(
        "eio_refusals_total",
        "Requests answered with an error status.",
        REFUSALS,
        Label::Status,
    ),
    family(
        "eio_connection_errors_total",
        "Requests refused with an error code of Engine.IO.",
        ERRORS,
        Label::Code,
    ),
];

/// Histograms of durations.
const HISTOGRAMS: [Family; 4] = [
    family(
        "eio_handler_seconds",
        "Time of the application's handlers, of a sample of the messages.",
        HANDLER,
        Label::Handler,
    ),
    family(
        "eio_handshake_seconds",
        "Time of accepted Engine.IO handshakes.",
        HANDSHAKE,
        Label::Transport,
    ),
    family(
        "eio_tls_handshake_seconds",
        "Time of completed TLS handshakes.",
        TLS_HANDSHAKE,
        Label::None,
    ),
    family("eio_worker_lag_seconds", "Time until a worker notices a message.", LAG, Label::None),
];

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Family { name, help, numbers, label } in &FAMILIES {
            head(f, name, help, if name.ends_with("_total") { "counter" } else { "gauge" })?;
            for (id, worker) in self.workers.iter().enumerate() {
                for index in 0..numbers.len {
                    let label = label.of(index);
                    writeln!(
                        f,
                        "{name}{{worker=\"{id}\"{label}}} {}",
                        worker.get(*numbers, index)
                    )?;
                }
            }
        }
        for Family { name, help, numbers, label } in &HISTOGRAMS {
            head(f, name, help, "histogram")?;
            for (id, worker) in self.workers.iter().enumerate() {
                for index in 0..numbers.len / histogram::LEN {
                    let labels = format!("worker=\"{id}\"{}", label.of(index));
                    write_histogram(f, name, &labels, &worker.histogram(*numbers, index))?;
                }
            }
        }
        self.write_workers(f)?;
        self.write_server(f)?;
        #[cfg(feature = "nats")]
        if let Some(cluster) = &self.cluster {
            cluster.write(f)?;
        }
        self.write_process(f)
    }
}

/// Figures without counters of workers.
impl Metrics {
    fn write_workers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = "eio_worker_unresponsive_seconds";
        head(f, name, "Time for which a message waits for the worker.", "gauge")?;
        for (id, worker) in self.workers.iter().enumerate() {
            writeln!(f, "{name}{{worker=\"{id}\"}} {}", worker.unresponsive.as_secs_f64())?;
        }
        let name = "eio_worker_info";
        head(f, name, "The kernel interface of each worker.", "gauge")?;
        for (id, worker) in self.workers.iter().enumerate() {
            if let Some(driver) = worker.driver() {
                writeln!(f, "{name}{{worker=\"{id}\",driver=\"{driver}\"}} 1")?;
            }
        }
        Ok(())
    }

    fn write_server(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        gauge(f, "eio_connections", "Open connections of all workers.", self.connections)?;
        let limits = &self.limits;
        gauge(f, "eio_max_connections", "Limit on open connections.", limits.max_connections)?;
        if let Some(handshakes) = limits.max_handshakes_per_second {
            let help = "Limit on handshakes in each second.";
            gauge(f, "eio_max_handshakes_per_second", help, handshakes)?;
        }
        for (name, help, bytes) in [
            ("eio_max_payload_bytes", "Limit on a received message.", limits.max_payload),
            (
                "eio_outbound_high_water_bytes",
                "Queued bytes from which a session is slow.",
                limits.outbound_high_water,
            ),
            (
                "eio_inbound_high_water_bytes",
                "Bytes for a busy handler from which a session is not read.",
                limits.inbound_high_water,
            ),
            (
                "eio_mailbox_high_water_bytes",
                "Bytes for a worker from which its mailbox is full.",
                limits.mailbox_high_water,
            ),
        ] {
            gauge(f, name, help, bytes)?;
        }
        let help = "Bytes of unfinished messages and queues of the process.";
        gauge(f, "eio_held_bytes", help, self.held_bytes)?;
        if let Some(budget) = limits.memory_budget {
            gauge(f, "eio_memory_budget_bytes", "Limit on held bytes.", budget)?;
        }
        head(f, "eio_build_info", "The version of the library, and its features.", "gauge")?;
        let (version, tls) = (env!("CARGO_PKG_VERSION"), cfg!(feature = "tls"));
        writeln!(f, "eio_build_info{{version=\"{version}\",tls=\"{tls}\"}} 1")
    }

    /// Names and help texts are those of Prometheus' own clients.
    fn write_process(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(process) = &self.process else { return Ok(()) };
        let name = "process_cpu_seconds_total";
        head(f, name, "Total user and system CPU time spent in seconds.", "counter")?;
        writeln!(f, "{name} {}", process.cpu.as_secs_f64())?;
        gauge(f, "process_open_fds", "Number of open file descriptors.", process.open_fds)?;
        gauge(f, "process_max_fds", "Maximum number of open file descriptors.", process.max_fds)?;
        let name = "process_virtual_memory_bytes";
        gauge(f, name, "Virtual memory size in bytes.", process.virtual_memory)?;
        let name = "process_resident_memory_bytes";
        gauge(f, name, "Resident memory size in bytes.", process.resident_memory)?;
        let (name, start) = ("process_start_time_seconds", process.start_time.as_secs_f64());
        gauge(f, name, "Start time of the process since unix epoch in seconds.", start)?;
        gauge(f, "process_threads", "Number of OS threads in the process.", process.threads)
    }
}

fn head(f: &mut fmt::Formatter<'_>, name: &str, help: &str, kind: &str) -> fmt::Result {
    writeln!(f, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

fn gauge(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    help: &str,
    value: impl fmt::Display,
) -> fmt::Result {
    head(f, name, help, "gauge")?;
    writeln!(f, "{name} {value}")
}

fn write_histogram(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    labels: &str,
    histogram: &Histogram,
) -> fmt::Result {
    for (bound, count) in histogram.buckets() {
        match bound.as_ref().map(Duration::as_secs_f64) {
            Some(bound) => writeln!(f, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}")?,
            None => writeln!(f, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}")?,
        }
    }
    writeln!(f, "{name}_sum{{{labels}}} {}", histogram.sum().as_secs_f64())?;
    writeln!(f, "{name}_count{{{labels}}} {}", histogram.count())
}

impl Label {
    /// The label of series `index` after a comma; empty if the series differ by their worker only. No value has a
    /// character that must be escaped.
    fn of(self, index: usize) -> String {
        let (name, value) = match self {
            Self::None => return String::new(),
            Self::Transport => ("transport", TRANSPORTS.get(index).map(ToString::to_string)),
            Self::Reason => {
                ("reason", REASONS.get(index).map(|reason| reason_label(*reason).into()))
            }
            Self::Dropped => {
                ("reason", DropReason::ALL.get(index).map(|reason| reason.label().into()))
            }
            Self::Refused => {
                ("reason", RefusedConnection::ALL.get(index).map(|reason| reason.label().into()))
            }
            Self::Result => ("result", ["completed", "failed"].get(index).map(ToString::to_string)),
            Self::Code => ("code", CODES.get(index).map(ToString::to_string)),
            Self::Status => {
                let status = STATUSES.get(index).map(ToString::to_string);
                ("status", Some(status.unwrap_or_else(|| "other".into())))
            }
            Self::Handler => {
                ("handler", HandlerCall::ALL.get(index).map(|call| handler_label(*call).into()))
            }
        };
        value.map_or_else(String::new, |value| format!(",{name}=\"{value}\""))
    }
}

/// The reason in the form of a label: Engine.IO's own text has spaces.
fn reason_label(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::ClientDisconnect => "client_disconnect",
        CloseReason::ServerDisconnect => "server_disconnect",
        CloseReason::PingTimeout => "ping_timeout",
        CloseReason::TransportClose => "transport_close",
        CloseReason::TransportError => "transport_error",
        CloseReason::ParseError => "parse_error",
        CloseReason::PayloadTooLarge => "payload_too_large",
        CloseReason::HandlerPanicked => "handler_panicked",
        _ => "other",
    }
}

fn handler_label(call: HandlerCall) -> &'static str {
    match call {
        HandlerCall::Connect => "connect",
        HandlerCall::Open => "open",
        HandlerCall::Message => "message",
        HandlerCall::Disconnect => "disconnect",
        HandlerCall::Request => "request",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::Ordering;

    use super::super::{COUNT, Counters, DRIVER, LimitMetrics, ProcessMetrics};
    use super::*;

    /// Metrics in which each number is distinct: number n of the worker is n + 1.
    fn distinct() -> Metrics {
        let counters = Counters::default();
        for (n, number) in counters.0.iter().enumerate() {
            number.store(n as u64 + 1, Ordering::Relaxed);
        }
        let limits = LimitMetrics { max_handshakes_per_second: Some(3), ..LimitMetrics::default() };
        let process = Some(ProcessMetrics::read());
        Metrics {
            workers: vec![counters.read()],
            connections: 7,
            #[cfg(feature = "nats")]
            cluster: Some(crate::metrics::cluster::ClusterMetrics::default()),
            held_bytes: 0,
            limits,
            process,
        }
    }

    #[test]
    fn every_number_is_written_once() {
        let text = distinct().to_string();
        let of_a_worker = |line: &&str| line.contains("worker=") && !line.contains("_seconds");
        let mut shown: Vec<u64> = text
            .lines()
            .filter(of_a_worker)
            .filter(|line| !line.starts_with("eio_worker_info"))
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        shown.sort_unstable();
        assert_eq!(shown, (1..=HANDLER.first as u64).collect::<Vec<_>>(), "{text}");
        // After them come the histograms, of which each bucket is a sum, and the driver.
        let histograms = text.lines().filter(|line| line.contains("le=\"+Inf\"")).count();
        assert_eq!(histograms * histogram::LEN, DRIVER.first - HANDLER.first);
        assert_eq!(DRIVER.first + 1, COUNT);
        assert!(text.contains("\neio_connections 7\n"), "{text}");
    }

    /// <https://prometheus.io/docs/practices/naming/>
    #[test]
    fn names_follow_the_conventions() {
        let text = distinct().to_string();
        let mut names = BTreeSet::new();
        for line in text.lines() {
            if let Some((name, kind)) =
                line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' '))
            {
                assert!(names.insert(name.to_owned()), "twice: {name}");
                assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
                let is_legal = |b: u8| b.is_ascii_lowercase() || b == b'_';
                assert!(name.bytes().all(is_legal), "{name}");
                assert!(name.starts_with("eio_") || name.starts_with("process_"), "{name}");
                for unit in ["_ms", "_milliseconds", "_kb", "_kib", "_percent", "_minutes"] {
                    assert!(!name.contains(unit), "{name} is not in a base unit");
                }
                let stem = name.trim_end_matches("_total");
                for unit in ["_bytes", "_seconds"] {
                    let own_unit = unit == "_seconds" && stem.ends_with("_per_second");
                    assert!(!stem.contains(unit) || stem.ends_with(unit) || own_unit, "{name}");
                }
                for kind in ["_count", "_sum", "_bucket", "counter", "gauge", "histogram"] {
                    assert!(!name.contains(kind), "{name} names its type");
                }
            } else if !line.starts_with('#') {
                let value_of = |label: &str| label.split('"').nth(1).map(str::to_owned);
                let labels =
                    line.split_once('{').map_or("", |(_, rest)| rest.split('}').next().unwrap());
                for value in labels.split(',').filter_map(value_of) {
                    let is_legal = |b: u8| b.is_ascii_alphanumeric() || b"_-.+".contains(&b);
                    assert!(!value.is_empty() && value.bytes().all(is_legal), "{line}");
                }
            }
        }
        assert!(names.len() > 35, "{names:?}");
        for required in
            ["process_cpu_seconds_total", "process_resident_memory_bytes", "eio_build_info"]
        {
            assert!(names.contains(required), "{required}");
        }
    }

    #[test]
    fn buckets_of_a_histogram_grow_to_its_count() {
        let text = distinct().to_string();
        let series = |line: &str| {
            line.rsplit_once(' ')
                .map(|(key, value)| (key.to_owned(), value.parse::<f64>().unwrap()))
        };
        let mut last = 0.0;
        let mut histograms = 0;
        for (key, value) in text.lines().filter(|line| !line.starts_with('#')).filter_map(series) {
            if key.contains("_bucket{") {
                assert!(value >= last, "{key}");
                last = value;
            } else if key.contains("_count{") {
                assert!((value - last).abs() < f64::EPSILON, "{key}");
                histograms += 1;
                last = 0.0;
            }
        }
        assert_eq!(histograms, 9);
    }

    #[test]
    fn figures_of_the_process_can_be_left_out() {
        let text = Metrics { process: None, ..distinct() }.to_string();
        assert!(!text.contains("process_") && text.contains("eio_build_info"), "{text}");
    }
}
