#!/usr/bin/env python3
"""The Autobahn fuzzing client against the ws_echo example: 301 cases, on each driver, and 48 of the 216 that are about
permessage-deflate, with messages that may refer to each other and with such that may not.

    server.py [--quick] [DRIVER ...]

--quick leaves out group 9, which sends messages of up to 16 MiB: 247 cases. Drivers are io-uring and epoll; by
default both, and the first of them for permessage-deflate. The reports are left in the build directory, below `autobahn-reports`.
"""

import json
import os
import subprocess
import sys

import suite

COUNT = 301
OF_GROUP_9 = 54

# Groups 12 and 13, with messages of up to 1 KiB: the others take most of an hour.
COMPRESSED = ["%d.%d.%d" % (group, kind, size)
              for group, kinds in [(12, 5), (13, 7)] for kind in range(1, kinds + 1) for size in range(1, 5)]


def start(driver, options):
    """ws_echo, and where it listens."""
    path = os.path.join(suite.build_directory(), "release", "examples", "ws_echo")
    command = [path, "--listen", "127.0.0.1:0", "--driver", driver, *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    words = server.stdout.readline().split()
    if len(words) < 3 or words[:2] != ["listening", "on"]:
        sys.exit("ws_echo does not listen: %r" % words)
    return server, words[2]


def run(installed, driver, cases, count, options=()):
    out = os.path.join(suite.build_directory(), "autobahn-reports", driver + "".join(options))
    os.makedirs(out, exist_ok=True)
    index = os.path.join(out, "index.json")
    if os.path.exists(index):
        os.remove(index)
    server, url = start(driver, options)
    try:
        spec = {
            "outdir": out,
            "servers": [{"agent": "eio-" + driver, "url": url, "options": {"version": 18}}],
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        name = os.path.join(out, "spec.json")
        with open(name, "w") as file:
            json.dump(spec, file)
        command = installed.command("-m", "fuzzingclient", "-s", name)
        with open(os.path.join(out, "log"), "w") as log:
            subprocess.run(command, env=installed.environment, cwd=out, stdout=log, stderr=log, timeout=1800)
    finally:
        server.kill()
        server.wait()
    print(" ".join(["ws_echo on", driver, *options]) + ":")
    return suite.judge(out, count)


def main(arguments):
    quick = "--quick" in arguments
    drivers = [argument for argument in arguments if argument != "--quick"] or ["io-uring", "epoll"]
    groups = [group for group in suite.GROUPS if group != 9 or not quick]
    installed = suite.Suite()
    count = COUNT if 9 in groups else COUNT - OF_GROUP_9
    passed = [run(installed, driver, suite.cases(groups), count) for driver in drivers]
    for option in ["--deflate", "--deflate-takeover"]:
        passed.append(run(installed, drivers[0], COMPRESSED, len(COMPRESSED), [option]))
    sys.exit(0 if all(passed) else 1)


main(sys.argv[1:])
