"""BENCHMARKS.md and its plots, from what run.py measured."""

import statistics

# What a server is compared as: a peer, or a floor that is no Engine.IO server.
FLOORS = ("fastwebsockets", "tcp-echo-monoio", "tcp-echo-tokio", "http-hello-monoio", "sends-tokio")
OURS = ("eio", "eio-epoll", "eio-room", "eio-epoll-room", "eio-workers-1", "eio-workers-2", "eio-workers-4")

TITLES = {
    "ws-echo-1": "WebSocket echo, 64 connections, 1 in flight, 32 B",
    "ws-echo-16": "WebSocket echo, 64 connections, 16 in flight, 32 B",
    "ws-echo-1k": "WebSocket echo, 256 connections, 1 KB",
    "ws-echo-64k": "WebSocket echo, 16 connections, 64 KB",
    "polling-1": "Polling round trip (POST and GET), 64 sessions, 32 B",
    "polling-10": "Polling round trip with 10 messages in a POST",
    "connect-ws": "WebSocket session opened and closed, 32 at a time",
    "connect-polling": "Polling session opened and closed, 32 at a time",
    "upgrade": "Handshake, probe, upgrade, one echo, close, 128 at a time",
    "broadcast": "Broadcast of 64 B to 1,000 WebSocket sessions, for each delivery",
    "open-loop": "WebSocket echo, 64 connections, 32 B, 75,000 a second on schedule",
    "rate-64": "WebSocket echo, 30,000 a second over 64 connections",
    "rate-1000": "WebSocket echo, 30,000 a second over 1,000 connections",
    "rate-10000": "WebSocket echo, 30,000 a second over 10,000 connections",
    "workers": "Polling round trip, 1, 2 and 4 workers on all cores, requests arriving at any of them",
    "mixed": "64 busy WebSocket sessions beside 5,000 idle ones",
    "idle-ws": "5,000 idle WebSocket sessions",
    "idle-ws-19000": "19,000 idle WebSocket sessions",
    "idle-ws-touched": "19,000 WebSocket sessions, idle after a 64 KB message each",
    "idle-polling": "5,000 polling sessions with a held GET",
}

# What ours is to cost at most: beside the cheapest peer, and beside a floor. For memory, in bytes.
AIMS = {
    "ws-echo-1": (0.85, 1.10, "tcp-echo-monoio"),
    "ws-echo-16": (0.60, 1.15, "tcp-echo-monoio"),
    "ws-echo-1k": (0.82, 1.10, "tcp-echo-monoio"),
    "ws-echo-64k": (0.65, 1.05, "fastwebsockets"),
    "polling-1": (0.82, 1.10, "http-hello-monoio"),
    "polling-10": (0.70, None, None),
    "connect-ws": (0.88, None, None),
    "connect-polling": (0.85, None, None),
    "upgrade": (0.75, None, None),
    "broadcast": (None, 1.15, "sends-tokio"),
}
MEMORY_AIMS = {"idle-ws-19000": 1536, "idle-ws-touched": 1536, "idle-polling": 2048}

WHY = """
What is not met, or only just, and why:

- **Beside raw TCP.** A busy WebSocket is received from as the raw echo is, by an operation of the ring; its answer is a
  call, because the end of an operation wakes the task again, which costs a session more than the call. What is beyond
  the raw echo is frames, UTF-8, the session and its handler, 0.3 µs for a message that comes alone and about 850
  instructions for one of a batch: 31 % decode the frame, 6 % unmask it, 3 % see that it is text, 10 % encode the
  answer, 12 % are the session's queue, 7 % its rules, 15 % the task's turn, the rest the handler and the runtime.
- **User space of the small echo** is 12 % of its samples, where 8 % were the aim: 4 % are libc's way into the kernel and
  back, 4 % the runtime, 4 % ours.
- **64 KB beside engineioxide.** Two thirds is copying in the kernel: raw TCP echo itself is only just below the aim.
- **A polling trip beside two bare answers.** A POST and a held GET are parsed, matched with their session and answered
  with what standards ask for, 24,000 instructions; the bare answer is a constant for anything that ends in an empty
  line.
- **Opened, closed, upgraded.** Two connections, six sends and ten receives are an upgrade: three quarters of it are the
  kernel's, and as much as engineioxide's there. What is ours is half of engineioxide's.
- **Broadcast.** A delivery is a call of the kernel and 1,000 instructions, most of them the turn of the session's task:
  whatever else the session has to send leaves with it.

The host was not quiet: some rounds took twice as long as others. Where "seen" and "by round" differ, or the ratio of
minima, which the tables below have behind that of medians, the difference is the host's. Sixteen in flight, the polling
trip, polling sessions opened and upgrades are of a run of their own, half an hour later and a little quieter.
"""

