//! The phases of a run (warm-up, measured time, drain), its counters, and the schedule of an open loop.

use hdrhistogram::Histogram;

use crate::args::Args;
use crate::die;
use crate::net::Net;
use crate::procfs::Cpu;
use crate::report::Report;

const SECOND: f64 = 1e9;
/// Nanoseconds for operations to finish after the measured time.
const DRAIN: u64 = 2_000_000_000;
/// Nanoseconds for all connections to be established.
const SETUP: u64 = 120_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Setup,
    WarmUp,
    Measured,
    Drain,
}

/// The result of [`Window::tick`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    Nothing,
    /// All connections are established: begin.
    Start,
    Done,
}

pub(crate) struct Window {
    args: Args,
    phase: Phase,
    /// When the phase began, and when it ends.
    since: u64,
    until: u64,
    setup: u64,
    latency: Histogram<u64>,
    /// How long after their due time the operations of an open loop began.
    lateness: Histogram<u64>,
    operations: u64,
    errors: u64,
    first_error: String,
    lost: u64,
    /// In an open loop: the operations begun, and when the first was due.
    begun: u64,
    origin: u64,
    at_start: Snapshot,
    at_end: Snapshot,
}

#[derive(Clone, Copy, Default)]
struct Snapshot {
    time: u64,
    server: Cpu,
    others: f64,
    own: Cpu,
    receives: u64,
    sends: u64,
}

