//! Clients written by others, each installed from its lock file and run as a process of its own.
//!
//! Nothing of theirs is in this repository: `npm ci` and `pip install` put it below the build
//! directory, once for each content of the lock file. Where that is impossible a local run says so
//! and goes on; in CI it is a failure.

use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::server;

/// Enough for a slow network; a download that hangs must not hang the tests.
const INSTALL_LIMIT: Duration = Duration::from_secs(180);

/// A foreign client, or server, that is ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    interpreter: PathBuf,
    script: PathBuf,
    directory: PathBuf,
}

/// engine.io-client, the reference implementation. `None` means: skip, the reason is told.
pub(crate) fn javascript(test: &str) -> Option<&'static Client> {
    static CLIENT: OnceLock<Result<Client, String>> = OnceLock::new();
    or_skip(test, CLIENT.get_or_init(install_javascript))
}

/// python-engineio, both its clients. `None` means: skip, the reason is told.
pub(crate) fn python(test: &str) -> Option<&'static Client> {
    static CLIENT: OnceLock<Result<Client, String>> = OnceLock::new();
    or_skip(test, CLIENT.get_or_init(install_python))
}

/// Chromium, driven by Playwright. `None` means: skip, the reason is told.
pub(crate) fn browser(test: &str) -> Option<&'static Client> {
    static CLIENT: OnceLock<Result<Client, String>> = OnceLock::new();
    or_skip(test, CLIENT.get_or_init(install_browser))
}

/// npm engine.io, the reference server. `None` means: skip, the reason is told.
pub(crate) fn javascript_server(test: &str) -> Option<&'static Client> {
    static SERVER: OnceLock<Result<Client, String>> = OnceLock::new();
    or_skip(test, SERVER.get_or_init(|| install_node("servers/js", "server.mjs")))
}

/// python-engineio's AsyncServer, from the environment of its clients. `None` means: skip, the reason is told.
pub(crate) fn python_server(test: &str) -> Option<&'static Client> {
    static SERVER: OnceLock<Result<Client, String>> = OnceLock::new();
    let script = || sources("servers/python").join("server.py");
    or_skip(test, SERVER.get_or_init(|| Ok(Client { script: script(), ..install_python()? })))
}

impl Client {
    /// A server's script with its settings.
    pub(crate) fn serve(&self, settings: &[&str]) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.current_dir(&self.directory).arg(&self.script).args(settings);
        command
    }

    /// Another script beside this one.
    pub(crate) fn with_script(&self, name: &str) -> Self {
        Self { script: self.script.with_file_name(name), ..self.clone() }
    }

    /// The client's script against the server at `url`.
    pub(crate) fn command(&self, url: &str, scenarios: &[&str]) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.current_dir(&self.directory).arg(&self.script).arg(url).args(scenarios);
        command
    }
}

