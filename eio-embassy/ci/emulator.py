"""Firmware on an emulated Cortex-M with real servers, also over a network that loses frames."""

import os
import re
import signal
import subprocess
import time

from helpers import CORTEX_M0, EXAMPLES, Failure, Process, build, compiler, free_port, need, passed, serve
from relay import Relay

SERVERS = ("ours", "npm", "python", "aiohttp")
# The status with which each refuses an unknown session over a WebSocket.
REFUSES_WITH = {"ours": 400, "npm": 400, "python": 403, "aiohttp": 400}
# The most stack of a scenario in bytes. It depends on the compiler, which is printed with it.
STACK_MAX = int(os.environ.get("STACK_MAX", 8_704))


def build_for_qemu(*binaries, features=None):
    """Builds firmware of examples/qemu, and returns the directory of the artifacts."""
    only = [] if features is None else ["--no-default-features", "--features", features]
    bins = [word for name in binaries for word in ("--bin", name)]
    return build(EXAMPLES / "qemu", CORTEX_M0, "--locked", *bins, *only)


class Guest(Process):
    """An emulator that runs one scenario. Its firmware prints the stack it used at the end."""

    stacks = {}

    def check(self, name):
        super().check(name)
        used = re.search(r"^exit 0 .*, stack (\d+) bytes", self.text(), re.M)
        if not used:
            raise Failure(f"{name}: it did not print its stack")
        Guest.stacks[name] = int(used[1])


