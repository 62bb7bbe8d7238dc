"""Writes the generated blocks of BENCHMARKS.md, and the plots, from the results of run.py.

The text between the blocks (method, limits, analysis) is written by hand in BENCHMARKS.md itself.
"""

import json
import random
import re
import statistics

# These do the least that the same traffic needs: no server that does more costs less.
BARE = ("engine-floor", "sends-tokio", "tls-floor", "ws-floor-epoll", "ws-floor-ring")
# Floors are not Engine.IO servers. All other servers are peers.
FLOORS = (*BARE, "fastwebsockets", "sockudo-ws", "tokio-websockets", "bun-websocket", "bun-websocket-tls",
          "tcp-echo-monoio", "tcp-echo-tokio", "http-hello-monoio")
OURS = ("eio", "eio-epoll", "eio-tls", "eio-room", "eio-epoll-room", "eio-workers-1", "eio-workers-2", "eio-workers-4")

TITLES = {
    "ws-echo-1": "WebSocket echo, 64 connections, 1 in flight, 32 B",
    "ws-echo-c2": "WebSocket echo, 2 connections, 1 in flight, 32 B",
    "ws-echo-c8": "WebSocket echo, 8 connections, 1 in flight, 32 B",
    "ws-echo-16": "WebSocket echo, 64 connections, 16 in flight, 32 B",
    "ws-echo-1k": "WebSocket echo, 256 connections, 1 KB",
    "ws-echo-64k": "WebSocket echo, 16 connections, 64 KB",
    "polling-1": "Polling round trip (POST and GET), 64 sessions, 32 B",
    "polling-10": "Polling round trip with 10 messages in a POST",
    "connect-ws": "WebSocket session opened and closed, 32 at a time",
    "connect-polling": "Polling session opened and closed, 32 at a time",
    "upgrade": "Handshake, probe, upgrade, one echo, close, 128 at a time",
    "broadcast": "Broadcast of 64 B to 1,000 WebSocket sessions, for each delivery",
    "half": "WebSocket echo, 40,000 a second over 64 connections",
    "tls-echo": "WebSocket echo over TLS, 64 connections, 1 in flight, 32 B",
    "tls-echo-64k": "WebSocket echo over TLS, 16 connections, 64 KB",
    "tls-connect": "WebSocket session over TLS, opened and closed, 32 at a time, full handshakes",
    "tls-resume": "WebSocket session over TLS, opened and closed, 32 at a time, resumed",
    "open-loop": "WebSocket echo, 64 connections, 32 B, 75,000 a second on schedule",
    "rate-64": "WebSocket echo, 30,000 a second over 64 connections",
    "rate-1000": "WebSocket echo, 30,000 a second over 1,000 connections",
    "rate-10000": "WebSocket echo, 30,000 a second over 10,000 connections",
    "workers": "Polling round trip, 1, 2 and 4 workers on all cores, requests arriving at any of them",
    "mixed": "64 busy WebSocket sessions and 5,000 idle ones",
    "idle-ws": "5,000 idle WebSocket sessions",
    "idle-ws-19000": "19,000 idle WebSocket sessions",
    "idle-ws-touched": "19,000 WebSocket sessions, idle after a 64 KB message each",
    "idle-tls": "5,000 idle WebSocket sessions over TLS",
    "idle-polling": "5,000 polling sessions with a held GET",
}

