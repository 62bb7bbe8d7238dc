"""Helpers of firmware.py: installation of programs, cargo for a bare-metal target, and processes such as servers."""

import atexit
import functools
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CI = Path(__file__).resolve().parent
ROOT = CI.parent.parent
EXAMPLES = ROOT / "eio-embassy/examples"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# Outputs of processes, and node modules.
WORK = Path(os.environ.get("WORK", ROOT / "target/embedded"))
CORTEX_M0 = "thumbv6m-none-eabi"


class Failure(Exception):
    """A check that failed. The message says which."""


def output(*command, **options):
    """The standard output of a command."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, **options).stdout


def need(program, *packages):
    """Installs Debian packages unless the program is there."""
    if not shutil.which(program):
        install(*(packages or [program]))


def install(*packages):
    root = [] if os.geteuid() == 0 else ["sudo"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
        # Standard output is for results.
        subprocess.run([*root, "apt-get", *command], stdout=sys.stderr, env=environment, check=True)


# Cargo


def build(directory, target, *arguments, environment=None):
    """Builds in `directory` for a bare-metal target, and returns the directory of the artifacts.

    It uses the first of these: a Rust toolchain that has the target; rustup, if it can download the target; Debian's
    rustc-web, cargo-web and rust-web-src, installed if necessary. The latter match, so `core` can be built from source.
    """
    environment = {**os.environ, **(environment or {})}
    profile = environment.get("PROFILE", "release")
    cargo, options = ["cargo"], []
    if not has_target(target):
        cargo, options = ["/usr/bin/cargo"], ["-Zbuild-std=core,alloc"]
        environment["PATH"] += f":{debian_toolchain()}"
        environment["RUSTC"] = "/usr/bin/rustc"
        # Allows -Z in a stable compiler.
        environment["RUSTC_BOOTSTRAP"] = "1"
    command = [*cargo, "build", *options, "--profile", profile, "--target", target, *arguments]
    subprocess.run(command, cwd=directory, env=environment, stdout=sys.stderr, check=True)
    metadata = output("cargo", "metadata", "--no-deps", "--format-version", "1", cwd=directory, env=environment)
    artifacts = os.environ.get("CARGO_TARGET_DIR") or json.loads(metadata)["target_directory"]
    return Path(artifacts) / target / ("debug" if profile == "dev" else profile)


@functools.cache
def has_target(target):
    def installed():
        root = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=False).stdout.strip()
        return root and Path(root, "lib/rustlib", target, "lib").is_dir()

    if not shutil.which("rustc"):
        return False
    if not installed() and shutil.which("rustup"):
        try:
            # A mirror may hang instead of refusing.
            subprocess.run(["rustup", "target", "add", target], capture_output=True, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            pass
    return installed()


def compiler(target):
    """The compiler that builds for `target`."""
    return output("rustc" if has_target(target) else "/usr/bin/rustc", "--version").strip()


@functools.cache
def debian_toolchain():
    """Installs Debian's toolchain, and returns a directory that contains `rust-lld`, for PATH."""
    library = Path("/usr/lib/rustlib/src/rust/library/core/Cargo.toml")
    if not (Path("/usr/bin/rustc").exists() and Path("/usr/bin/cargo").exists() and library.exists() and rust_lld()):
        install("rustc-web", "cargo-web", "rust-web-src", "lld-19")
    directory = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    # lld selects its interface by its name, and rustc searches PATH for that name.
    Path(directory, "rust-lld").symlink_to(rust_lld())
    return directory


def rust_lld():
    """Debian's rustc has no rust-lld. That of rustup, or lld, can be used."""
    if shutil.which("rustc"):
        root = output("rustc", "--print", "sysroot").strip()
        host = re.search(r"^host: (.*)", output("rustc", "-vV"), re.M)[1]
        lld = Path(root, "lib/rustlib", host, "bin/rust-lld")
        if lld.exists():
            return lld
    return shutil.which("lld-19") or shutil.which("lld")


# Processes