class Qemu:
    """The firmware of examples/qemu on an emulated lm3s6965evb. Its gateway 192.0.2.2 is 127.0.0.1 of this host."""

    def __init__(self):
        need("qemu-system-arm")
        self.artifacts = build_for_qemu("firmware", "polling")

    def boot(self, port, scenario, number, seconds=60, firmware="firmware", relay=None):
        return self.start(self.artifacts / firmware, (port, scenario, number), seconds, relay)

    @staticmethod
    def start(firmware, words, seconds=60, relay=None):
        """Boots firmware with these arguments; with its frames over `relay`, if there is one."""
        arguments = "".join(f",arg={word}" for word in ("firmware", *words))
        network = "user,id=network,net=192.0.2.0/24,host=192.0.2.2"
        wire = network
        if relay:
            guest, hub = free_port(2), free_port(2)
            relay.peers = [guest, hub]
            wire = f"socket,id=network,udp=127.0.0.1:{relay.ports[0]},localaddr=127.0.0.1:{guest}"
            # A QEMU without a machine connects its network with Ethernet frames in UDP datagrams.
            Process([
                "qemu-system-arm", "-M", "none", "-nographic", "-monitor", "none", "-serial", "none",
                "-netdev", network, "-netdev", "hubport,id=h0,hubid=0,netdev=network",
                "-netdev", f"socket,id=wire,udp=127.0.0.1:{relay.ports[1]},localaddr=127.0.0.1:{hub}",
                "-netdev", "hubport,id=h1,hubid=0,netdev=wire",
            ], "hub", seconds, stdin=subprocess.DEVNULL)
        command = [
            "qemu-system-arm", "-M", "lm3s6965evb", "-nographic", "-monitor", "none", "-serial", "none",
            "-semihosting-config", f"enable=on,target=native{arguments}",
            "-netdev", wire, "-net", "nic,model=stellaris,netdev=network", "-kernel", firmware,
        ]
        return Guest(command, "guest", seconds, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def with_server(self, kind, name, scenario, number, *, ping_interval_ms=25_000, max_payload=100_000, **options):
        """Runs one scenario with a running server."""
        port = free_port()
        server = serve(kind, port, ping_interval_ms, 20_000, max_payload)
        self.boot(port, scenario, number, **options).check(f"{kind} {name}")
        server.stop()

    def gone(self, kind, name, number):
        """A killed server's host closes the connection at once. A stopped one is as silent as a host without power."""
        port = free_port()
        server = serve(kind, port, 1_500, 1_000, 100_000)
        # The announced interval and timeout, and as much again for a busy machine.
        guest = self.boot(port, "gone", 5_000, 30)
        guest.wait_for("open")
        time.sleep(1)
        server.child.send_signal(number)
        guest.check(f"{kind} gone {name}: noticed within pingInterval + pingTimeout")
        server.stop()

    def restart(self, kind):
        port = free_port()
        guest = self.boot(port, "restart", 4)
        for connection in range(1, 5):
            time.sleep(0.5)
            server = serve(kind, port, 500, 20_000, 100_000)
            guest.wait_for(f"connection {connection}")
            server.stop()
        guest.check(f"{kind} restart: connects again, each time")

    def soak(self, kind, seconds):
        """The server restarts every 85 s."""
        port = free_port()
        server = serve(kind, port, 5_000, 3_000, 100_000)
        # On a busy host the guest's clock is late, because it misses periods of its timer.
        guest = self.boot(port, "soak", seconds, seconds + seconds // 10 + 60)
        began, restarts = time.monotonic(), 0
        while time.monotonic() - began + 85 < seconds:
            time.sleep(85)
            server.stop()
            time.sleep(1)
            server = serve(kind, port, 5_000, 3_000, 100_000)
            restarts += 1
        guest.check(f"{kind} soak: {seconds} s with {restarts} restarts")
        server.stop()

    # Scenarios that wait most of the time. Each starts, and returns the function that checks its end.

    def publish(self, kind, seconds):
        port = free_port()
        server = serve(kind, port, 1_000, 1_000, 100_000, sink=True)
        guest = self.boot(port, "publish", seconds, seconds + 60)

        def check():
            guest.check(f"{kind} publish: each of {seconds} readings of a program that only sends arrives")
            server.stop()

        return check

    def sensor(self, kind, transport, seconds):
        port = free_port()
        server = serve(kind, port, 1_000, 5_000, 100_000)
        firmware, scenario = ("firmware", "sensor") if transport == "websocket" else ("polling", f"sensor-{transport}")
        guest = self.boot(port, scenario, seconds, seconds * 2 + 60, firmware)

        def check():
            guest.check(f"{kind} sensor-{transport}: select of a message and a tick, for {seconds} s")
            server.stop()

        return check

    def lossy(self, kind, seed, seconds=65, most=2, **faults):
        """Twenty messages a second over a wire with faults, in at most `most` connections.

        With the default heartbeat: both stacks of TCP resend after 1, 2 and 4 s, so one of 5 s and 5 s would end a session
        in which a frame is lost three times, which happens in one of two runs.
        """
        port = free_port()
        server = serve(kind, port, 25_000, 20_000, 100_000)
        guest = self.boot(port, "soak", seconds, seconds * 2 + 60, relay=Relay(seed, **faults))

        def check():
            name = f"{kind} lossy, seed {seed}: {faults}"
            guest.check(name)
            connections = int(re.search(r"^(\d+) connections", guest.text(), re.M)[1])
            if connections > most:
                raise Failure(f"{name}: {connections} connections, more than {most}")
            server.stop()

        return check

    def radio(self, kind, seconds):
        """The link is down for 1 s to 20 s, once a minute."""
        port = free_port()
        server = serve(kind, port, 5_000, 3_000, 100_000)
        guest = self.boot(port, "radio", seconds, seconds + seconds // 10 + 60)

        def check():
            guest.check(f"{kind} radio: {seconds} s with a loss of the access point each minute")
            server.stop()

        return check


def scenarios(machine, kind, wanted):
    """The short scenarios, one after another."""
    if wanted(f"{kind} echo"):
        name = "echo: 1000 messages of either kind there and back"
        machine.with_server(kind, name, "echo", 1000, ping_interval_ms=500)
    for transport in ("polling", "upgrade", "any"):
        if wanted(f"{kind} {transport}"):
            # On aiohttp, python-engineio reads one TCP segment of a POST, and answers 200. These messages fit.
            count = 16 if (kind, transport) == ("aiohttp", "polling") else 1000
            name = f"{transport}: {count} messages there and back"
            machine.with_server(kind, name, transport, count, ping_interval_ms=500, firmware="polling")
    # aiohttp itself refuses a message of exactly its limit, which this scenario sends.
    if kind != "aiohttp" and wanted(f"{kind} toobig"):
        machine.with_server(kind, "toobig: beyond the limit of either end", "toobig", 2000, max_payload=2_000)
    if wanted(f"{kind} refused"):
        machine.with_server(kind, "refused: reports the status", "refused", REFUSES_WITH[kind])
    for name, number in (("KILL", signal.SIGKILL), ("STOP", signal.SIGSTOP)):
        if wanted(f"{kind} gone {name}"):
            machine.gone(kind, name, number)
    if wanted(f"{kind} restart"):
        machine.restart(kind)


def run(pattern, soak):
    """Runs the scenarios whose names match; the long ones for `soak` seconds, if that is given."""
    machine = Qemu()
    wanted = re.compile(pattern).search
    # They wait most of the time, so they run next to the others.
    waiting = []
    for kind in SERVERS:
        if wanted(f"{kind} publish"):
            waiting.append(machine.publish(kind, 60))
        for transport in ("websocket", "polling", "upgrade", "any"):
            if wanted(f"{kind} sensor-{transport}"):
                waiting.append(machine.sensor(kind, transport, soak or 10))
    for kind in SERVERS if soak else ("ours",):
        if wanted(f"{kind} lossy"):
            waiting.append(machine.lossy(kind, 1, dropped=0.05, delay_ms=(100, 100)))
            waiting.append(machine.lossy(kind, 2, dropped=0.02, doubled=0.05, delay_ms=(20, 170)))
    if soak and wanted("ours radio"):
        waiting.append(machine.radio("ours", soak))
    for kind in SERVERS:
        scenarios(machine, kind, wanted)
        if soak and wanted(f"{kind} soak"):
            machine.soak(kind, soak)
    if wanted("no-server"):
        machine.boot(free_port(), "no-server", 0).check("no-server: the connection is refused")
    for check in waiting:
        check()
    report_stack()


def report_stack():
    print(f"\nstack, with {compiler(CORTEX_M0)}; the limit is {STACK_MAX} bytes")
    for name, used in sorted(Guest.stacks.items(), key=lambda item: -item[1]):
        print(f"  {used}  {name}")
    deepest = max(Guest.stacks.values(), default=0)
    if deepest > STACK_MAX:
        raise Failure(f"a scenario uses {deepest} bytes of stack, more than {STACK_MAX}")
    passed(f"the deepest scenario uses {deepest} bytes of stack")
