//! The configurations that a test runs with: each kernel interface, one worker and several.

use std::sync::OnceLock;
use std::time::Duration;

use eio_monoio::{Config, Driver, Server};

use super::echo::Echo;
use super::parallel;
use super::serial;
use super::skip::skip;

/// Runs `body` with every combination of driver and number of workers, all at the same time.
#[track_caller]
pub(crate) fn for_each_config(body: impl Fn(Config) + Sync) {
    let _shared = serial::shared();
    run_all(body);
}

/// [`for_each_config`] for a test that uses all of the machine: no other such test of the process runs meanwhile.
#[track_caller]
pub(crate) fn for_each_config_alone(body: impl Fn(Config) + Sync) {
    let _exclusive = serial::exclusive();
    run_all(body);
}

#[track_caller]
fn run_all(body: impl Fn(Config) + Sync) {
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
        let config = Config::new().driver(Driver::IoUring).workers(1);
        let started = Server::new(Echo::<()>::new).config(config).bind("127.0.0.1:0");
        started.map_err(|error| skip("every test on io_uring", error)).is_ok()
    })
}