# The most that eio should cost, as a ratio by round to the CPU time of another server.
GOALS = (
    ("ws-echo-1", "bun-websocket", 0.97),
    ("ws-echo-16", "bun-websocket", 0.92),
    ("ws-echo-1k", "bun-websocket", 1.00),
    ("ws-echo-64k", "bun-websocket", 0.85),
    ("ws-echo-c2", "bun-websocket", 1.03),
    ("ws-echo-c8", "bun-websocket", 1.00),
    ("rate-1000", "bun-websocket", 1.05),
    ("rate-10000", "bun-websocket", 1.05),
    ("polling-1", "engineioxide", 0.60),
    ("polling-10", "engineioxide", 0.50),
    ("connect-ws", "engineioxide", 0.65),
    ("connect-polling", "engineioxide", 0.75),
    ("upgrade", "engineioxide", 0.65),
    *((test, "bun-engine", 0.60) for test in ("ws-echo-1", "ws-echo-16", "ws-echo-1k", "ws-echo-64k", "polling-1",
                                              "polling-10", "connect-ws", "connect-polling", "upgrade")),
    ("tls-echo", "tls-floor", 1.10),
    ("tls-echo-64k", "tls-floor", 1.10),
    ("broadcast", "sends-tokio", 1.15),
)
# In bytes for a session.
MEMORY_GOALS = {"idle-ws-19000": 1200, "idle-ws-touched": 1200, "idle-polling": 2048, "idle-tls": 20_000}
# The p99.9 of eio is no more than that of any other server.
TAIL_GOALS = ("half",)

CPU = "server_cpu_us_per_op"
MEMORY = "rss_per_session"
TAIL = "p999_us"


def write(setting, results, commands, root, output):
    """Reads BENCHMARKS.md below `root`, and writes it with new blocks, and the plots, below `output`."""
    tests, skipped = {}, {}
    for result in results:
        if "skipped" in result:
            skipped[result["skipped"]] = result["why"]
            continue
        tests.setdefault(result["test"], {}).setdefault(result["server"], []).append(result)
    text = (root / "BENCHMARKS.md").read_text()
    text = replace(text, "run", run(setting, skipped, root))
    text = replace(text, "goals", goals(tests))
    plots = output / "benches/plots"
    plots.mkdir(parents=True, exist_ok=True)
    sections = [section(test, servers, commands[test], plots) for test, servers in tests.items()]
    text = replace(text, "results", "\n" + "\n".join(sections) + "\n")
    (output / "BENCHMARKS.md").write_text(text)


