//! [`SignalWatch`]: the signals that end a server or reload its certificate.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::log;
use crate::server::config::Config;
use crate::server::shard::shared::ServerShared;
use crate::worker::signal::SignalGuard;

/// A thread that handles SIGINT, SIGTERM and SIGHUP for this server until it is dropped.
pub(super) struct SignalWatch {
    handle: Handle,
    _guard: SignalGuard,
}

impl SignalWatch {
    pub(super) fn start(shared: &Arc<ServerShared>, config: &Config) -> io::Result<Self> {
        let guard = SignalGuard::new()?;
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let handle = signals.handle();
        let shared = shared.clone();
        let mut ends = Ends::new(config.signal_window, config.drain_on_signal);
        let reloads = config.reload_on_hangup;
        std::thread::Builder::new().name("eio-signals".into()).spawn(move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    hang_up(&shared, reloads);
                    continue;
                }
                // The effect comes before the log, which may block for as long as its reader does.
                match ends.next(Instant::now()) {
                    None => log::info!(signal, "repeated signal ignored"),
                    Some(End::Drain) => {
                        shared.drain();
                        log::info!(signal, "signal received, draining");
                    }
                    Some(End::Shutdown) => {
                        shared.shut_down();
                        log::info!(signal, "signal received, shutting down");
                    }
                    Some(End::Exit) => std::process::exit(128 + signal),
                }
            }
        })?;
        Ok(Self { handle, _guard: guard })
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.handle.close();
    }
}

/// SIGHUP never ends the process. A reload has its own thread: it reads files, and the next signal may not wait for them.
fn hang_up(shared: &Arc<ServerShared>, reloads: bool) {
    if !reloads {
        return log::info!("SIGHUP ignored");
    }
    if !shared.is_secure() {
        return log::info!("SIGHUP ignored: the server has no certificate");
    }
    let shared = shared.clone();
    let thread = std::thread::Builder::new().name("eio-reload".into());
    let started = thread.spawn(move || match shared.reload_tls() {
        Ok(()) => log::info!("SIGHUP received, certificate reloaded"),
        Err(error) => log::error!(%error, "SIGHUP received; the previous certificate stays"),
    });
    if let Err(error) = started {
        log::error!(%error, "SIGHUP received; no thread for the reload");
    }
}

/// The effect of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Drain,
    Shutdown,
    Exit,
}

/// The effects of successive signals.
struct Ends {
    window: Duration,
    next: End,
    /// The last signal that had an effect.
    last: Option<Instant>,
}

impl Ends {
    fn new(window: Duration, drains: bool) -> Self {
        Self { window, next: if drains { End::Drain } else { End::Shutdown }, last: None }
    }

    /// The effect of a signal at `now`; `None` if it repeats the last one.
    fn next(&mut self, now: Instant) -> Option<End> {
        if self.last.is_some_and(|last| now.duration_since(last) < self.window) {
            return None;
        }
        self.last = Some(now);
        let end = self.next;
        self.next = if end == End::Drain { End::Shutdown } else { End::Exit };
        Some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_signals_within_the_window_count_as_one() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let window = Duration::from_millis(1000);
        let mut ends = Ends::new(window, false);
        assert_eq!([0, 1, 999].map(|ms| ends.next(at(ms))), [Some(End::Shutdown), None, None]);
        assert_eq!(ends.next(at(1000)), Some(End::Exit));
        let mut ends = Ends::new(window, true);
        assert_eq!([0, 1000].map(|ms| ends.next(at(ms))), [Some(End::Drain), Some(End::Shutdown)]);
        assert_eq!([1001, 2000].map(|ms| ends.next(at(ms))), [None, Some(End::Exit)]);
        let mut ends = Ends::new(Duration::ZERO, false);
        assert_eq!([0, 0].map(|ms| ends.next(at(ms))), [Some(End::Shutdown), Some(End::Exit)]);
    }
}
