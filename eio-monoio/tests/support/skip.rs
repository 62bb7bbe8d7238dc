//! Skips a test that cannot run on this machine. A skip is always visible, and a failure in CI.

use std::fmt::Display;
use std::io::{self, Write};

/// Reports that `test` is skipped.
///
/// # Panics
///
/// With the environment variable `CI=true`.
#[track_caller]
pub(crate) fn skip(test: &str, reason: impl Display) {
    let in_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(!in_ci, "{test} cannot run: {reason}");
    // Not `eprintln!`: the harness hides the output of tests that pass.
    _ = writeln!(io::stderr(), "SKIPPED: {test}: {reason}");
}
