//! The log of the examples: a writer that neither blocks nor panics, whatever happens to standard error.
//!
//! A log that blocks stops every worker for as long as its reader does, and one that panics ends what it is called in.
//! Lines pass through a bounded queue to a thread. Lines that do not fit, and those that standard error refuses, are
//! lost; the next line says how many.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};

/// The most lines that wait for the thread.
const QUEUE: usize = 1024;

/// Writes lines of `level` and above to standard error, and panics too.
pub(crate) fn start(level: tracing::Level) {
    let (lines, queue) = mpsc::sync_channel::<Vec<u8>>(QUEUE);
    let lost = Arc::new(AtomicU64::new(0));
    let writer = Writer { lines, lost: lost.clone() };
    let started = std::thread::Builder::new().name("log".into()).spawn(move || {
        for line in queue {
            let before = lost.swap(0, Ordering::Relaxed);
            let mut stderr = io::stderr();
            let written = match before {
                0 => stderr.write_all(&line),
                _ => writeln!(stderr, "{before} lines lost").and_then(|()| stderr.write_all(&line)),
            };
            if written.is_err() {
                lost.fetch_add(before + 1, Ordering::Relaxed);
            }
        }
    });
    // Without the thread the queue is closed, and every line is lost.
    drop(started);
    tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_max_level(level)
        .with_ansi(false)
        // The subscriber would report its own errors to standard error, and panic if that fails.
        .log_internal_errors(false)
        .init();
    // The default hook writes to standard error directly, which may block.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}

#[derive(Clone)]
struct Writer {
    lines: SyncSender<Vec<u8>>,
    lost: Arc<AtomicU64>,
}

impl Write for Writer {
    /// Called once for each line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.lines.try_send(line.to_vec())
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
