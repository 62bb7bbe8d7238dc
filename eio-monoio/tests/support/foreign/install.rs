//! Installs the packages of a lock file below the build directory.

use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::thread;
use std::time::{Duration, Instant};

use super::{Program, run};

/// Enough for a slow network; a download that hangs must not hang the tests.
const INSTALL_LIMIT: Duration = Duration::from_secs(180);

pub(super) fn install_node(name: &str, script: &str) -> Result<Program, String> {
    let sources = sources(name);
    let node = version_of("node")?;
    version_of("npm")?;
    let files = ["package.json", "package-lock.json"].map(|name| sources.join(name));
    let directory = install(&name.replace('/', "-"), &node, &files, |directory| {
        let mut npm = Command::new("npm");
        npm.current_dir(directory);
        // None of the packages needs an install script, so none may run.
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
        run(&mut npm, INSTALL_LIMIT, |_| {}).map(drop)
    })?;
    Ok(Program { interpreter: "node".into(), script: sources.join(script), directory })
}

pub(super) fn install_python() -> Result<Program, String> {
    let sources = sources("python");
    let version = version_of("python3")?;
    let files = [sources.join("requirements.txt")];
    let directory = install("python", &version, &files, |directory| {
        let mut venv = Command::new("python3");
        run(venv.args(["-m", "venv"]).arg(directory.join("venv")), INSTALL_LIMIT, |_| {})?;
        let mut pip = Command::new(directory.join("venv/bin/python"));
        pip.current_dir(directory);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
        // Wheels only: a source distribution runs code and needs a compiler.
        pip.args(["--require-hashes", "--only-binary=:all:", "--requirement", "requirements.txt"]);
        run(&mut pip, INSTALL_LIMIT, |_| {}).map(drop)
    })?;
    // Only the interpreter is used: its environment may be renamed, after which pip's scripts do not work.
    let interpreter = directory.join("venv/bin/python");
    Ok(Program { interpreter, script: sources.join("client.py"), directory })
}

pub(super) fn sources(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(name)
}

fn version_of(program: &str) -> Result<String, String> {
    run(Command::new(program).arg("--version"), Duration::from_secs(30), |_| {})
}

/// The directory with the packages that `files` lock. `fill` installs them in a directory with copies of `files`.
///
/// Test processes may do this at the same time. A directory under its final name is complete, because it gets that name
/// last, by a rename, so processes never use each other's unfinished work. The lock only avoids doing the work twice:
/// a lock that a killed process leaves costs time and nothing else.
fn install(
    name: &str,
    version: &str,
    files: &[PathBuf],
    fill: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let mut hasher = DefaultHasher::new();
    version.hash(&mut hasher);
    for file in files {
        fs::read(file).map_err(|error| with_path(file, &error))?.hash(&mut hasher);
    }
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign");
    fs::create_dir_all(&parent).map_err(|error| with_path(&parent, &error))?;
    let installed = parent.join(format!("{name}-{:016x}", hasher.finish()));
    let lock = installed.with_extension("lock");
    if !wait_for_lock(&lock, &installed)? {
        return Ok(installed);
    }

    let partial = installed.with_extension(format!("partial-{}", process::id()));
    let done = (|| {
        fs::create_dir(&partial).map_err(|error| with_path(&partial, &error))?;
        for file in files {
            let copy = partial.join(file.file_name().unwrap_or(OsStr::new("file")));
            fs::copy(file, copy).map_err(|error| with_path(file, &error))?;
        }
        fill(&partial)?;
        match fs::rename(&partial, &installed) {
            Err(error) if !installed.is_dir() => Err(with_path(&installed, &error)),
            _ => Ok(()),
        }
    })();
    // It still exists if the installation failed, or if another process was first.
    _ = fs::remove_dir_all(&partial);
    _ = fs::remove_dir(&lock);
    done.map(|()| installed)
}

/// Whether this process has to install: it has the lock, or the process that has the lock takes too long.
fn wait_for_lock(lock: &Path, installed: &Path) -> Result<bool, String> {
    let deadline = Instant::now() + INSTALL_LIMIT;
    loop {
        if installed.is_dir() {
            return Ok(false);
        }
        match fs::create_dir(lock) {
            // Another process may have finished between the two checks.
            Ok(()) if installed.is_dir() => {
                _ = fs::remove_dir(lock);
                return Ok(false);
            }
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(with_path(lock, &error)),
        }
        let age = fs::metadata(lock).and_then(|lock| lock.modified()).map(|time| time.elapsed());
        let stale = matches!(age, Ok(Ok(age)) if age > INSTALL_LIMIT);
        if stale || Instant::now() >= deadline {
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn with_path(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