HEAD = """# Benchmarks

Written by this command; do not edit:

```sh
benches/compare/run.py{command}
```

The figure to compare is the **CPU time of the server for one operation**: user and system time of its whole
process, from `/proc`, over the measured time. It holds on a busy machine, where throughput says more about what
else ran. Every server has one thread on a core of its own, the load generator another core; servers take turns.
Every echo was compared byte for byte. "x peer" and "x floor" are ratios to the cheapest peer and to the cheapest
floor of the same test, of medians and of minima: below 1 is cheaper.

{machine}

Versions: engineioxide 0.17.9, fastwebsockets 0.10.0, monoio 0.2.4 (lock file in `benches/compare/peers`); engine.io
in `benches/compare/node/package-lock.json`; python-engineio in `benches/compare/python/requirements.txt`.

Limits of these figures:

- Loopback: a sender's `send` also does the receiver's TCP input, so most of a server's time here is the kernel's.
- The operating system counts process time in steps of 10 ms.
- The load generator is one core; where its share is near 1.00 and the server's is not, only the CPU time compares.
- Latencies of a saturated closed loop say how long the queue is. Compare them within one test only.
- Resident memory does not hold what the kernel keeps for sockets and rings.
- Floors do less: raw TCP echo knows no frames, `http-hello` no sessions; one trip is two of its requests.
- Servers in node and Python take their turn less often ("runs"), and node is slower in its first second than later.
- "load" is the machine's load average while the test ran; more than 2 means that something else ran too.
"""


def write(setting, results, commands, root):
    tests = {}
    for result in results:
        tests.setdefault(result["test"], {}).setdefault(result["server"], []).append(result)
    machine = "\n".join(f"- {key}: {value}" for key, value in setting["machine"].items())
    command = setting["command"]
    parts = [HEAD.format(command=f" {command}" if command else "", machine=machine), aims(tests)]
    plots = root / "benches/plots"
    plots.mkdir(exist_ok=True)
    for test, servers in tests.items():
        rows = {name: good for name, runs in servers.items() if (good := [r for r in runs if "fatal" not in r])}
        parts.append(f"## {TITLES[test]}\n\n`eio-load … {commands[test]}`, load {load(servers):.1f}\n")
        idle = test.startswith("idle")
        unit = "rss_per_session" if idle else "server_cpu_us_per_op"
        parts.append((memory if idle else table)(test, rows))
        for name in servers:
            failed = [r for r in servers[name] if "fatal" in r]
            if failed:
                parts.append(f"{name}: {len(failed)} runs failed: {failed[0]['fatal']}\n")
        figures = {name: median(runs, unit) for name, runs in rows.items()}
        if figures:
            label = "bytes of memory per session" if idle else "µs of CPU per operation"
            (plots / f"{test}.svg").write_text(plot(f"{TITLES[test]}: {label}", figures))
            parts.append(f"![{TITLES[test]}](benches/plots/{test}.svg)\n")
    (root / "BENCHMARKS.md").write_text("\n".join(parts))


def aims(tests):
    """Where ours stands, on io_uring."""
    lines = ["## What it is to reach", "",
             "Of eio on io_uring. Beside the cheapest peer; beside a floor. \"Seen\" is the ratio of medians; \"by round\" the",
             "median of the ratios of runs of the same round, which stood next to each other when the host's mood changed.", "",
             "| test | aim | seen | by round | |", "|---|---|---|---|---|"]
    key = "server_cpu_us_per_op"
    for test, (peer, floor, name) in AIMS.items():
        rows = {server: good for server, runs in tests.get(test, {}).items()
                if (good := [run for run in runs if "fatal" not in run])}
        ours = rows.get("eio") or rows.get("eio-room")
        beside = {"peer": cheapest(test, rows), name: name if name in rows else None}
        wanted = [(aim, what) for aim, what in ((peer, "peer"), (floor, name)) if aim and beside.get(what)]
        if not ours or not wanted:
            continue
        rivals = [(rows[beside[what]], factor(test, beside[what])) for _, what in wanted]
        seen = [median(ours, key) / (median(runs, key) * times) for runs, times in rivals]
        rounds = [statistics.median(own[key] / (other[key] * times) for own in ours for other in runs
                                    if own["round"] == other["round"]) for runs, times in rivals]
        met = [ratio <= aim + 0.005 for ratio, (aim, _) in zip(seen, wanted)]
        lines.append(f"| {TITLES[test]} | {', '.join(f'{aim:.2f} x {what}' for aim, what in wanted)}"
                     f" | {', '.join(f'{ratio:.2f}' for ratio in seen)}"
                     f" | {', '.join(f'{ratio:.2f}' for ratio in rounds)}"
                     f" | {', '.join('met' if good else '**not met**' for good in met)} |")
    for test, aim in MEMORY_AIMS.items():
        runs = [run for run in tests.get(test, {}).get("eio", []) if "fatal" not in run]
        if runs:
            seen = median(runs, "rss_per_session")
            lines.append(f"| {TITLES[test]} | {aim:,} B each | {seen:,.0f} B"
                         f" | | {'met' if seen <= aim else '**not met**'} |")
    return "\n".join(lines) + "\n" + WHY