def replace(text, name, body):
    """Replaces the text between the two markers of a block."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"there is no block between {begin.strip()} and {end.strip()}")
    return f"{before}{begin}{body}{end}{after}"


def run(setting, skipped, root):
    """The command of a run, the machine, and the versions of the peers."""
    machine = "\n".join(f"- {key}: {value}" for key, value in setting["machine"].items())
    command = " ".join(filter(None, ("benches/compare/run.py", setting["command"])))
    absent = "".join(f"- SKIPPED {name}: {why}\n" for name, why in skipped.items())
    return f"\n```sh\n{command}\n```\n\n{machine}\n- peers: {versions(root / 'benches/compare')}\n{absent}\n"


def versions(compare):
    """The versions of the peers in their lock files."""
    bun = json.loads((compare / "bun/package-lock.json").read_text())["packages"]
    rust = dict(re.findall(r'name = "([^"]+)"\nversion = "([^"]+)"', (compare / "peers/Cargo.lock").read_text()))
    node = json.loads((compare / "node/package-lock.json").read_text())["packages"]
    python = dict(re.findall(r"^([a-z-]+)==([^ ;\\]+)", (compare / "python/requirements.txt").read_text(), re.M))
    named = [f"{name} {rust[name]}" for name in ("engineioxide", "fastwebsockets", "sockudo-ws", "tokio-websockets", "monoio", "rustls")]
    named.append(f"engine.io {node['node_modules/engine.io']['version']}")
    named += [f"{name} {bun[f'node_modules/{name}']['version']}" for name in ("bun", "@socket.io/bun-engine")]
    named += [f"{name} {python[name]}" for name in ("python-engineio", "uvicorn")]
    return ", ".join(named)


def section(test, servers, command, plots):
    """The section of one test; writes its plot."""
    rows = good(servers)
    idle = test.startswith("idle")
    parts = [f"### {TITLES[test]}\n\n`eio-load … {command}`, load average {load(servers):.1f}\n",
             (memory if idle else table)(test, rows)]
    for name, runs in servers.items():
        failed = [one for one in runs if "fatal" in one]
        if failed:
            parts.append(f"{name}: {len(failed)} runs failed: {failed[0]['fatal']}\n")
    figures = {name: median(runs, MEMORY if idle else CPU) for name, runs in rows.items()}
    if figures:
        label = "bytes of memory per session" if idle else "µs of CPU per operation"
        (plots / f"{test}.svg").write_text(plot(f"{TITLES[test]}: {label}", figures))
        parts.append(f"![{TITLES[test]}](benches/plots/{test}.svg)\n")
    return "\n".join(parts)


def goals(tests):
    """The table of goals: eio on io_uring. Then the rows in which another server costs less."""
    lines = ["", "| test | goal | of medians | by round | floor x that server | eio x floor | |",
             "|---|---|---:|---:|---:|---:|---|"]
    for test, other, goal in GOALS:
        rows = good(tests.get(test, {}))
        ours, theirs, times = own(rows), rows.get(other), factor(test, other)
        if not ours or not theirs:
            continue
        ratios = by_round(ours, theirs, times)
        cost, above = floor(rows, ours, theirs, other)
        reached = ratios is not None and ratios[0] <= goal + 0.005
        lines.append(f"| {TITLES[test]} | {goal:.2f} x {other} | {median(ours, CPU) / (median(theirs, CPU) * times):.2f}"
                     f" | {interval(ratios)} | {interval(cost)} | {interval(above)}"
                     f" | {met(reached)}{'' if reached else below(cost, goal)} |")
    for test in TAIL_GOALS:
        rows = good(tests.get(test, {}))
        if ours := own(rows):
            tails = {name: median(runs, TAIL) for name, runs in rows.items() if name not in OURS and name not in BARE}
            bare = [f"{median(runs, TAIL):,.0f} µs" for name, runs in rows.items() if name in BARE]
            others = ", ".join(f"{name} {tail:,.0f}" for name, tail in tails.items())
            lines.append(f"| {TITLES[test]} | p99.9 of each other: {others} µs | {median(ours, TAIL):,.0f} µs | "
                         f"| {', '.join(bare)} | | {met(median(ours, TAIL) <= min(tails.values(), default=0))} |")
    for test, goal in MEMORY_GOALS.items():
        if ours := own(good(tests.get(test, {}))):
            measured = median(ours, MEMORY)
            lines.append(f"| {TITLES[test]} | {goal:,} B each | {measured:,.0f} B | | | | {met(measured <= goal)} |")
    lost = [line for test, servers in tests.items() for line in losses(test, good(servers))]
    lines += ["", "Rows in which another server costs less than eio, by round:", "", *(lost or ["- none"])]
    return "\n".join(lines) + "\n\n"


def floor(rows, ours, theirs, other):
    """The cost of the cheapest floor of a test, as a ratio to that of another server, and eio's as a ratio to it."""
    found = [(ratios, by_round(ours, runs)) for name, runs in rows.items()
             if name in BARE and name != other and (ratios := by_round(runs, theirs))]
    return min(found, key=lambda pair: pair[0][0], default=(None, None))


def below(cost, goal):
    """The verdict on a goal that is not met, where the floor does not meet it."""
    if not cost or cost[0] <= goal + 0.005:
        return ""
    # The interval says whether the floor could be at the goal, too.
    return ": below the floor" if cost[1] > goal + 0.005 else ": at the floor"


def losses(test, rows):
    """The servers that cost less than eio in this test."""
    ours = own(rows)
    if not ours or test.startswith("idle"):
        return
    for name, runs in rows.items():
        ratios = by_round(ours, runs, factor(test, name)) if name not in OURS else None
        if ratios and ratios[0] > 1.005:
            kind = "not Engine.IO" if is_floor(name) else "peer"
            yield f"- {TITLES[test]}: {interval(ratios)} x {name} ({kind})"


def good(servers):
    """The runs of each server that did not fail."""
    return {name: passed for name, runs in servers.items() if (passed := [one for one in runs if "fatal" not in one])}


def own(rows):
    return rows.get("eio") or rows.get("eio-room") or rows.get("eio-tls") or []


