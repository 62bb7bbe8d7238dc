#!/usr/bin/env python3
"""Measures eio, its peers and floors, and writes BENCHMARKS.md, the plots, and the table in README.md.

    benches/compare/run.py                  everything (several hours)
    benches/compare/run.py --quick          three rounds of a second, the peers in Rust only
    benches/compare/run.py --tests ws-echo-1,connect-ws --servers eio,engineioxide --output /tmp/part
    benches/compare/run.py --write          writes the report of the last results again

Every server has one thread and one core, the load generator another core. Servers alternate: a round runs each server
once, in a new process, every second round in reverse order, so that rows next to each other were measured next to each
other. CPU time is the scheduler's, in nanoseconds. A test leaves out the servers that do not speak its protocol (a TCP
echo in a polling test). Servers are stopped by process id.
"""

import argparse
import json
import os
import pathlib
import platform
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time

import readme
import report

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SYSTEM = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}


class Lazy:
    """A part of a command that is known after the build."""

    def __init__(self, find):
        self.find = find

    def __str__(self):
        return str(self.find())


class Server:
    """How to build and start one server."""

    def __init__(self, kind, command, build, slow=False, cores=None):
        self.kind, self.command, self.build, self.slow, self.cores = kind, command, build, slow, cores


def target(where):
    """The build directory of a cargo workspace."""
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
    out = subprocess.run(command, cwd=where, check=True, capture_output=True, text=True).stdout
    return pathlib.Path(json.loads(out)["target_directory"]) / "release"


def built(where, *arguments):
    def build():
        subprocess.run(["cargo", "build", "--quiet", "--release", *arguments], cwd=where, check=True)

    return build


def npm():
    subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=HERE / "node", check=True)


