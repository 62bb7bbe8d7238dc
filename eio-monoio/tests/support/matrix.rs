//! Where a test runs: each kernel interface, one core and several.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::thread;

use eio_monoio::{Config, Driver, Server};

use super::app::{App, Log};

/// Runs `body` with the configuration of every combination of driver and worker count, at the same time:
/// tests mostly wait. A failure names its combination by the name of its thread.
#[track_caller]
pub(crate) fn everywhere(body: impl Fn(Config) + Sync) {
    let combinations =
        [(Driver::IoUring, 1), (Driver::IoUring, 3), (Driver::Epoll, 1), (Driver::Epoll, 3)];
    let io_uring = has_io_uring();
    let body = &body;
    let failed = thread::scope(|scope| {
        let runs: Vec<_> = combinations
            .into_iter()
            .filter(|(driver, _)| *driver != Driver::IoUring || io_uring)
            .map(|(driver, workers)| {
                let name = format!("{driver}, workers: {workers}");
                let run =
                    thread::Builder::new().name(name.clone()).spawn_scoped(scope, move || {
                        body(Config::new().driver(driver).workers(workers));
                    });
                (name, run.expect("a thread"))
            })
            .collect();
        let failed = runs.into_iter().filter_map(|(name, run)| run.join().is_err().then_some(name));
        failed.collect::<Vec<_>>()
    });
    assert!(failed.is_empty(), "failed with {failed:?}");
}

/// The configuration for tests of what driver and worker count have no part in: the best driver, two workers.
pub(crate) fn somewhere() -> Config {
    Config::new().workers(2)
}

/// Whether io_uring can be tested here. Where it cannot, a local run says so, and CI fails.
pub(crate) fn has_io_uring() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let config = Config::new().driver(Driver::IoUring).workers(1);
        let log = Log::default();
        match Server::new(move || App::new(&log)).config(config).bind("127.0.0.1:0") {
            Ok(_) => true,
            Err(why) if std::env::var_os("CI").is_some_and(|ci| ci == "true") => {
                panic!("the tests need io_uring: {why}")
            }
            Err(why) => {
                // Not `eprintln!`: the harness would hide it, as the test passes.
                _ = writeln!(io::stderr(), "SKIPPED: everything on io_uring: {why}");
                false
            }
        }
    })
}
