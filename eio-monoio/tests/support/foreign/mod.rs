//! Clients and servers written by others, each installed from its lock file and run as a process of its own.
//!
//! The repository holds none of their code: `npm ci` and `pip install` put it below the build directory, once for each
//! content of the lock file. Where that is impossible, a local run skips the test; in CI it is a failure.

mod install;
mod run;
mod servers;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::skip::skip;
use install::{install_node, install_python, sources};
pub(crate) use run::run;
pub(crate) use servers::{ForeignServer, JAVASCRIPT, PYTHON};

/// A foreign client, or server, that is ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    interpreter: PathBuf,
    script: PathBuf,
    directory: PathBuf,
}

/// engine.io-client, the reference implementation. `None` means that the test is skipped.
pub(crate) fn javascript(test: &str) -> Option<&'static Program> {
    static CLIENT: OnceLock<Result<Program, String>> = OnceLock::new();
    or_skip(test, CLIENT.get_or_init(|| install_node("js", "client.mjs")))
}

/// python-engineio, both its clients. `None` means that the test is skipped.
pub(crate) fn python(test: &str) -> Option<&'static Program> {
    static CLIENT: OnceLock<Result<Program, String>> = OnceLock::new();
    or_skip(test, CLIENT.get_or_init(install_python))
}

/// Chromium, controlled by Playwright. `None` means that the test is skipped.
pub(crate) fn browser(test: &str) -> Option<&'static Program> {
    static CLIENT: OnceLock<Result<Program, String>> = OnceLock::new();
    or_skip(test, CLIENT.get_or_init(install_browser))
}

/// npm engine.io, the reference server. `None` means that the test is skipped.
pub(crate) fn javascript_server(test: &str) -> Option<&'static Program> {
    static SERVER: OnceLock<Result<Program, String>> = OnceLock::new();
    or_skip(test, SERVER.get_or_init(|| install_node("servers/js", "server.mjs")))
}

/// python-engineio's AsyncServer, from the environment of its clients. `None` means that the test is skipped.
pub(crate) fn python_server(test: &str) -> Option<&'static Program> {
    static SERVER: OnceLock<Result<Program, String>> = OnceLock::new();
    let script = || sources("servers/python").join("server.py");
    or_skip(test, SERVER.get_or_init(|| Ok(Program { script: script(), ..install_python()? })))
}

/// python-engineio's threaded server under gunicorn, from the same environment. `None` means that the test is skipped.
pub(crate) fn gunicorn(test: &str) -> Option<Program> {
    python_server(test).map(|server| server.with_script("gunicorn_server.py"))
}

impl Program {
    /// The command that runs a server's script.
    pub(crate) fn server_command(&self, settings: &[&str]) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.current_dir(&self.directory).arg(&self.script).args(settings);
        command
    }

    /// Another script in the same directory.
    pub(crate) fn with_script(&self, name: &str) -> Self {
        Self { script: self.script.with_file_name(name), ..self.clone() }
    }

    /// The command that runs a client's script against the server at `url`.
    pub(crate) fn client_command(&self, url: &str, scenarios: &[&str]) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.current_dir(&self.directory).arg(&self.script).arg(url).args(scenarios);
        command
    }
}

fn or_skip(test: &str, program: &'static Result<Program, String>) -> Option<&'static Program> {
    program.as_ref().map_err(|error| skip(test, error)).ok()
}

/// Playwright comes from npm; the browser itself is the system's.
fn install_browser() -> Result<Program, String> {
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".into());
    if !Path::new(&chromium).is_file() {
        return Err(format!("{chromium}: no such browser; CHROMIUM can name another"));
    }
    install_node("browser", "latency.mjs")
}
