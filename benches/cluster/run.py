#!/usr/bin/env python3
"""Measures what a request at another node costs: two nodes of a cluster, the same load at the owner, through the other
node, and through HAProxy.

    benches/cluster/run.py                     everything; about two minutes
    benches/cluster/run.py --tests polling     one of polling, ws, memory
    benches/cluster/run.py --rounds 3 --seconds 1

Each round measures the three ways after each other, in another order each time, so that ratios compare neighbours in
time: a figure is the median of the rounds, a ratio the median of the rounds' ratios. CPU time is the scheduler's, in
nanoseconds, of all threads of a process. The nodes have one worker each. nats-server and haproxy are Debian's.
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OWNER, OTHER, PROXY = "127.0.0.1:3901", "127.0.0.2:3902", "127.0.0.1:3903"
NATS = "127.0.0.1:3904"
HAPROXY = f"""
global
    nbthread 1
    maxconn 2000
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
    http-reuse always
frontend clients
    bind {PROXY}
    default_backend owner
backend owner
    server owner {OWNER}
"""


class Processes:
    """The engine, both nodes and the proxy; all of them end with the block."""

    def __init__(self, target):
        self.target, self.started = target, {}

    def __enter__(self):
        try:
            self.start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start_all(self):
        host, port = NATS.split(":")
        self.start("nats", ["nats-server", "-a", host, "-p", port], NATS)
        for tag, address in ("owner", OWNER), ("other", OTHER):
            node = [self.target / "examples" / "cluster", "--tag", tag, "--listen", address, "--workers", "1"]
            node += ["--link-address", address.split(":")[0] + ":0", "--nats", "nats://" + NATS]
            self.start(tag, node + ["--name", "bench", "--ping-interval-ms", "300000"], address)
        self.file = tempfile.NamedTemporaryFile("w", suffix=".cfg")
        self.file.write(HAPROXY)
        self.file.flush()
        self.start("haproxy", ["haproxy", "-db", "-f", self.file.name], PROXY)
        for address in OWNER, OTHER:
            wait(lambda: " up " in fetch(address, "/nodes"), f"{address} joins the cluster")

    def start(self, name, command, address):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.started[name] = subprocess.Popen([str(part) for part in command], **quiet)
        host, port = address.split(":")

        def listens():
            if self.started[name].poll() is not None:
                sys.exit(f"{name} has ended: is the port of {address} in use?")
            with socket.socket() as probe:
                return probe.connect_ex((host, int(port))) == 0

        wait(listens, f"{name} listens")

    def pid(self, name):
        return str(self.started[name].pid)

    def __exit__(self, *_):
        for process in self.started.values():
            process.terminate()
        for process in self.started.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def fetch(address, path):
    try:
        return urllib.request.urlopen(f"http://{address}{path}", timeout=5).read().decode()
    except OSError:
        return ""


def wait(condition, name):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    sys.exit(f"timeout: {name}")


def load(target, mode, url, *more):
    command = [target / "eio-load", mode, "--url", f"http://{url}/engine.io/", *more]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"eio-load: {result.stdout}{result.stderr}")
    report = json.loads(result.stdout)
    if report.get("errors") or report.get("lost"):
        sys.exit(f"eio-load: errors: {report}")
    return report


def measure(processes, mode, way, options):
    """The CPU time of the owner and of what is before it, in µs for each operation, and the median latency."""
    common = [*options, "--pid", processes.pid("owner")]
    if way == "local":
        report = load(processes.target, mode, OWNER, *common, "--open", f"http://{OWNER}/engine.io/")
        return {"owner": report["server_cpu_us_per_op"], "before": 0.0, "p50": report["p50_us"]}
    url, name = (OTHER, "other") if way == "forwarded" else (PROXY, "haproxy")
    more = ["--other-pid", processes.pid(name), "--open", f"http://{OWNER}/engine.io/"]
    report = load(processes.target, mode, url, *common, *more)
    before = report["other_cpu_us_per_op"]
    return {"owner": report["server_cpu_us_per_op"], "before": before, "p50": report["p50_us"]}


def rounds(processes, mode, count, options):
    ways = ["local", "forwarded", "haproxy"]
    results = []
    for number in range(count):
        order = ways[number % 3 :] + ways[: number % 3]
        results.append({way: measure(processes, mode, way, options) for way in order})
    return results


def table(title, results):
    def median(value):
        return statistics.median(value(result) for result in results)

    def cost(result, way):
        return result[way]["owner"] + result[way]["before"]

    print(f"\n{title}\n")
    print("| way | owner, µs of CPU | before it, µs | both, µs | both / local | p50, µs | p50 - local |")
    print("|---|---|---|---|---|---|---|")
    for way, name in ("local", "at the owner"), ("forwarded", "through the other node"), ("haproxy", "through HAProxy"):
        ratio = median(lambda result: cost(result, way) / cost(result, "local"))
        owner, before = median(lambda result: result[way]["owner"]), median(lambda result: result[way]["before"])
        p50 = median(lambda result: result[way]["p50"])
        more = median(lambda result: result[way]["p50"] - result["local"]["p50"])
        both = median(lambda result: cost(result, way))
        print(f"| {name} | {owner:.1f} | {before:.1f} | {both:.1f} | {ratio:.2f} | {p50:.0f} | {more:+.0f} |")
    relay = median(lambda result: result["forwarded"]["before"] / result["haproxy"]["before"])
    own = median(lambda result: result["forwarded"]["owner"] / result["local"]["owner"])
    print(f"\nThe other node / HAProxy: {relay:.2f}. The owner, forwarded / local: {own:.2f}.", flush=True)


def memory(processes, count):
    """The resident memory of each idle WebSocket at another node, at that node and at its owner."""

    def resident(name):
        for line in pathlib.Path(f"/proc/{processes.pid(name)}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024

    def idle(url, number):
        options = ["--connections", number, "--seconds", 8, "--pid", processes.pid("owner")]
        command = [processes.target / "eio-load", "idle", "--url", f"http://{url}/engine.io/", *options]
        command += ["--open", f"http://{OWNER}/engine.io/"]
        return subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)

    # Buffers, pools and tables grow before the measurement.
    for url in OTHER, OWNER:
        idle(url, 200).wait()
    time.sleep(0.5)
    print(f"\nIdle WebSockets, {count} of them, bytes of resident memory for each\n")
    print("| way | owner | other node |\n|---|---|---|")
    for url, name in (OWNER, "at the owner"), (OTHER, "through the other node"):
        before = resident("owner"), resident("other")
        clients = idle(url, count)
        node = OTHER if url == OTHER else OWNER

        def opened():
            lines = fetch(node, "/metrics").splitlines()
            name = "eio_cluster_tunnels" if url == OTHER else "eio_sessions{"
            counts = [line for line in lines if line.startswith(name) and (url == OTHER or "websocket" in line)]
            return sum(int(line.split()[-1]) for line in counts) >= count

        wait(opened, f"the WebSockets are open at {node}")
        # Buffers of the handshakes are freed a moment after a burst.
        time.sleep(4)
        after = resident("owner"), resident("other")
        clients.wait()
        each = [(b - a) / count for a, b in zip(before, after)]
        print(f"| {name} | {each[0]:.0f} | {each[1]:.0f} |", flush=True)
        time.sleep(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", default="polling,ws,memory")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--tunnels", type=int, default=4000)
    parser.add_argument("--no-build", action="store_true")
    args = parser.parse_args()
    for program in "nats-server", "haproxy":
        if not shutil.which(program):
            sys.exit(f"{program} is missing: apt-get install nats-server haproxy")
    if not args.no_build:
        build = ["cargo", "build", "--release", "-p"]
        subprocess.run([*build, "eio-benches", "--bin", "eio-load"], cwd=ROOT, check=True)
        subprocess.run([*build, "eio-monoio", "--features", "nats,json", "--example", "cluster"], cwd=ROOT, check=True)
    metadata = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
    found = subprocess.run(metadata, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    target = pathlib.Path(json.loads(found)["target_directory"]) / "release"
    tests = args.tests.split(",")
    with Processes(target) as processes:
        common = ["--seconds", args.seconds, "--warmup", 0.2]
        for mode, name, title in (
            ("polling-echo", "polling", "A message and its echo over polling, 32 bytes"),
            ("ws-echo", "ws", "A message and its echo over WebSocket, 32 bytes"),
        ):
            if name not in tests:
                continue
            for connections in 64, 1:
                options = [*common, "--connections", connections]
                results = rounds(processes, mode, args.rounds, options)
                table(f"{title}, {connections} session{'s' * (connections > 1)}", results)
        if "memory" in tests:
            memory(processes, args.tunnels)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    main()