/// Runs a command to its end and returns what it printed on either stream.
///
/// `on_line` sees each line of stdout as it comes.
///
/// # Errors
///
/// The command cannot be started, fails, or is not done within `limit` (then it is killed, with
/// whatever it started). The text holds what it printed.
pub(crate) fn run(
    command: &mut Command,
    limit: Duration,
    mut on_line: impl FnMut(&str),
) -> Result<String, String> {
    // A group of its own, so that a kill reaches its children and they do not keep the pipes open.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    let (lines, printed) = mpsc::channel();
    forward(child.stdout.take(), Stream::Out, lines.clone());
    forward(child.stderr.take(), Stream::Err, lines);

    let deadline = Instant::now() + limit;
    let mut output = String::new();
    let in_time = loop {
        match printed.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((stream, line)) => {
                output.push_str(&line);
                output.push('\n');
                if stream == Stream::Out {
                    on_line(&line);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break true,
            Err(RecvTimeoutError::Timeout) => break false,
        }
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let status = if in_time { server::wait(&mut child, left) } else { None };
    match status {
        Some(status) if status.success() => Ok(output),
        Some(status) => Err(format!("{command:?} failed ({status}):\n{output}")),
        None => {
            server::signal("-KILL", &format!("-{}", child.id()));
            _ = child.wait();
            Err(format!("{command:?} was killed after {} s:\n{output}", limit.as_secs()))
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

fn forward(
    pipe: Option<impl Read + Send + 'static>,
    stream: Stream,
    lines: Sender<(Stream, String)>,
) {
    let pipe = pipe.expect("the stream is piped");
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if lines.send((stream, line)).is_err() {
                break;
            }
        }
    });
}

fn or_skip(test: &str, client: &'static Result<Client, String>) -> Option<&'static Client> {
    match client {
        Ok(client) => Some(client),
        Err(why) if std::env::var_os("CI").is_some_and(|ci| ci == "true") => {
            panic!("{test} needs a foreign client: {why}")
        }
        Err(why) => {
            // Not `eprintln!`: the harness would hide it, as the test passes.
            _ = writeln!(io::stderr(), "SKIPPED: {test}: {why}");
            None
        }
    }
}

fn install_javascript() -> Result<Client, String> {
    install_node("js", "client.mjs")
}

/// The driver comes from npm; the browser itself is the system's.
fn install_browser() -> Result<Client, String> {
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".into());
    if !Path::new(&chromium).is_file() {
        return Err(format!("{chromium}: no such browser; CHROMIUM can name another"));
    }
    install_node("browser", "latency.mjs")
}

fn install_node(name: &str, script: &str) -> Result<Client, String> {
    let sources = sources(name);
    let node = version_of("node")?;
    version_of("npm")?;
    let files = ["package.json", "package-lock.json"].map(|name| sources.join(name));
    let directory = install(&name.replace('/', "-"), &node, &files, |directory| {
        let mut npm = Command::new("npm");
        npm.current_dir(directory);
        // No package of ours needs an install script, so none may run.
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
        run(&mut npm, INSTALL_LIMIT, |_| {}).map(drop)
    })?;
    Ok(Client { interpreter: "node".into(), script: sources.join(script), directory })
}

fn install_python() -> Result<Client, String> {
    let sources = sources("python");
    let version = version_of("python3")?;
    let files = [sources.join("requirements.txt")];
    let directory = install("python", &version, &files, |directory| {
        let mut venv = Command::new("python3");
        run(venv.args(["-m", "venv"]).arg(directory.join("venv")), INSTALL_LIMIT, |_| {})?;
        let mut pip = Command::new(directory.join("venv/bin/python"));
        pip.current_dir(directory);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
        // Wheels only: a source distribution runs code and wants a compiler.
        pip.args(["--require-hashes", "--only-binary=:all:", "--requirement", "requirements.txt"]);
        run(&mut pip, INSTALL_LIMIT, |_| {}).map(drop)
    })?;
    // Only the interpreter is used. Its environment may be renamed, which pip's scripts in the
    // same directory would not survive.
    let interpreter = directory.join("venv/bin/python");
    Ok(Client { interpreter, script: sources.join("client.py"), directory })
}

fn sources(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(name)
}

fn version_of(program: &str) -> Result<String, String> {
    run(Command::new(program).arg("--version"), Duration::from_secs(30), |_| {})
}

/// The directory that holds what `files` ask for; `fill` makes it in a directory with copies of
/// them.
///
/// Test processes may do this at the same time. A directory under its final name is complete,
/// because it gets that name last, by a rename: that is what keeps them from each other. The lock
/// beside it only saves the work of doing it twice, so a lock left by a killed process costs time
/// and nothing else.
fn install(
    name: &str,
    version: &str,
    files: &[PathBuf],
    fill: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let mut hasher = DefaultHasher::new();
    version.hash(&mut hasher);
    for file in files {
        fs::read(file).map_err(|error| told(file, &error))?.hash(&mut hasher);
    }
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign");
    fs::create_dir_all(&parent).map_err(|error| told(&parent, &error))?;
    let installed = parent.join(format!("{name}-{:016x}", hasher.finish()));
    let lock = installed.with_extension("lock");
    if !wait_for_lock(&lock, &installed)? {
        return Ok(installed);
    }

    let partial = installed.with_extension(format!("partial-{}", process::id()));
    let done = (|| {
        fs::create_dir(&partial).map_err(|error| told(&partial, &error))?;
        for file in files {
            let copy = partial.join(file.file_name().unwrap_or(OsStr::new("file")));
            fs::copy(file, copy).map_err(|error| told(file, &error))?;
        }
        fill(&partial)?;
        match fs::rename(&partial, &installed) {
            Err(error) if !installed.is_dir() => Err(told(&installed, &error)),
            _ => Ok(()),
        }
    })();
    // Left over if it failed, or if another process was first.
    _ = fs::remove_dir_all(&partial);
    _ = fs::remove_dir(&lock);
    done.map(|()| installed)
}

/// Whether this process has to install: it got the lock, or its holder took too long.
fn wait_for_lock(lock: &Path, installed: &Path) -> Result<bool, String> {
    let deadline = Instant::now() + INSTALL_LIMIT;
    loop {
        if installed.is_dir() {
            return Ok(false);
        }
        match fs::create_dir(lock) {
            // Another process may have finished between the two looks.
            Ok(()) if installed.is_dir() => {
                _ = fs::remove_dir(lock);
                return Ok(false);
            }
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(told(lock, &error)),
        }
        let age = fs::metadata(lock).and_then(|lock| lock.modified()).map(|time| time.elapsed());
        let stale = matches!(age, Ok(Ok(age)) if age > INSTALL_LIMIT);
        if stale || Instant::now() >= deadline {
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