def is_floor(name):
    return name in FLOORS


def met(reached):
    return "met" if reached else "**not met**"


def median(runs, key):
    return statistics.median([one.get(key) or 0 for one in runs])


def by_round(ours, theirs, factor=1):
    """The median of the ratios of runs of the same round, and the interval of 90 % of its bootstrap samples."""
    ratios = [own[CPU] / (other[CPU] * factor) for own in ours for other in theirs
              if own["round"] == other["round"] and own.get(CPU) and other.get(CPU)]
    if not ratios:
        return None
    chance = random.Random(1)
    samples = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(2000))
    return statistics.median(ratios), samples[100], samples[1899]


def least(runs, key):
    return min(one.get(key) or 0 for one in runs)


def load(servers):
    return statistics.median(one["load"] for runs in servers.values() for one in runs)


def factor(test, name):
    """One polling round trip is two requests to the floor."""
    return 2 if test == "polling-1" and name == "http-hello-monoio" else 1


def costs(test, rows, floors, of):
    """CPU time of one operation of this test, by peer, or by floor."""
    return {name: of(runs, CPU) * factor(test, name) for name, runs in rows.items()
            if name not in OURS and (name in FLOORS) == floors}


def interval(ratios):
    return f"{ratios[0]:.2f} [{ratios[1]:.2f}-{ratios[2]:.2f}]" if ratios else "-"


def ratio(test, name, rows, floors):
    cells = []
    for of in (median, least):
        best = min(costs(test, rows, floors, of).values(), default=None)
        own = of(rows[name], CPU) * factor(test, name)
        cells.append(f"{own / best:.2f}" if best else "-")
    return "; ".join(cells) if cells[0] != "-" else "-"


def table(test, rows):
    lines = [
        "| server | runs | CPU µs, median (min-max) | eio x this, by round | x peer | x floor | system share"
        " | sleeps per op. | per second"
        " | core of server, of generator | p50 / p99 / p99.9 µs | errors, lost |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    ours = own(rows)
    for name, runs in rows.items():
        most = max(one.get(CPU) or 0 for one in runs)
        shown = f"**{name}**" if name in OURS else name
        digits = 3 if median(runs, CPU) < 2 else 2
        lines.append(
            f"| {shown} | {len(runs)} | {median(runs, CPU):.{digits}f} ({least(runs, CPU):.{digits}f}-{most:.{digits}f})"
            f" | {'-' if runs is ours else interval(by_round(ours, runs, factor(test, name)))}"
            f" | {ratio(test, name, rows, False)} | {ratio(test, name, rows, True)}"
            f" | {median(runs, 'server_system_share'):.2f} | {median(runs, 'server_sleeps_per_op'):.3f}"
            f" | {median(runs, 'per_second'):,.0f}"
            f" | {median(runs, 'server_core'):.2f}, {median(runs, 'load_core'):.2f}"
            f" | {median(runs, 'p50_us'):.0f} / {median(runs, 'p99_us'):.0f} / {median(runs, 'p999_us'):.0f}"
            f" | {sum(one['errors'] for one in runs)}, {sum(one['lost'] for one in runs)} |"
        )
    return "\n".join(lines) + "\n" + lateness(rows)


def lateness(rows):
    """How late the generator of an open loop began operations, which the latencies contain."""
    shown = [f"{name} {median(runs, 'late_p99_us'):.0f} / {median(runs, 'late_p999_us'):.0f}"
             for name, runs in rows.items() if any("late_p99_us" in one for one in runs)]
    return f"\nLateness of the generator, p99 / p99.9 µs, part of the latencies: {', '.join(shown)}\n" if shown else ""


def memory(_, rows):
    lines = ["| server | memory per session, B | CPU µs to open one | memory before, KB |", "|---|---:|---:|---:|"]
    for name, runs in rows.items():
        shown = f"**{name}**" if name in OURS else name
        lines.append(f"| {shown} | {median(runs, MEMORY):,.0f} | {median(runs, 'setup_cpu_us_per_session'):.1f}"
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
