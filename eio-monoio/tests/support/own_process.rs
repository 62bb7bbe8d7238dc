//! Runs a test, or one case of it, in a process of its own: this test binary once more with a single test.

use std::process::Command;

use eio_monoio::Driver;

use super::configs::drivers;
use super::parallel;

/// The command that runs `test` of the module `module` (its `module_path!()`) alone.
pub(crate) fn command(module: &str, test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of the test binary"));
    command.args(["--exact", "--nocapture", &path(module, test)]);
    command
}

/// The name of a test for the harness, which leaves out the crate.
pub(crate) fn path(module: &str, test: &str) -> String {
    match module.split_once("::") {
        Some((_, module)) => format!("{module}::{test}"),
        None => test.to_owned(),
    }
}

/// Runs `body` for each driver in a process of its own, for tests that measure a process.
#[track_caller]
pub(crate) fn for_each_driver(module: &str, test: &str, body: impl FnOnce(Driver)) {
    const DRIVER: &str = "EIO_TEST_DRIVER";
    if let Ok(driver) = std::env::var(DRIVER) {
        return body(driver.parse().expect("a driver"));
    }
    parallel::for_each(drivers().map(|driver| (driver.to_string(), driver)), |driver| {
        let mut command = command(module, test);
        let output = command.env(DRIVER, driver.to_string()).output().expect("the test runs");
        print!("{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "the process of the test failed: {}", output.status);
    });
}
