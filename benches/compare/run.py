#!/usr/bin/env python3
"""Measures eio, its peers and floors, and writes BENCHMARKS.md, the plots, and the table in README.md.

    benches/compare/run.py                  everything (several hours)
    benches/compare/run.py --quick          three rounds of a second, the peers in Rust only
    benches/compare/run.py --tests ws-echo-1,connect-ws --servers eio,engineioxide --output /tmp/part
    benches/compare/run.py --write          writes the report of the last results again
    benches/compare/run.py --goals          the rows that have a goal, with the servers that the goals need (40 minutes)
    benches/compare/run.py --goals --plan   prints the runs of that and their time, and starts none
    benches/compare/run.py --build          builds everything, and measures nothing

Every server has one thread and one core, the load generator another core. Servers alternate: a round runs each server
once, in a new process, every second round in reverse order, so that rows next to each other were measured next to each
other. CPU time is the scheduler's, in nanoseconds. A test leaves out the servers that do not speak its protocol (a TCP
echo in a polling test). Servers are stopped by process id. A server that cannot be built or started is printed as
SKIPPED, and as such in the report. A run with an error, a lost operation or a wrong byte fails.
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
    """How to build and start one server. One whose kind ends in -tls gets the certificate and the key."""

    def __init__(self, kind, command, build, slow=False, cores=None):
        self.kind, self.command, self.build, self.slow, self.cores = kind, command, build, slow, cores

    @property
    def secure(self):
        return self.kind.endswith("-tls")


def target(where):
    """The build directory of a cargo workspace."""
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
    out = subprocess.run(command, cwd=where, check=True, capture_output=True, text=True).stdout
    return pathlib.Path(json.loads(out)["target_directory"]) / "release"


def built(where, *arguments):
    def build():
        subprocess.run(["cargo", "build", "--quiet", "--release", *arguments], cwd=where, check=True)

    return build


CERTIFICATE, KEY = HERE / "tls/certificate.pem", HERE / "tls/key.pem"


def certificate():
    """A self-signed certificate of this machine, new each time."""
    CERTIFICATE.parent.mkdir(exist_ok=True)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
               "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", KEY, "-out", CERTIFICATE]
    subprocess.run(command, check=True, capture_output=True)


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
    # In a folder of its own: other rows measure the example without this feature.
    secure_folder = ours.parent / "tls"
    secure = built(ROOT, "-p", "eio-monoio", "--example", "echo", "--features", "tls", "--target-dir", secure_folder)
    eio_tls = [secure_folder / "release/examples/echo", *eio[1:]]
    pair = ["--tls-certificate", "{certificate}", "--tls-key", "{key}"]

    def workers(n):
        return [ours / "examples/echo", "--workers", str(n), "--listen", "127.0.0.1:{port}"]

    room = [ours / "examples/broadcast", "127.0.0.1:{port}"]
    rooms = built(ROOT, "-p", "eio-benches", "--example", "broadcast")
    python = [HERE / "python/venv/bin/python", HERE / "python/server.py", "{port}"]
    bun_server = [Lazy(bun_binary), HERE / "bun/server.js", "{port}"]
    files = ["{certificate}", "{key}"]
    return {
        "eio": Server("eio", [*eio, "io-uring"], example),
        "eio-epoll": Server("eio", [*eio, "epoll"], example),
        "engineioxide": Server("eio", [peers / "engineioxide", "{port}", "1"], peer),
        "engine.io": Server("eio", ["node", HERE / "node/server.js", "{port}"], npm, slow=True),
        "bun-engine": Server("eio", [*bun_server, "engine"], bun),
        "python-engineio-asgi": Server("eio", [*python, "asgi"], pip, slow=True),
        "python-engineio-aiohttp": Server("eio", [*python, "aiohttp"], pip, slow=True),
        "fastwebsockets": Server("ws", [peers / "fastwebsockets", "{port}"], peer),
        "sockudo-ws": Server("ws", [peers / "sockudo-ws", "{port}"], peer),
        "tokio-websockets": Server("ws", [peers / "tokio-websockets", "{port}"], peer),
        # The server of Bun is uWebSockets; the handler is JavaScript.
        "bun-websocket": Server("ws", [*bun_server, "websocket"], bun),
        "ws-floor-epoll": Server("ws", [peers / "ws-floor", "{port}", "epoll"], peer),
        "ws-floor-ring": Server("ws", [peers / "ws-floor", "{port}", "ring"], peer),
        "engine-floor": Server("floor", [peers / "engine-floor", "{port}"], peer),
        "eio-tls": Server("eio-tls", [*eio_tls, "io-uring", *pair], secure),
        "engineioxide-tls": Server("eio-tls", [peers / "engineioxide", "{port}", "1", "tls", *files], peer),
        "bun-engine-tls": Server("eio-tls", [*bun_server, "engine", *files], bun),
        "bun-websocket-tls": Server("ws-tls", [*bun_server, "websocket", *files], bun),
        "tls-floor": Server("ws-tls", [peers / "tls-floor", "{port}", *files], peer),
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
TLS_ECHO = {"eio-tls": "ws-echo", "ws-tls": "raw-ws-echo"}
POLLING = {"eio": "polling-echo", "floor": "polling-echo"}
# By name: the mode of eio-load for each kind of server, and its arguments.
TESTS = {
    "ws-echo-1": (ECHO, "--connections 64 --size 32"),
    "ws-echo-c2": (ECHO, "--connections 2 --size 32"),
    "ws-echo-c8": (ECHO, "--connections 8 --size 32"),
    "ws-echo-16": (ECHO, "--connections 64 --in-flight 16 --size 32"),
    "ws-echo-1k": (ECHO, "--connections 256 --size 1024"),
    "ws-echo-64k": (ECHO, "--connections 16 --size 65536"),
    "polling-1": ({**POLLING, "http": "http-hello"}, "--connections 64 --size 32"),
    "polling-10": (POLLING, "--connections 64 --size 32 --batch 10"),
    "connect-ws": ({"eio": "connect", "floor": "connect"}, "--connections 32 --transport websocket"),
    "connect-polling": ({"eio": "connect", "floor": "connect"}, "--connections 32 --transport polling"),
    "upgrade": ({"eio": "upgrade", "floor": "upgrade"}, "--connections 128"),
    "broadcast": ({"room": "broadcast"}, "--connections 1000 --size 64"),
    "tls-echo": (TLS_ECHO, "--connections 64 --size 32"),
    "tls-echo-64k": (TLS_ECHO, "--connections 16 --size 65536"),
    "tls-connect": ({"eio-tls": "connect"}, "--connections 32 --transport websocket"),
    "tls-resume": ({"eio-tls": "connect"}, "--connections 32 --transport websocket --resume"),
    # About half the rate of the cheapest peer; operations begin on schedule.
    "open-loop": (ECHO, "--connections 64 --size 32 --rate 75000"),
    "rate-64": (ECHO, "--connections 64 --size 32 --rate 30000"),
    "rate-1000": (ECHO, "--connections 1000 --size 32 --rate 30000"),
    "rate-10000": (ECHO, "--connections 10000 --size 32 --rate 30000"),
    # Half of what engineioxide serves at most: the tails of latency compare.
    "half": (ECHO, "--connections 64 --size 32 --rate 40000"),
    "workers": ({"workers": "polling-echo"}, "--connections 64 --size 32"),
    "mixed": ({"eio": "mixed"}, "--connections 64 --size 32 --idle 5000"),
    "idle-ws": ({"eio": "idle", "ws": "idle-raw"}, "--connections 5000"),
    "idle-tls": ({"eio-tls": "idle", "ws-tls": "idle-raw"}, "--connections 5000"),
    "idle-ws-19000": ({"eio": "idle", "ws": "idle-raw"}, "--connections 19000"),
    "idle-ws-touched": ({"eio": "idle"}, "--connections 19000 --touch 65536"),
    "idle-polling": ({"eio": "idle"}, "--connections 5000 --transport polling"),
}


# Rates that the servers in Node and Python do not reach.
FAST = ("open-loop", "half", "rate-64", "rate-1000", "rate-10000")

# The rows that have a goal, and the servers that the goals and README.md's table need. A server with a number and no
# goal runs in as many rounds only.
PLAN = {
    "ws-echo-1": "eio bun-websocket bun-engine engineioxide:6 ws-floor-epoll:6 eio-epoll:6 sockudo-ws:3 tokio-websockets:3"
                 " fastwebsockets:3 engine.io python-engineio-asgi",
    "ws-echo-16": "eio bun-websocket bun-engine engineioxide:6 ws-floor-epoll:6 sockudo-ws:3 tokio-websockets:3"
                  " engine.io python-engineio-asgi",
    "ws-echo-1k": "eio bun-websocket bun-engine engineioxide:3 ws-floor-epoll:6",
    "ws-echo-64k": "eio bun-websocket bun-engine engineioxide:6",
    "ws-echo-c2": "eio bun-websocket ws-floor-epoll:6",
    "ws-echo-c8": "eio bun-websocket",
    "rate-1000": "eio bun-websocket ws-floor-epoll:6 eio-epoll:6",
    "rate-10000": "eio bun-websocket ws-floor-epoll:6",
    "half": "eio bun-websocket bun-engine engineioxide ws-floor-epoll:6",
    "polling-1": "eio engineioxide bun-engine engine-floor:6 eio-epoll:6 engine.io python-engineio-asgi",
    "polling-10": "eio engineioxide bun-engine engine-floor:6",
    "connect-ws": "eio engineioxide bun-engine engine-floor:6 eio-epoll:6",
    "connect-polling": "eio engineioxide bun-engine engine-floor:6",
    "upgrade": "eio engineioxide bun-engine engine-floor:6 engine.io python-engineio-asgi",
    "broadcast": "eio-room:6 engineioxide-room:3 sends-tokio:6",
    "tls-echo": "eio-tls tls-floor engineioxide-tls:6 bun-websocket-tls:3",
    "tls-echo-64k": "eio-tls tls-floor engineioxide-tls:6 bun-websocket-tls:3",
    "tls-connect": "eio-tls engineioxide-tls:6 bun-engine-tls:3",
    "tls-resume": "eio-tls engineioxide-tls:6 bun-engine-tls:3",
    "idle-tls": "eio-tls tls-floor engineioxide-tls bun-websocket-tls",
    "idle-ws-19000": "eio bun-websocket bun-engine engineioxide engine.io python-engineio-asgi",
    "idle-ws-touched": "eio",
    "idle-polling": "eio engineioxide",
}


def is_idle(test):
    return test.startswith("idle")


class Running:
    """A running server."""

    def __init__(self, name, server, core, log):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        fields = {"port": self.port, "certificate": CERTIFICATE, "key": KEY}
        command = ["taskset", "-c", server.cores or core, *(str(part).format(**fields) for part in server.command)]
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
    scheme = "https" if server.secure else "http"
    command = ["taskset", "-c", options.load_core, str(target(ROOT) / "eio-load"), modes[server.kind], *arguments.split(),
               "--url", f"{scheme}://127.0.0.1:{running.port}/engine.io/", "--pid", str(running.process.pid),
               "--seconds", str(seconds), "--warmup", str(options.warmup)]
    if server.secure:
        command += ["--ca", str(CERTIFICATE)]
    if server.kind == "http":
        # Two connections for each of 64 sessions, one request at a time on each.
        command[command.index("--connections") + 1] = "128"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        return verified(test, json.loads(done.stdout.splitlines()[-1]))
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        return {"fatal": repr(error)}


def verified(test, result):
    """The result, or the reason for which its figures do not count."""
    if "fatal" in result or is_idle(test):
        return result
    handshakes = result.get("full_handshakes", 0), result.get("resumed_handshakes", 0)
    wrong = (
        "no operation completed" if not result.get("operations")
        else f"{result['errors']} errors, the first: {result.get('first_error')}" if result["errors"]
        else f"{result['lost']} operations lost" if result["lost"]
        # The first connections have no ticket.
        else f"only {handshakes[1]} of {sum(handshakes)} TLS sessions resumed"
        if test == "tls-resume" and handshakes[0] > 32 + 0.1 * sum(handshakes)
        else f"{handshakes[1]} TLS sessions resumed" if test == "tls-connect" and handshakes[1]
        else None
    )
    return {"fatal": wrong} if wrong else result


def prepared(chosen, out):
    """Builds the servers, and returns those that are built."""
    outcomes = {}
    for server in chosen.values():
        if server.build not in outcomes:
            try:
                server.build()
                outcomes[server.build] = None
            except (OSError, subprocess.CalledProcessError) as error:
                outcomes[server.build] = str(error)
    for name, server in chosen.items():
        if outcomes[server.build]:
            skip(out, name, f"cannot be built: {outcomes[server.build]}")
    return {name: server for name, server in chosen.items() if not outcomes[server.build]}


def skip(out, name, why):
    print(f"SKIPPED {name}: {why}", file=sys.stderr, flush=True)
    record(out, {"skipped": name, "why": why})
    if os.environ.get("CI") == "true":
        raise SystemExit(1)


def record(out, result):
    out.write(json.dumps(result) + "\n")
    out.flush()


def rounds(test, server, most, options):
    """The number of runs of a server in a test."""
    if is_idle(test):
        return 1
    if server.slow:
        return 0 if test in FAST else min(options.slow_rounds, options.rounds)
    return min(most, options.rounds)


def schedule(known, options):
    """The servers of each test, with their number of runs."""
    if options.goals:
        plan = {test: names.split() for test, names in PLAN.items()}
    else:
        plan = {test: options.servers.split(",") for test in TESTS}
    result = {}
    for test in options.tests.split(",") if options.tests else list(plan):
        result[test] = {}
        for entry in plan[test]:
            name, _, most = entry.partition(":")
            if known[name].kind in TESTS[test][0]:
                result[test][name] = rounds(test, known[name], int(most or options.rounds), options)
    return result


def duration(known, plan, options):
    """The expected time of the runs in seconds."""
    total = 0
    for test, names in plan.items():
        for name, count in names.items():
            connections = int(TESTS[test][1].split("--connections ")[1].split()[0])
            # To start and stop a server, and to open the connections.
            around = 0.45 + connections * (1e-3 if known[name].slow else 1e-4)
            once = 8 if is_idle(test) else options.warmup + options.seconds
            total += count * (around + once)
    return total


def measure(known, plan, options, out):
    chosen = {name: known[name] for names in plan.values() for name in names}
    built(ROOT, "-p", "eio-benches", "--bin", "eio-load")()
    if any(server.secure for server in chosen.values()):
        certificate()
    chosen = prepared(chosen, out)
    if options.build:
        return
    begun = time.monotonic()
    with open(HERE / "servers.log", "ab") as log:
        for test, names in plan.items():
            here = [name for name in names if name in chosen]
            for round_number in range(1 if is_idle(test) else options.rounds):
                for name in here if round_number % 2 == 0 else here[::-1]:
                    server = chosen.get(name)
                    if not server or round_number >= names[name]:
                        continue
                    # Each round has a new process: one that starts badly placed in memory is not measured in all.
                    try:
                        running = Running(name, server, options.server_core, log)
                    except (OSError, RuntimeError) as error:
                        skip(out, name, str(error))
                        del chosen[name]
                        continue
                    try:
                        result = one(test, server, running, options)
                    finally:
                        running.stop()
                    record(out, {"test": test, "server": name, "round": round_number, "load": os.getloadavg()[0],
                                 **result})
                    shown = result.get("server_cpu_us_per_op", result.get("rss_per_session", result.get("fatal")))
                    print(f"{test:18} {round_number:2} {name:24} {shown}", flush=True)
    print(f"{time.monotonic() - begun:.0f} s")


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
    parser.add_argument("--tests", default="")
    parser.add_argument("--servers", default="")
    parser.add_argument("--results", default=str(HERE / "results.jsonl"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT, help="folder for the documents and plots")
    parser.add_argument("--goals", action="store_true")
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--build", action="store_true")
    parser.add_argument("--write", action="store_true", help="only write the report of existing results")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.warmup = 3, 1, 0.3
    if options.goals:
        options.slow_rounds = 1
    known = servers()
    if not options.servers:
        options.servers = ",".join(name for name in known if not (options.quick and known[name].slow))
    plan = schedule(known, options)
    if options.plan:
        for test, names in plan.items():
            print(f"{test:18} {', '.join(f'{name} {count}' for name, count in names.items())}")
        return print(f"{duration(known, plan, options) / 60:.1f} minutes, without building")
    if not options.write:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        with open(options.results, "w") as out:
            out.write(json.dumps({"machine": machine(), "command": " ".join(sys.argv[1:])}) + "\n")
            measure(known, plan, options, out)
        if options.build:
            return
    lines = [json.loads(line) for line in open(options.results)]
    report.write(lines[0], lines[1:], {name: arguments for name, (_, arguments) in TESTS.items()}, ROOT, options.output)
    try:
        readme.write(options.output / "BENCHMARKS.md", ROOT / "README.md", options.output / "README.md")
    except readme.Missing as missing:
        print(f"README.md is not written: {missing}", file=sys.stderr)


if __name__ == "__main__":
    main()