def bun():
    # The package's binary comes with it: no script of a package runs.
    command = ["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    subprocess.run(command, cwd=HERE / "bun", check=True)


def bun_binary():
    """The binary of this machine in the packages that npm installed."""
    return next(iter(sorted((HERE / "bun/node_modules/@oven").glob("bun-linux-*/bin/bun"))), "bun")


def pip():
    if not (HERE / "python/venv").exists():
        subprocess.run([sys.executable, "-m", "venv", HERE / "python/venv"], check=True)
    requirements = HERE / "python/requirements.txt"
    command = [HERE / "python/venv/bin/pip", "install", "--quiet", "--require-hashes", "-r", requirements]
    subprocess.run(command, check=True)


def servers():
    ours, peers = target(ROOT), target(HERE / "peers")
    peer = built(HERE / "peers")
    eio = [ours / "examples/echo", "--workers", "1", "--listen", "127.0.0.1:{port}", "--driver"]
    example = built(ROOT, "-p", "eio-monoio", "--example", "echo")

    def workers(n):
        return [ours / "examples/echo", "--workers", str(n), "--listen", "127.0.0.1:{port}"]

    room = [ours / "examples/broadcast", "127.0.0.1:{port}"]
    rooms = built(ROOT, "-p", "eio-benches", "--example", "broadcast")
    python = [HERE / "python/venv/bin/python", HERE / "python/server.py", "{port}"]
    bun_server = [Lazy(bun_binary), HERE / "bun/server.js", "{port}"]
    return {
        "eio": Server("eio", [*eio, "io-uring"], example),
        "eio-epoll": Server("eio", [*eio, "epoll"], example),
        "engineioxide": Server("eio", [peers / "engineioxide", "{port}", "1"], peer),
        "engine.io": Server("eio", ["node", HERE / "node/server.js", "{port}"], npm, slow=True),
        "bun-engine": Server("eio", bun_server, bun),
        "python-engineio-asgi": Server("eio", [*python, "asgi"], pip, slow=True),
        "python-engineio-aiohttp": Server("eio", [*python, "aiohttp"], pip, slow=True),
        "fastwebsockets": Server("ws", [peers / "fastwebsockets", "{port}"], peer),
        "tokio-websockets": Server("ws", [peers / "tokio-websockets", "{port}"], peer),
        # The server of Bun is uWebSockets; the handler is JavaScript.
        "bun-websocket": Server("ws", [*bun_server, "websocket"], bun),
        "ws-floor-epoll": Server("ws", [peers / "ws-floor", "{port}", "epoll"], peer),
        "ws-floor-ring": Server("ws", [peers / "ws-floor", "{port}", "ring"], peer),
        "tcp-echo-monoio": Server("tcp", [peers / "monoio-tcp-echo", "{port}"], peer),
        "tcp-echo-tokio": Server("tcp", [peers / "tokio-tcp-echo", "{port}"], peer),
        "http-hello-monoio": Server("http", [peers / "monoio-http-hello", "{port}"], peer),
        "eio-room": Server("room", [*room, "io-uring", "1"], rooms),
        "eio-epoll-room": Server("room", [*room, "epoll", "1"], rooms),
        "engineioxide-room": Server("room", [peers / "engineioxide", "{port}", "1", "broadcast"], peer),
        "engine.io-room": Server("room", ["node", HERE / "node/server.js", "{port}", "broadcast"], npm, slow=True),
        "sends-tokio": Server("room", [peers / "broadcast-floor", "{port}"], peer),
        # On all cores, including the generator's: the figure of interest is how the time per operation grows.
        **{f"eio-workers-{n}": Server("workers", workers(n), example, cores=ALL) for n in (1, 2, 4)},
    }


ALL = f"0-{os.cpu_count() - 1}"
ECHO = {"eio": "ws-echo", "ws": "raw-ws-echo", "tcp": "tcp-echo"}
# By name: the mode of eio-load for each kind of server, and its arguments.
TESTS = {
    "ws-echo-1": (ECHO, "--connections 64 --size 32"),
    "ws-echo-c2": (ECHO, "--connections 2 --size 32"),
    "ws-echo-c8": (ECHO, "--connections 8 --size 32"),
    "ws-echo-16": (ECHO, "--connections 64 --in-flight 16 --size 32"),
    "ws-echo-1k": (ECHO, "--connections 256 --size 1024"),
    "ws-echo-64k": (ECHO, "--connections 16 --size 65536"),
    "polling-1": ({"eio": "polling-echo", "http": "http-hello"}, "--connections 64 --size 32"),
    "polling-10": ({"eio": "polling-echo"}, "--connections 64 --size 32 --batch 10"),
    "connect-ws": ({"eio": "connect"}, "--connections 32 --transport websocket"),
    "connect-polling": ({"eio": "connect"}, "--connections 32 --transport polling"),
    "upgrade": ({"eio": "upgrade"}, "--connections 128"),
    "broadcast": ({"room": "broadcast"}, "--connections 1000 --size 64"),
    # About half the rate of the cheapest peer; operations begin on schedule.
    "open-loop": (ECHO, "--connections 64 --size 32 --rate 75000"),
    "rate-64": (ECHO, "--connections 64 --size 32 --rate 30000"),
    "rate-1000": (ECHO, "--connections 1000 --size 32 --rate 30000"),
    "rate-10000": (ECHO, "--connections 10000 --size 32 --rate 30000"),
    "workers": ({"workers": "polling-echo"}, "--connections 64 --size 32"),
    "mixed": ({"eio": "mixed"}, "--connections 64 --size 32 --idle 5000"),
    "idle-ws": ({"eio": "idle", "ws": "idle-raw"}, "--connections 5000"),
    "idle-ws-19000": ({"eio": "idle"}, "--connections 19000"),
    "idle-ws-touched": ({"eio": "idle"}, "--connections 19000 --touch 65536"),
    "idle-polling": ({"eio": "idle"}, "--connections 5000 --transport polling"),
}


# Rates that the servers in Node and Python do not reach.
FAST = ("open-loop", "rate-64", "rate-1000", "rate-10000")


def is_idle(test):
    return test.startswith("idle")


class Running:
    """A running server."""

    def __init__(self, name, server, core, log):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        command = ["taskset", "-c", server.cores or core, *(str(part).format(port=self.port) for part in server.command)]
        self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=SYSTEM)
        for _ in range(300):
            if self.process.poll() is not None:
                raise RuntimeError(f"{name} exited with status {self.process.returncode}; see the log")
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"{name} does not listen")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def one(test, server, running, options):
    """Runs one test on one server; a failure is a result, too."""
    modes, arguments = TESTS[test]
    # Servers release the memory of a burst a second or two after it.
    seconds = 8 if is_idle(test) else options.seconds
    command = ["taskset", "-c", options.load_core, str(target(ROOT) / "eio-load"), modes[server.kind], *arguments.split(),
               "--url", f"http://127.0.0.1:{running.port}/engine.io/", "--pid", str(running.process.pid),
               "--seconds", str(seconds), "--warmup", str(options.warmup)]
    if server.kind == "http":
        # Two connections for each of 64 sessions, one request at a time on each.
        command[command.index("--connections") + 1] = "128"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        result = json.loads(done.stdout.splitlines()[-1])
        return result if is_idle(test) or result.get("operations") else {"fatal": "no operation completed"}
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        return {"fatal": repr(error)}


