//! An example server as a process of its own.
//!
//! The tests that use it are about what users run: its signals, its exit status, and memory and descriptors that it
//! does not share with the test.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::wait::TIMEOUT;

/// A running server; dropping it kills it.
pub(crate) struct ServerProcess {
    child: Child,
    addr: SocketAddr,
    url: String,
    log: Log,
}

/// The server's command line.
#[derive(Clone, Debug)]
pub(crate) struct ServerOptions {
    pub(crate) driver: Driver,
    pub(crate) workers: usize,
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) max_payload: usize,
    pub(crate) path: &'static str,
    pub(crate) transports: &'static str,
    /// `--deflate` or `--deflate-takeover`.
    pub(crate) deflate: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    IoUring,
    Epoll,
}

impl Default for ServerOptions {
    /// One worker on io_uring, otherwise the defaults of the reference implementation.
    fn default() -> Self {
        Self {
            driver: Driver::IoUring,
            workers: 1,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            max_payload: 1_000_000,
            path: "/engine.io/",
            transports: "polling,websocket",
            deflate: None,
        }
    }
}

impl ServerProcess {
    /// Starts the `echo` example on a free port of the loopback interface and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it does not report within ten seconds that it listens; the message holds its output.
    pub(crate) fn start(options: &ServerOptions) -> Self {
        let mut command = Self::command("echo");
        command.args(["--workers", &options.workers.to_string()]);
        command.args(["--driver", &options.driver.to_string()]);
        command.args(["--ping-interval-ms", &options.ping_interval.as_millis().to_string()]);
        command.args(["--ping-timeout-ms", &options.ping_timeout.as_millis().to_string()]);
        command.args(["--max-payload", &options.max_payload.to_string()]);
        command.args(["--path", options.path]);
        command.args(["--transports", options.transports]);
        command.args(options.deflate);
        Self::run(command)
    }

    /// The command line of an example that listens on a free port of the loopback interface.
    pub(crate) fn command(example: &str) -> Command {
        let mut command = Command::new(example_path(example));
        command.args(["--listen", "127.0.0.1:0"]);
        command
    }

    /// Starts a server and waits until it listens.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub(crate) fn run(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self::run_with_stdin(command)
    }

    /// [`run`](Self::run) with the standard input that the command has already.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub(crate) fn run_with_stdin(command: Command) -> Self {
        let mut server = Self::run_with_stderr(command, Stdio::piped());
        server.log.follow(server.child.stderr.take(), None);
        server
    }

    /// [`run_with_stdin`](Self::run_with_stdin) with another standard error, which is not read.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub(crate) fn run_with_stderr(mut command: Command, stderr: Stdio) -> Self {
        command.stdout(Stdio::piped()).stderr(stderr);
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));

        let log = Log::default();
        let (ready, listening) = mpsc::channel();
        log.follow(child.stdout.take(), Some(ready));
        match wait_until_ready(&listening) {
            Some((url, addr)) => Self { child, addr, url, log },
            None => {
                _ = child.kill();
                let status = child.wait();
                if let Some(mut stderr) = child.stderr.take() {
                    let mut rest = String::new();
                    _ = stderr.read_to_string(&mut rest);
                    log.0.lock().unwrap_or_else(PoisonError::into_inner).push(rest);
                }
                panic!("{command:?} does not listen ({status:?}); its output:\n{log}");
            }
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://ADDR/PATH`, as the server printed it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The id of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes the reading end of standard error, if it is a pipe.
    pub(crate) fn close_stderr(&mut self) {
        self.child.stderr.take();
    }

    /// Sends SIGTERM and does not wait.
    pub(crate) fn terminate(&self) {
        signal("-TERM", &self.child.id().to_string());
    }

    /// Waits for the end of the process, at most for `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        wait(&mut self.child, limit)
    }

    /// The output of the server so far.
    pub(crate) fn log(&self) -> String {
        self.log.to_string()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let ended = self.child.try_wait();
        _ = self.child.kill();
        _ = self.child.wait();
        if thread::panicking() {
            eprintln!("output of the server ({}, status before the kill: {ended:?}):", self.url);
            eprintln!("{}", self.log);
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IoUring => "io-uring",
            Self::Epoll => "epoll",
        })
    }
}

/// Sends a signal through the `kill` command, which needs no `unsafe` and no crate.
///
/// `target` is a process id, or a process group with a leading `-`.
pub(crate) fn signal(signal: &str, target: &str) {
    // The process may have ended already, which its status shows.
    _ = Command::new("kill").args([signal, "--", target]).stderr(Stdio::null()).status();
}

/// Waits for the end of a child, at most for `limit`.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The path of an example: Cargo puts test binaries into `target/<profile>/deps` and examples into
/// `target/<profile>/examples`.
pub(crate) fn example_path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("target/<profile>/deps/test");
    let path = profile.join("examples").join(name);
    assert!(
        path.is_file(),
        "{} is missing. A plain `cargo test` builds the examples; `cargo test --test ...` may not: \
         run `cargo build --example {name}` first (with the same profile and target).",
        path.display()
    );
    path
}

/// Parses the ready line: `listening on http://ADDR/PATH`, or https, perhaps with more text.
fn wait_until_ready(lines: &Receiver<String>) -> Option<(String, SocketAddr)> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = lines.recv_timeout(left).ok()?;
        let Some(rest) = line.strip_prefix("listening on ") else { continue };
        let url = rest.split_whitespace().next()?;
        let (_scheme, target) = url.split_once("://")?;
        let (addr, _path) = target.split_at_checked(target.find('/')?)?;
        return Some((url.to_owned(), addr.parse().ok()?));
    }
}

/// The output of a process.
///
/// It is always read: a process with a full pipe would stop, which would look like a deadlock of the server.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn follow(&self, pipe: Option<impl Read + Send + 'static>, copy: Option<Sender<String>>) {
        let pipe = pipe.expect("the stream is piped");
        let log = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                let Ok(line) = line else { break };
                // First the log: a test that receives the copy finds the line there.
                log.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
                if let Some(copy) = &copy {
                    _ = copy.send(line);
                }
            }
        });
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}
