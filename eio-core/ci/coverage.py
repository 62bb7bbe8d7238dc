#!/usr/bin/env python3
"""The line coverage of eio-core.

    coverage.py LCOV LIMIT

LCOV is the report of `cargo llvm-cov --lcov`. Files of tests, and the `mod tests` at the end of a file, do not count.
Prints each file with the lines that no test reached, and fails below LIMIT percent.
"""

import os
import re
import sys

CRATE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def shipped(path):
    """The number of lines at the start of a source file before its tests."""
    with open(path) as file:
        for number, line in enumerate(file):
            if line.startswith("#[cfg(test)]"):
                return number
    return sys.maxsize


def read(report):
    """For each file of the crate: line -> number of executions."""
    files = {}
    with open(report) as file:
        for line in file:
            key, _, value = line.strip().partition(":")
            if key == "SF":
                relative = os.path.relpath(value, CRATE)
                counts, last = None, 0
                if relative.startswith("src/") and not re.search(r"/tests(\.rs|/)", relative):
                    counts, last = files.setdefault(relative, {}), shipped(value)
            elif key == "DA" and counts is not None:
                number, count = (int(part) for part in value.split(",")[:2])
                if number <= last:
                    counts[number] = counts.get(number, 0) + count
    return files


def spans(numbers):
    """[1, 2, 3, 7] -> "1-3, 7"."""
    found = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join("%d" % a if a == b else "%d-%d" % (a, b) for a, b in found)


def main(report, limit):
    files = read(report)
    lines = sum(len(counts) for counts in files.values())
    if lines == 0:
        sys.exit("no line of eio-core in " + report)
    reached = 0
    for name, counts in sorted(files.items()):
        missed = [number for number, count in counts.items() if count == 0]
        reached += len(counts) - len(missed)
        print("%-28s %4d of %4d %s" % (name, len(counts) - len(missed), len(counts), spans(missed)))
    percent = 100 * reached / lines
    print("eio-core: %d of %d lines, %.2f %%" % (reached, lines, percent))
    sys.exit(0 if percent >= float(limit) else "less than %s %%" % limit)


main(*sys.argv[1:])
