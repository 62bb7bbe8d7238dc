//! Runs a test, or one case of it, in a process of its own: this test binary once more with a single test.

use std::process::Command;

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

/// Runs `body` in a process of its own, for tests whose figures are those of the whole process.
#[track_caller]
pub(crate) fn run(module: &str, test: &str, body: impl FnOnce()) {
    const CHILD: &str = "EIO_TEST_OWN_PROCESS";
    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    let output = command(module, test).env(CHILD, "1").output().expect("the test binary runs");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the process of the test failed: {}", output.status);
}
