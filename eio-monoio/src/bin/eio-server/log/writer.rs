//! [`Writer`]: a writer to standard error that neither blocks nor panics, whatever happens to standard error.
//!
//! A log that blocks stops every worker for as long as its reader does, and one that panics ends what it is called in.
//! Lines pass through a bounded queue to a thread. Lines that do not fit, and those that standard error refuses, are
//! lost; the next line says how many.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

/// The most lines that wait for the thread.
const QUEUE: usize = 1024;

#[derive(Clone)]
pub(crate) struct Writer {
    queue: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

enum Item {
    Line(Vec<u8>),
    /// Answered when all lines before it are written.
    Flush(SyncSender<()>),
}

impl Writer {
    /// A writer with its thread.
    pub(crate) fn start() -> Self {
        let (queue, items) = mpsc::sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Self { queue, lost: lost.clone() };
        let started = std::thread::Builder::new().name("log".into()).spawn(move || {
            for item in items {
                let line = match item {
                    Item::Line(line) => line,
                    Item::Flush(done) => {
                        _ = done.try_send(());
                        continue;
                    }
                };
                let before = lost.swap(0, Ordering::Relaxed);
                let mut stderr = io::stderr();
                let written = match before {
                    0 => stderr.write_all(&line),
                    _ => writeln!(stderr, "{before} lines lost")
                        .and_then(|()| stderr.write_all(&line)),
                };
                if written.is_err() {
                    lost.fetch_add(before + 1, Ordering::Relaxed);
                }
            }
        });
        // Without the thread the queue is closed, and every line is lost.
        drop(started);
        writer
    }

    /// Waits until the lines so far are written, at most for `limit`. For the end of the process.
    #[allow(dead_code, reason = "most examples end with their server")]
    pub(crate) fn flush(&self, limit: Duration) {
        let (done, written) = mpsc::sync_channel(1);
        if self.queue.try_send(Item::Flush(done)).is_ok() {
            _ = written.recv_timeout(limit);
        }
    }
}

impl Write for Writer {
    /// Called once for each line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Item::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
