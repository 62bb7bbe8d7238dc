#!/usr/bin/env python3
"""The Autobahn fuzzing server against the ws_client example: 301 cases, on each driver.

    client.py [--quick] [DRIVER ...]

--quick leaves out group 9, which sends messages of up to 16 MiB: 247 cases. Drivers are io-uring and epoll; by
default both. The reports are left in the build directory, below `autobahn-reports`.
"""

import json
import os
import socket
import subprocess
import sys
import time

import suite

COUNT = 301
OF_GROUP_9 = 54


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port, server):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("the fuzzing server does not listen")


def run(installed, driver, groups):
    out = os.path.join(suite.build_directory(), "autobahn-reports", "client-" + driver)
    os.makedirs(out, exist_ok=True)
    index = os.path.join(out, "index.json")
    if os.path.exists(index):
        os.remove(index)
    port = free_port()
    url = "ws://127.0.0.1:%d" % port
    spec = {
        "url": url,
        "outdir": out,
        "cases": suite.cases(groups),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    name = os.path.join(out, "spec.json")
    with open(name, "w") as file:
        json.dump(spec, file)
    # Without the web page of the suite: -w 0.
    command = installed.command("-m", "fuzzingserver", "-s", name, "-w", "0")
    with open(os.path.join(out, "log"), "w") as log:
        server = subprocess.Popen(command, env=installed.environment, cwd=out, stdout=log, stderr=log)
        try:
            wait_for(port, server)
            path = os.path.join(suite.build_directory(), "release", "examples", "ws_client")
            client = [path, "--url", url, "--agent", "eio-" + driver, "--driver", driver]
            subprocess.run(client, timeout=1800, check=True)
        finally:
            server.kill()
            server.wait()
    print("ws_client on %s:" % driver)
    return suite.judge(out, COUNT if 9 in groups else COUNT - OF_GROUP_9)


def main(arguments):
    quick = "--quick" in arguments
    drivers = [argument for argument in arguments if argument != "--quick"] or ["io-uring", "epoll"]
    groups = [group for group in suite.GROUPS if group != 9 or not quick]
    installed = suite.Suite()
    passed = [run(installed, driver, groups) for driver in drivers]
    sys.exit(0 if all(passed) else 1)


main(sys.argv[1:])
