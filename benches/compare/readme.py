#!/usr/bin/env python3
"""Writes README.md's table of figures from the tables in BENCHMARKS.md.

    benches/compare/readme.py       between <!-- figures: begin --> and <!-- figures: end --> of README.md

run.py calls this after each run. benches/tests/figures.rs fails when the two documents differ.
"""

import pathlib
import re

import report

SERVERS = {
    "eio": "eio",
    "engineioxide": "engineioxide",
    "engine.io": "engine.io (Node)",
    "python-engineio-asgi": "python-engineio (uvicorn)",
}
# Each row: its label, the test, the column of the test's table, and by how much the figure is divided.
ROWS = (
    ("WebSocket echo, 32 B, µs of CPU", "ws-echo-1", 2, 1),
    ("the same, 16 in flight", "ws-echo-16", 2, 1),
    ("polling round trip, µs", "polling-1", 2, 1),
    ("handshake, probe, upgrade, echo, close, µs", "upgrade", 2, 1),
    ("idle WebSocket session, of 19,000, KB", "idle-ws-19000", 1, 1000),
)


class Missing(Exception):
    """BENCHMARKS.md lacks a row: the run was a partial one."""


def write(benchmarks, readme, output):
    """Writes README.md with the figures in BENCHMARKS.md to `output`."""
    output.write_text(report.replace(readme.read_text(), "figures", block(benchmarks.read_text())))


def block(text):
    lines = ["", f"| | {' | '.join(SERVERS.values())} |", f"|---|{'---:|' * len(SERVERS)}"]
    for label, test, column, divisor in ROWS:
        rows = table(text, test)
        cells = []
        for server in SERVERS:
            if server not in rows:
                raise Missing(f"{test} has no row of {server}")
            figure = rows[server][column].split()[0].replace(",", "")
            cells.append(shown(float(figure) / divisor))
        lines.append(f"| {label} | {' | '.join(cells)} |")
    machine = dict(re.findall(r"^- ([a-zA-Z]+): (.*)$", text, re.M))
    lines += ["", f"eio {machine['eio']}, {machine['taken']}, {machine['CPU']}, loopback.", rounds(text), ""]
    return "\n".join(lines) + "\n"


def rounds(text):
    """How many rounds the medians are of. Every server has one for memory; slow servers have fewer for CPU time."""
    counts = {name: int(table(text, "ws-echo-1")[server][1]) for server, name in SERVERS.items()}
    most = max(counts.values())
    fewer = [f"{name} {count}" for name, count in counts.items() if count < most]
    return f"Medians of {most} rounds ({', '.join(fewer + ['memory 1'])})."


def table(text, test):
    """The rows of a test's table in BENCHMARKS.md, by server."""
    _, found, rest = text.partition(f"### {report.TITLES[test]}\n")
    if not found:
        raise Missing(f"there is no section of {test}")
    lines = [line for line in rest.partition("\n### ")[0].splitlines() if line.startswith("| ")]
    rows = [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in lines[1:]]
    return {cells[0]: cells for cells in rows}


def shown(figure):
    """With two significant digits or more."""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.1f}" if figure >= 1 else f"{figure:.2f}"


if __name__ == "__main__":
    ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
    write(ROOT / "BENCHMARKS.md", ROOT / "README.md", ROOT / "README.md")