def median(runs, key):
    return statistics.median([run.get(key) or 0 for run in runs])


def least(runs, key):
    return min(run.get(key) or 0 for run in runs)


def load(servers):
    return statistics.median(run["load"] for runs in servers.values() for run in runs)


def factor(test, name):
    """One polling trip is two requests."""
    return 2 if test == "polling-1" and name == "http-hello-monoio" else 1


def others(test, rows, floors, of):
    """What peers, or floors, take for an operation of this test."""
    return {name: of(runs, "server_cpu_us_per_op") * factor(test, name) for name, runs in rows.items()
            if name not in OURS and (name in FLOORS) == floors}


def best(test, rows, floors, of):
    return min(others(test, rows, floors, of).values(), default=None)


def cheapest(test, rows):
    """The name of the peer that takes least."""
    peers = others(test, rows, False, median)
    return min(peers, key=peers.get, default=None)


def ratio(test, name, rows, floors):
    cells = []
    for of in (median, least):
        beside = best(test, rows, floors, of)
        own = of(rows[name], "server_cpu_us_per_op") * factor(test, name)
        cells.append(f"{own / beside:.2f}" if beside else "-")
    return "; ".join(cells) if cells[0] != "-" else "-"


def table(test, rows):
    lines = [
        "| server | runs | CPU µs, median (min-max) | x peer | x floor | system share | per second | core, load's core"
        " | p50 / p99 / p99.9 µs | errors, lost |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    key = "server_cpu_us_per_op"
    for name, runs in rows.items():
        most = max(run.get(key) or 0 for run in runs)
        shown = f"**{name}**" if name in OURS else name
        digits = 3 if median(runs, key) < 2 else 2
        lines.append(
            f"| {shown} | {len(runs)} | {median(runs, key):.{digits}f} ({least(runs, key):.{digits}f}-{most:.{digits}f})"
            f" | {ratio(test, name, rows, False)} | {ratio(test, name, rows, True)}"
            f" | {median(runs, 'server_system_share'):.2f} | {median(runs, 'per_second'):,.0f}"
            f" | {median(runs, 'server_core'):.2f}, {median(runs, 'load_core'):.2f}"
            f" | {median(runs, 'p50_us'):.0f} / {median(runs, 'p99_us'):.0f} / {median(runs, 'p999_us'):.0f}"
            f" | {sum(run['errors'] for run in runs)}, {sum(run['lost'] for run in runs)} |"
        )
    return "\n".join(lines) + "\n"


def memory(_, rows):
    lines = ["| server | memory per session, B | CPU µs to open one | memory before, KB |", "|---|---:|---:|---:|"]
    for name, runs in rows.items():
        shown = f"**{name}**" if name in OURS else name
        lines.append(f"| {shown} | {median(runs, 'rss_per_session'):,.0f} | {median(runs, 'setup_cpu_us_per_session'):.1f}"
                     f" | {median(runs, 'rss_before') / 1024:,.0f} |")
    return "\n".join(lines) + "\n"


def plot(title, figures):
    """Bars, the cheapest on top; ours in colour. Readable on a light and on a dark page."""
    width, name_width, bar, gap, top = 760, 190, 22, 8, 40
    height = top + len(figures) * (bar + gap)
    room, most = width - name_width - 90, max(figures.values()) or 1
    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
        f' font-size="13" fill="#888">',
        f'<text x="0" y="18" font-size="15">{title}</text>',
    ]
    for i, (name, figure) in enumerate(sorted(figures.items(), key=lambda item: item[1])):
        y, length = top + i * (bar + gap), max(figure / most * room, 1)
        colour = "#d9622b" if name in OURS else "#b5b5b5" if name in FLOORS else "#5b8db8"
        text = f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"
        rows.append(f'<text x="{name_width - 8}" y="{y + 16}" text-anchor="end">{name}</text>'
                    f'<rect x="{name_width}" y="{y}" width="{length:.1f}" height="{bar}" fill="{colour}"/>'
                    f'<text x="{name_width + length + 6:.1f}" y="{y + 16}">{text}</text>')
    return "\n".join([*rows, "</svg>"]) + "\n"