class Process:
    """A child process with its output in a file, which is killed at the end of this program, or `seconds` after its start."""

    running = []

    def __init__(self, command, name, seconds=None, **options):
        WORK.mkdir(parents=True, exist_ok=True)
        # A number, because several run at the same time.
        self.log = WORK / f"{name}-{len(Process.running)}.log"
        self.deadline = None if seconds is None else time.monotonic() + seconds
        with self.log.open("wb") as log:
            options = {"stderr": log, **options}
            self.child = subprocess.Popen([str(word) for word in command], stdout=log, **options)
        Process.running.append(self)

    def text(self):
        return self.log.read_text(errors="replace")

    def wait(self):
        """The exit status; 124 after the deadline, like timeout(1)."""
        try:
            seconds = None if self.deadline is None else max(0, self.deadline - time.monotonic())
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            return 124

    def stop(self):
        self.child.kill()
        self.child.wait()

    def wait_for(self, text, seconds=20):
        """Waits until the process has printed `text`."""
        if not poll(lambda: text in self.text(), seconds):
            raise Failure(f"never printed: {text}\n{self.text()}")

    def check(self, name):
        """Waits for exit status 0. Prints the output and the verdict."""
        status = self.wait()
        for line in self.text().splitlines():
            print(f"     {line}")
        if status:
            raise Failure(f"{name}: exit status {status}")
        passed(name)


@atexit.register
def stop_all():
    for process in Process.running:
        process.stop()


# `atexit` does not run after a signal.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def passed(name):
    print(f"ok   {name}", flush=True)


def poll(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


# Servers


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_until_listening(port):
    def accepts():
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            return False

    if not poll(accepts, 30):
        raise Failure(f"no server listens on port {port}")


@functools.cache
def modules(project):
    """The directory in which npm has installed the modules of a project, once for each content of its lock file."""
    need("node", "nodejs", "npm")
    need("npm")
    lock = CI / project / "package-lock.json"
    directory = WORK / f"{project}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if not (directory / "done").exists():
        directory.mkdir(parents=True, exist_ok=True)
        for file in (CI / project).glob("package*.json"):
            shutil.copy(file, directory)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=directory, stdout=sys.stderr, check=True)
        (directory / "done").touch()
    return directory


@functools.cache
def python_packages(project="peer"):
    """A Python with the packages of a project's requirements.txt, installed once for each content of that file."""
    lock = CI / project / "requirements.txt"
    directory = WORK / f"python-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    python = directory / "bin/python"
    if not (directory / "done").exists():
        shutil.rmtree(directory, ignore_errors=True)
        try:
            import ensurepip  # noqa: F401
        except ImportError:
            install("python3-venv")
        subprocess.run([sys.executable, "-m", "venv", directory], stdout=sys.stderr, check=True)
        # Wheels only: a source distribution runs code and needs a compiler.
        options = ("--quiet", "--disable-pip-version-check", "--no-input", "--require-hashes", "--only-binary=:all:")
        command = [python, "-m", "pip", "install", *options, "--requirement", lock]
        subprocess.run(command, stdout=sys.stderr, check=True)
        (directory / "done").touch()
    return python


@functools.cache
def echo_example():
    """The example `echo` of eio-monoio."""
    command = ["cargo", "build", "-q", "--locked", "-p", "eio-monoio", "--example", "echo"]
    subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=True)
    return TARGET / "debug/examples/echo"


def serve(kind, port, ping_interval_ms, ping_timeout_ms, max_payload, *tls, sink=False):
    """Starts an echo server on 127.0.0.1: ours (the example of eio-monoio), npm (engine.io, with TLS if `tls` is files of its
    key and certificate), or python-engineio on ASGI (python) or on aiohttp. A sink counts messages instead, and answers
    `count`."""
    figures = [ping_interval_ms, ping_timeout_ms, max_payload]
    mode = "sink" if sink else "echo"
    if kind == "ours":
        options = ("--ping-interval-ms", "--ping-timeout-ms", "--max-payload")
        flags = [word for pair in zip(options, figures) for word in pair] + ["--sink"] * sink
        command, directory = [echo_example(), "--listen", f"127.0.0.1:{port}", "--workers", 1, *flags], ROOT
    elif kind == "npm":
        command, directory = ["node", CI / "peer/echo.mjs", port, *figures, mode, *tls], modules("peer")
    else:
        python = "aiohttp" if kind == "aiohttp" else "asgi"
        command, directory = [python_packages(), CI / "peer/echo.py", port, *figures, mode, python], CI
    server = Process(command, f"server-{kind}", cwd=directory)
    wait_until_listening(port)
    return server


def sensor_server(port, seconds, name="sensor"):
    """Starts the server that tests a sensor (or `name`), and exits with status 0 if the sensor passes."""
    server = Process(["node", CI / f"peer/{name}.mjs", port], f"{name}-server", seconds, cwd=modules("peer"))
    wait_until_listening(port)
    return server
