//! [`Health`]: whether the application makes progress, and whether its network is usable.

use core::cell::Cell;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer};

/// After this number of attempts without a session the network is not usable: a radio may report a link that it does not
/// have.
pub const FAILURES: u32 = 3;

/// Longer than the application may wait for one event: 10 s each for a name and a connection, 20 s for a session, 30 s
/// between attempts.
pub const PROGRESS: Duration = Duration::from_secs(120);

/// Whether the application makes progress, and whether its network is usable. It can be a `static`.
pub struct Health {
    /// Attempts without a session since the last one or since the radio joined; the time of the last progress.
    state: Mutex<CriticalSectionRawMutex, Cell<(u32, Instant)>>,
    unusable: Signal<CriticalSectionRawMutex, ()>,
}

impl Health {
    /// No failures.
    pub const fn new() -> Self {
        Self { state: Mutex::new(Cell::new((0, Instant::MIN))), unusable: Signal::new() }
    }

    /// The application has processed an event, or waited in vain for one.
    pub fn progress(&self) {
        self.state.lock(|state| state.set((state.get().0, Instant::now())));
    }

    /// A session is open, or the radio has joined.
    pub fn usable(&self) {
        self.state.lock(|state| state.set((0, Instant::now())));
        self.unusable.reset();
    }

    /// An attempt did not open a session.
    pub fn failed(&self) {
        let failures = self.state.lock(|state| {
            let failures = state.get().0 + 1;
            state.set((failures, Instant::now()));
            failures
        });
        if failures.is_multiple_of(FAILURES) {
            self.unusable.signal(());
        }
    }

    /// Waits until [`FAILURES`] attempts have failed.
    pub async fn unusable(&self) {
        self.unusable.wait().await;
    }

    /// Whether the application has made progress lately.
    pub fn is_alive(&self) -> bool {
        Instant::now() - self.state.lock(Cell::get).1 < PROGRESS
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

/// Feeds a watchdog once a second, as long as the application is alive. The watchdog resets the device if the executor is
/// blocked for its timeout, or if the application has made no progress for [`PROGRESS`].
pub async fn watch(health: &Health, mut feed: impl FnMut()) -> ! {
    loop {
        if health.is_alive() {
            feed();
        }
        Timer::after_secs(1).await;
    }
}
