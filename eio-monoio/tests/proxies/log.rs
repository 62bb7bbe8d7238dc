//! The log of this process at the default level, INFO.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use crate::support::wait::TIMEOUT;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Writer;

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Records the log, as an application with the default subscriber writes it. One test at a time.
pub(crate) fn record() -> MutexGuard<'static, ()> {
    static STARTED: Once = Once::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    STARTED.call_once(|| {
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Writer);
        subscriber.init();
    });
    turn
}

/// The lines so far.
pub(crate) fn text() -> String {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&lines).into_owned()
}

/// Waits for a line with all of these parts, and returns it.
#[track_caller]
pub(crate) fn expect(parts: &[&str]) -> String {
    expect_after(0, parts)
}

/// Waits for a line with all of these parts after the first `start` bytes of the log.
#[track_caller]
pub(crate) fn expect_after(start: usize, parts: &[&str]) -> String {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let text = text();
        let mut lines = text[start..].lines();
        if let Some(line) = lines.find(|line| parts.iter().all(|part| line.contains(part))) {
            return line.to_owned();
        }
        assert!(Instant::now() < deadline, "no line with {parts:?} in:\n{}", &text[start..]);
        std::thread::sleep(Duration::from_millis(5));
    }
}
