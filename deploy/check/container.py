#!/usr/bin/python3
"""Builds and runs the image of deploy/container/Containerfile without an engine: the steps of its stages in directories.

usage: deploy/check/container.py

- A stage from an image with a toolchain runs with the toolchain of this machine, on a copy of the files that git tracks,
  without those of .dockerignore. Optimizations are off: the variables are those of Cargo's profiles.
- The last stage is a directory with the copied files and the libraries of this machine that stand for the base image. The
  program runs there by chroot(1), as the user of the image, with its command, and is asked for /readyz and a session.

The base images themselves are not fetched. Needs root, or sudo without a password.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FILE = ROOT / "deploy/container/Containerfile"
PROFILE = {"LTO": "off", "CODEGEN_UNITS": "16", "OPT_LEVEL": "1", "DEBUG": "0"}
KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "container"
AS_ROOT = [] if os.getuid() == 0 else ["sudo", "-n"]


def instructions():
    for line in FILE.read_text().replace("\\\n", "").splitlines():
        name, _, rest = line.partition(" ")
        if name and not name.startswith("#"):
            assert name in KNOWN, f"{FILE}: {name} is not run here"
            yield name, rest


def ignored(path):
    for pattern in (ROOT / ".dockerignore").read_text().splitlines():
        if pattern and not pattern.startswith("#"):
            expression = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
            if re.fullmatch(f"{expression}(/.*)?", path):
                return True
    return False


def copy_context(destination):
    names = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                           capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file() and not ignored(name):
            (destination / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, destination / name)


class Stage:
    def __init__(self, root):
        self.root, self.directory = root, pathlib.PurePosixPath("/")
        self.settings = {}

    def path(self, name):
        return self.root / (self.directory / name).relative_to("/")

    def copy(self, source, destination):
        """A directory copies its content, as COPY does."""
        target = self.path(destination)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, symlinks=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)

    def run(self, command):
        directory = self.path(".")
        link = directory / "target"
        if not link.exists():
            TARGET.mkdir(parents=True, exist_ok=True)
            link.symlink_to(TARGET)
        environment = {**os.environ, **{f"CARGO_PROFILE_RELEASE_{name}": value for name, value in PROFILE.items()}}
        environment.pop("CARGO_TARGET_DIR", None)
        subprocess.run(["sh", "-euc", command], cwd=directory, env=environment, check=True)


def build(scratch):
    stages, stage = {}, None
    for name, rest in instructions():
        if name == "FROM":
            _, _, alias = rest.partition(" AS ")
            stage = stages[alias or "last"] = Stage(scratch / (alias or "last"))
            stage.root.mkdir()
        elif name == "WORKDIR":
            stage.directory = pathlib.PurePosixPath(rest)
            stage.path(".").mkdir(parents=True, exist_ok=True)
        elif name == "RUN":
            stage.run(rest)
        elif name == "COPY":
            words = shlex.split(rest)
            if words[0].startswith("--from="):
                source = stages[words[0].removeprefix("--from=")].root / words[1].lstrip("/")
                stage.copy(source, words[2])
            elif words[0] == ".":
                copy_context(stage.path(words[1]))
            else:
                assert not ignored(words[0]), f"{words[0]} is in .dockerignore"
                stage.copy(ROOT / words[0], words[1])
        else:
            stage.settings[name] = rest
    return stage


def add_libraries(stage, program):
    """The C library and its loader, which the base image has."""
    listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    libraries = re.findall(r"(/\S+)", listed)
    allowed = re.compile(r"ld-linux|libc\.so|libm\.so|libgcc_s\.so|libpthread|libdl")
    for library in libraries:
        assert allowed.search(library), f"the base image may not have {library}"
        stage.copy(pathlib.Path(library).resolve(), library)


def check(stage):
    command = json.loads(stage.settings["ENTRYPOINT"]) + json.loads(stage.settings["CMD"])
    user, _, group = stage.settings["USER"].partition(":")
    add_libraries(stage, stage.path(command[0]))
    # Those of the image may be in use here.
    with socket.create_server(("127.0.0.1", 0)) as free:
        admin = "%s:%s" % free.getsockname()
    ports = {"EIO_LISTEN": "127.0.0.1:0", "EIO_ADMIN": admin, "EIO_DRAIN_TIME": "0"}
    run = [*AS_ROOT, "env", "-i", *(f"{name}={value}" for name, value in ports.items()), "PATH=/usr/sbin:/usr/bin", "chroot",
           f"--userspec={user}:{group}", "--groups=", str(stage.root)]
    configuration = (ROOT / "deploy/container/eio-server.toml").read_text()
    for port, option in zip(stage.settings["EXPOSE"].split(), ["listen", "admin"]):
        assert f'{option} = "0.0.0.0:{port}"' in configuration, f"EXPOSE {port} is not the port of {option}"
    subprocess.run([*run, *command, "--check"], check=True)
    server = subprocess.Popen([*run, *command], stdout=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:"), line
        for url in [f"http://{admin}/readyz", f"{line.split()[2]}?EIO=4&transport=polling"]:
            with urllib.request.urlopen(url, timeout=10) as response:
                assert response.status == 200, url
    finally:
        # sudo passes the signal on.
        subprocess.run([*AS_ROOT, "kill", f"-{stage.settings['STOPSIGNAL'].removeprefix('SIG')}", str(server.pid)])
        status = server.wait(timeout=20)
    assert status == 0, f"status {status} after {stage.settings['STOPSIGNAL']}"


def main():
    if AS_ROOT and subprocess.run([*AS_ROOT, "true"]).returncode != 0:
        print("SKIPPED: the container file: neither root nor sudo", file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") == "true" else 0)
    started = time.monotonic()
    # Always the same directory: Cargo builds again where the path of a crate has changed.
    stages = TARGET / "stages"
    shutil.rmtree(stages, ignore_errors=True)
    stages.mkdir(parents=True)
    check(build(stages))
    shutil.rmtree(stages)
    print(f"the image builds and serves ({time.monotonic() - started:.0f} s)")


main()