def measure(options, out):
    known = servers()
    chosen = {name: known[name] for name in options.servers.split(",")}
    built(ROOT, "-p", "eio-benches", "--bin", "eio-load")()
    for build in dict.fromkeys(server.build for server in chosen.values()):
        build()
    with open(HERE / "servers.log", "ab") as log:
        for test in options.tests.split(","):
            here = [name for name in chosen if chosen[name].kind in TESTS[test][0]]
            for round_number in range(1 if is_idle(test) else options.rounds):
                for name in here if round_number % 2 == 0 else here[::-1]:
                    server = chosen[name]
                    if server.slow and (round_number >= options.slow_rounds or test in FAST):
                        continue
                    # Each round has a new process: one that starts badly placed in memory is not measured in all.
                    running = Running(name, server, options.server_core, log)
                    try:
                        result = one(test, server, running, options)
                    finally:
                        running.stop()
                    result = {"test": test, "server": name, "round": round_number, "load": os.getloadavg()[0], **result}
                    out.write(json.dumps(result) + "\n")
                    out.flush()
                    shown = result.get("server_cpu_us_per_op", result.get("rss_per_session", result.get("fatal")))
                    print(f"{test:18} {round_number:2} {name:24} {shown}", flush=True)


def first_line(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.splitlines()[0]
    except (OSError, IndexError):
        return "not found"


def machine():
    """The machine and the versions of a run."""
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return {
        "CPU": f"{cpu}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "compiler": first_line("rustc", "--version"),
        "node": first_line("node", "--version"),
        "python": platform.python_version(),
        "eio": first_line("git", "describe", "--always", "--dirty"),
        "taken": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--slow-rounds", type=int, default=3, help="rounds of the servers in Node and Python")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--server-core", default="0")
    parser.add_argument("--load-core", default="1")
    parser.add_argument("--tests", default=",".join(TESTS))
    parser.add_argument("--servers", default="")
    parser.add_argument("--results", default=str(HERE / "results.jsonl"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT, help="folder for the documents and plots")
    parser.add_argument("--write", action="store_true", help="only write the report of existing results")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.warmup = 3, 1, 0.3
    if not options.servers:
        known = servers()
        options.servers = ",".join(name for name in known if not (options.quick and known[name].slow))
    if not options.write:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        with open(options.results, "w") as out:
            out.write(json.dumps({"machine": machine(), "command": " ".join(sys.argv[1:])}) + "\n")
            measure(options, out)
    lines = [json.loads(line) for line in open(options.results)]
    report.write(lines[0], lines[1:], {name: arguments for name, (_, arguments) in TESTS.items()}, ROOT, options.output)
    try:
        readme.write(options.output / "BENCHMARKS.md", ROOT / "README.md", options.output / "README.md")
    except readme.Missing as missing:
        print(f"README.md is not written: {missing}", file=sys.stderr)


if __name__ == "__main__":
    main()