impl Window {
    pub(crate) fn new(args: Args) -> Self {
        /// Nanoseconds: a longer operation counts as one minute.
        const LONGEST: u64 = 60_000_000_000;
        let histogram = || {
            Histogram::new_with_bounds(1, LONGEST, 3)
                .unwrap_or_else(|error| die(&error.to_string()))
        };
        Self {
            args,
            phase: Phase::Setup,
            since: 0,
            until: 0,
            setup: 0,
            latency: histogram(),
            lateness: histogram(),
            operations: 0,
            errors: 0,
            first_error: String::new(),
            lost: 0,
            begun: 0,
            origin: 0,
            at_start: Snapshot::default(),
            at_end: Snapshot::default(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether new operations begin.
    pub(crate) fn sending(&self) -> bool {
        matches!(self.phase, Phase::WarmUp | Phase::Measured)
    }

    /// Whether the end of an operation begins the next.
    pub(crate) fn closed_loop(&self) -> bool {
        self.args.rate.is_none()
    }

    /// When the next operation of an open loop was due, if that time has passed. The operation begins now, and its
    /// latency counts from the due time, so that it includes a delay caused by a slow server (coordinated omission).
    pub(crate) fn due(&mut self, now: u64) -> Option<u64> {
        let rate = self.args.rate?;
        if !self.sending() {
            return None;
        }
        let due = self.origin + (self.begun as f64 / rate * SECOND) as u64;
        if due > now {
            return None;
        }
        self.begun += 1;
        if self.phase == Phase::Measured {
            self.lateness.saturating_record(now.saturating_sub(due).max(1));
        }
        Some(due)
    }

    /// Counts an operation that began, or was due, at `since`, as `weight` operations.
    #[inline]
    pub(crate) fn done(&mut self, weight: u64, since: u64, now: u64) {
        if self.phase == Phase::Measured {
            self.operations += weight;
            self.latency.saturating_record(now.saturating_sub(since).max(1));
        }
    }

    pub(crate) fn error(&mut self, message: &str) {
        if self.errors == 0 {
            eprintln!("eio-load: first error: {message}");
            self.first_error = message.to_owned();
        }
        self.errors += 1;
        if self.errors > 1000 {
            die(&format!("more than 1000 errors, the first: {}", self.first_error));
        }
    }

    /// CPU seconds of the other processes.
    fn others(&self) -> f64 {
        let others = self.args.other_pid.iter().map(|pid| {
            Cpu::of(&pid.to_string()).unwrap_or_else(|| die("a process has exited")).sum()
        });
        others.sum()
    }

    fn snapshot(&self, net: &Net) -> Snapshot {
        let server = self.args.pid.map(|pid| {
            Cpu::of(&pid.to_string()).unwrap_or_else(|| die("the server's process has exited"))
        });
        Snapshot {
            time: net.now,
            server: server.unwrap_or_default(),
            others: self.others(),
            own: Cpu::of("self").unwrap_or_default(),
            receives: net.receives,
            sends: net.sends,
        }
    }

    /// `ready`: all connections are established. `outstanding`: operations begun and not done.
    pub(crate) fn tick(&mut self, net: &Net, ready: bool, outstanding: u64) -> Tick {
        match self.phase {
            Phase::Setup if ready => {
                self.setup = net.now;
                self.enter(Phase::WarmUp, net.now, self.args.warmup);
                self.origin = net.now;
                return Tick::Start;
            }
            Phase::Setup if net.now > SETUP => {
                die(&format!(
                    "not all connections are established; first error: {}",
                    self.first_error
                ));
            }
            Phase::WarmUp if net.now >= self.until => {
                self.enter(Phase::Measured, net.now, self.args.seconds);
                self.at_start = self.snapshot(net);
            }
            Phase::Measured if net.now >= self.until => {
                self.at_end = self.snapshot(net);
                self.enter(Phase::Drain, net.now, DRAIN as f64 / SECOND);
            }
            Phase::Drain if outstanding == 0 || net.now >= self.until => {
                self.lost = outstanding;
                return Tick::Done;
            }
            _ => {}
        }
        Tick::Nothing
    }

    fn enter(&mut self, phase: Phase, now: u64, seconds: f64) {
        (self.phase, self.since) = (phase, now);
        self.until = now + (seconds * SECOND) as u64;
    }

    pub(crate) fn report(&self) -> Report {
        let (a, b) = (self.at_start, self.at_end);
        let seconds = (b.time - a.time) as f64 / SECOND;
        let operations = self.operations as f64;
        let micros = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1e3;
        let mut report = Report::new()
            .text("mode", &self.args.mode.name())
            .number("connections", self.args.connections)
            .number("in_flight", self.args.in_flight)
            .number("size", self.args.size)
            .number("batch", self.args.batch)
            .float("seconds", seconds, 3)
            .number("operations", self.operations)
            .float("per_second", operations / seconds, 0)
            .float("p50_us", micros(0.5), 1)
            .float("p90_us", micros(0.9), 1)
            .float("p99_us", micros(0.99), 1)
            .float("p999_us", micros(0.999), 1)
            .float("max_us", self.latency.max() as f64 / 1e3, 1)
            .number("errors", self.errors)
            .number("lost", self.lost)
            .float("setup_s", self.setup as f64 / SECOND, 3)
            .float("load_core", (b.own.sum() - a.own.sum()) / seconds, 3)
            .float("load_receives_per_op", (b.receives - a.receives) as f64 / operations, 3)
            .float("load_sends_per_op", (b.sends - a.sends) as f64 / operations, 3);
        if let Some(rate) = self.args.rate {
            let micros = |quantile| self.lateness.value_at_quantile(quantile) as f64 / 1e3;
            report = report.float("rate", rate, 0).float("late_p99_us", micros(0.99), 1).float(
                "late_p999_us",
                micros(0.999),
                1,
            );
        }
        if self.args.pid.is_some() {
            let all = b.server.sum() - a.server.sum();
            report = report
                .float("server_core", all / seconds, 3)
                .float("server_cpu_us_per_op", all * 1e6 / operations, 3)
                .float("server_system_share", b.server.system_share(a.server), 3)
                .float(
                    "server_sleeps_per_op",
                    b.server.sleeps_since(a.server) as f64 / operations,
                    4,
                );
        }
        if !self.args.other_pid.is_empty() {
            let all = b.others - a.others;
            report = report.float("other_cpu_us_per_op", all * 1e6 / operations, 3);
        }
        if self.errors > 0 {
            report = report.text("first_error", &self.first_error);
        }
        report
    }
}
