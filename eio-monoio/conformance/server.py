#!/usr/bin/env python3
"""The Autobahn fuzzing client against the ws_echo example: 301 cases, on each driver, and 48 of the 216 that are about
permessage-deflate, with messages that may refer to each other and with such that may not.

    server.py [--quick] [DRIVER ...]
    server.py --compression=CASES [DRIVER ...]

--quick leaves out group 9, which sends messages of up to 16 MiB: 247 cases. --compression runs nothing but the
cases of permessage-deflate that it names, as in `12.*,13.7.*`: all 216 take most of an hour. Drivers are io-uring and
epoll; by default both, and the first of them for permessage-deflate. The reports are left in the build directory, below
`autobahn-reports`.
"""

import json
import os
import re
import subprocess
import sys

import suite

COUNT = 301
OF_GROUP_9 = 54

# Groups 12 and 13, with messages of up to 1 KiB: the others take most of an hour.
COMPRESSED = ["%d.%d.%d" % (group, kind, size)
              for group, kinds in [(12, 5), (13, 7)] for kind in range(1, kinds + 1) for size in range(1, 5)]
# Each message by itself, and with references to earlier ones.
DEFLATE = ["--deflate", "--deflate-takeover"]


def start(driver, options):
    """ws_echo, and where it listens."""
    path = os.path.join(suite.build_directory(), "release", "examples", "ws_echo")
    command = [path, "--listen", "127.0.0.1:0", "--driver", driver, *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    words = server.stdout.readline().split()
    if len(words) < 3 or words[:2] != ["listening", "on"]:
        sys.exit("ws_echo does not listen: %r" % words)
    return server, words[2]


def run(installed, driver, cases, count=None, options=(), timeout=1800):
    """Whether all cases conform; without a count, as many as the suite says it has."""
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
            subprocess.run(command, env=installed.environment, cwd=out, stdout=log, stderr=log, timeout=timeout)
    finally:
        server.kill()
        server.wait()
    print(" ".join(["ws_echo on", driver, *options]) + ":")
    if count is None:
        with open(os.path.join(out, "log")) as log:
            count = int(re.search(r"will run (\d+) test cases", log.read()).group(1))
    return suite.judge(out, count)


def main(arguments):
    quick = "--quick" in arguments
    compression = [argument.split("=")[1].split(",") for argument in arguments if argument.startswith("--compression=")]
    drivers = [argument for argument in arguments if not argument.startswith("--")] or ["io-uring", "epoll"]
    groups = [group for group in suite.GROUPS if group != 9 or not quick]
    installed = suite.Suite()
    if compression:
        passed = [run(installed, drivers[0], compression[0], options=[option], timeout=6 * 3600) for option in DEFLATE]
        sys.exit(0 if all(passed) else 1)
    count = COUNT if 9 in groups else COUNT - OF_GROUP_9
    passed = [run(installed, driver, suite.cases(groups), count) for driver in drivers]
    for option in DEFLATE:
        passed.append(run(installed, drivers[0], COMPRESSED, len(COMPRESSED), [option]))
    sys.exit(0 if all(passed) else 1)


main(sys.argv[1:])
