//! The configurations that a test runs with: each kernel interface, one worker and several.

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use eio_monoio::client;
use eio_monoio::{Config, Driver};

use super::parallel;
use super::skip::skip;

/// Runs `body` with every combination of driver and number of workers, all at the same time.
#[track_caller]
pub(crate) fn for_each_config(body: impl Fn(Config) + Sync) {
    let configs = drivers().flat_map(|driver| [(driver, 1), (driver, 3)]);
    let cases = configs.map(|(driver, workers)| {
        let name = format!("{driver}, workers: {workers}");
        (name, base_config().driver(driver).workers(workers))
    });
    parallel::for_each(cases, body);
}

/// Makes the shutdown wait neither for polling clients nor long for others that a test leaves open.
pub(crate) fn brief_shutdown(config: Config) -> Config {
    config.shutdown_grace(Duration::ZERO).shutdown_timeout(Duration::from_millis(100))
}

fn base_config() -> Config {
    brief_shutdown(Config::new())
}

/// A configuration for tests that do not depend on driver and number of workers: the best driver, two workers.
pub(crate) fn default_config() -> Config {
    base_config().workers(2)
}

/// A configuration for the server in tests of the client: one worker on epoll, which every machine has.
pub(crate) fn epoll_config() -> Config {
    base_config().driver(Driver::Epoll).workers(1)
}

/// The drivers that this machine can run.
pub(crate) fn drivers() -> impl Iterator<Item = Driver> {
    let drivers = [Driver::IoUring, Driver::Epoll].into_iter();
    drivers.filter(|driver| *driver != Driver::IoUring || has_io_uring())
}

/// Whether this machine has io_uring. If not, a local run reports it, and CI fails.
pub(crate) fn has_io_uring() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // On a thread of its own, because this one may have a runtime.
        let probe = || client::block_on(Driver::IoUring, async {});
        let probed = thread::spawn(probe).join().expect("no panic");
        probed.map_err(|error| skip("every test on io_uring", error)).is_ok()
    })
}
