#!/usr/bin/env python3
"""Builds, measures and tests the client as firmware. README.md describes the commands; missing programs are installed."""

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# No `__pycache__` in the source tree.
sys.dont_write_bytecode = True

import binary
import emulator
import tls_checks
from emulator import SERVERS, build_for_qemu
from helpers import (CI, CORTEX_M0, EXAMPLES, ROOT, TARGET, WORK, Failure, Process, build, compiler, free_port, modules, need,
                     passed, sensor_server, serve)

# Limits in bytes. The buffers that the firmware `size` lends to the client are not part of the client.
LENT = 2048
CLIENT_FLASH_MAX = int(os.environ.get("CLIENT_FLASH_MAX", 25_600))
CLIENT_RAM_MAX = 1_536
FLASH_MAX = 98_304
RAM_MAX = 20_480
# Three clients, of which firmware has one.
POLLING_FLASH_MAX = 131_072
POLLING_RAM_MAX = 28_672
# The difference for firmware that knows its server by address.
DNS_FLASH_MIN = 4_096


def no_std(_):
    """Builds eio-core and eio-embassy for a target without std, heap or compare-and-swap."""
    for package in ("eio-core", "eio-embassy"):
        for features in ("", "defmt"):
            build(ROOT, CORTEX_M0, "--locked", "-p", package, "--no-default-features", "--features", features)
            print(f"ok: {package} for {CORTEX_M0}, features: {features or 'none'}")


# The settings of a board. Without them its firmware does not compile.
SETTINGS = {"EIO_SERVER": "192.168.1.10:3000", "WIFI_SSID": "ssid", "WIFI_PASSWORD": "password"}


def authority():
    """The certificate of an authority, in DER."""
    need("openssl")
    WORK.mkdir(parents=True, exist_ok=True)
    file = WORK / "authority.der"
    command = ["openssl", "req", "-x509", *tls_checks.P256, "-subj", "/CN=authority", "-keyout", "/dev/null", "-outform", "der",
               "-out", file]
    subprocess.run(command, capture_output=True, check=True)
    return file


def first_firmware():
    """Builds the README's first firmware with the README's dependencies, as pasted into a new crate."""
    readme = (CI.parent / "README.md").read_text()
    dependencies = re.search(r"<!-- dependencies -->\n```toml\n(.*?)```", readme, re.S)[1]
    code = re.search(r"<!-- /dependencies -->.*?```rust,no_run\n(.*?)```", readme, re.S)[1]
    directory = WORK / "first-firmware"
    (directory / "src").mkdir(parents=True, exist_ok=True)
    (directory / "src/lib.rs").write_text(f"#![no_std]\n{code.replace('async fn', 'pub async fn', 1)}")
    patches = "".join(f'{name} = {{ path = "{ROOT / name}" }}\n' for name in ("eio-core", "eio-embassy"))
    (directory / "Cargo.toml").write_text(
        f'[package]\nname = "first-firmware"\nedition = "2024"\n\n{dependencies}\n[workspace]\n\n[patch.crates-io]\n{patches}')
    # The versions and the artifacts of the example, which has the same dependencies.
    shutil.copy(EXAMPLES / "rp2040/Cargo.lock", directory)
    build(directory, CORTEX_M0, environment={"CARGO_TARGET_DIR": str(EXAMPLES / "rp2040/target")})
    passed("the README's first firmware, with its dependencies")


def compile_boards(_):
    """Builds the firmware of the boards that cannot be run here, or not completely."""
    settings = {**SETTINGS, "EIO_AUTHORITY": str(authority())}
    for what, directory, target, arguments in (
        ("Pico W", "rp2040", CORTEX_M0, ("--features", "picow", "--bin", "picow")),
        ("ESP32-C3 with Wi-Fi", "esp32c3", "riscv32imc-unknown-none-elf", ("--bins",)),
        ("STM32H743 with Ethernet", "stm32", "thumbv7em-none-eabihf", ("--bins",)),
        ("STM32H743 with Ethernet and TLS", "stm32", "thumbv7em-none-eabihf", ("--bins", "--features", "tls")),
    ):
        build(EXAMPLES / directory, target, "--locked", *arguments, environment=settings)
        passed(what)
    first_firmware()
    os.environ.pop("WIFI_SSID", None)
    forgotten = {name: value for name, value in SETTINGS.items() if name != "WIFI_SSID"}
    for what, settings in (
        ("no WIFI_SSID", forgotten),
        ("a short WIFI_PASSWORD", {**SETTINGS, "WIFI_PASSWORD": "short"}),
        ("a wrong EIO_ADDRESS", {**SETTINGS, "EIO_ADDRESS": "192.168.1.300/24"}),
    ):
        try:
            build(EXAMPLES / "rp2040", CORTEX_M0, "--locked", "--features", "picow", "--bin", "picow", environment=settings)
        except subprocess.CalledProcessError:
            passed(f"{what} does not compile")
        else:
            raise Failure(f"firmware compiles with {what}")


# Size


def sized_firmware(directory):
    """The firmware `size` with the client, without, and with the client and DNS, in `directory`. Panic messages and their
    formatting are left out, as in firmware without a console."""
    for name, features in (("with", "client"), ("bare", ""), ("dns", "client,dns")):
        shutil.copy(build_for_qemu("size", features=features) / "size", directory / name)
    return directory / "with", directory / "bare", directory / "dns"


def size(arguments):
    """Measures flash and RAM of the client and of the whole test firmware, and compares them with the limits."""
    need("size", "binutils")
    with tempfile.TemporaryDirectory() as directory:
        with_client, bare, with_dns = sized_firmware(Path(directory))
        with_flash, with_ram = binary.flash_and_ram(with_client)
        bare_flash, bare_ram = binary.flash_and_ram(bare)
        dns_flash, dns_ram = binary.flash_and_ram(with_dns)
        whole = build_for_qemu("firmware", "polling", features="client")
        whole_flash, whole_ram = binary.flash_and_ram(whole / "firmware")
        polling_flash, polling_ram = binary.flash_and_ram(whole / "polling")
        client_flash, client_ram = with_flash - bare_flash, with_ram - bare_ram - LENT
        table = "\n".join((
            f"| thumbv6m, opt-level s, fat LTO, {compiler(CORTEX_M0).split(' (')[0]} | flash | RAM |",
            "|---|---|---|",
            f"| the client alone, WebSocket only | {client_flash} | {client_ram} |",
            f"| the buffers lent to it | | {LENT} |",
            f"| firmware with it: embassy-net (TCP, DHCP), network card | {with_flash} | {with_ram} |",
            f"| the same with the feature `dns` | {dns_flash} | {dns_ram} |",
            f"| the firmware of `firmware.py qemu`: the scenarios of a WebSocket | {whole_flash} | {whole_ram} |",
            f"| its other firmware: polling, and both kinds of upgrade | {polling_flash} | {polling_ram} |",
        ))
        print(table)
        if arguments.write:
            binary.need_llvm()
            write_into_readme("size", table)
            write_into_readme("where", binary.crates_table(with_client, bare))
            (CI / "symbols.txt").write_text(binary.symbols_table(with_client, bare) + "\n")
    limits = (
        ("flash of the client", client_flash, CLIENT_FLASH_MAX),
        ("RAM of the client", client_ram, CLIENT_RAM_MAX),
        ("flash of the whole firmware", whole_flash, FLASH_MAX),
        ("RAM of the whole firmware", whole_ram, RAM_MAX),
        ("flash of the firmware `polling`", polling_flash, POLLING_FLASH_MAX),
        ("RAM of the firmware `polling`", polling_ram, POLLING_RAM_MAX),
        ("flash without DNS", with_flash, dns_flash - DNS_FLASH_MIN),
    )
    exceeded = [f"{name}: {bytes_} bytes, more than {limit}" for name, bytes_, limit in limits if bytes_ > limit]
    if exceeded:
        raise Failure("\n".join(exceeded))


def write_into_readme(mark, text):
    """Replaces the text between `<!-- mark -->` and `<!-- /mark -->` of the crate's README."""
    readme = CI.parent / "README.md"
    between = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.S)
    readme.write_text(between.sub(lambda found: f"{found[1]}{text}\n{found[2]}", readme.read_text()))


def where(_):
    """Prints the flash of the client by crate."""
    print_table(binary.crates_table)


def symbols(_):
    """Prints the flash of the client by symbol."""
    print_table(binary.symbols_table)


def print_table(table):
    need("size", "binutils")
    binary.need_llvm()
    with tempfile.TemporaryDirectory() as directory:
        print(table(*sized_firmware(Path(directory))[:2]))


def panics(_):
    """Searches the machine code of the client for calls that panic. Each must be in panics.txt, with a proof."""
    binary.need_llvm()
    artifacts = build_for_qemu("size", "polling")
    listed, site = {}, None
    for line in (CI / "panics.txt").read_text().splitlines():
        if line.startswith("  "):
            listed[site] += line.strip()
        elif line and not line.startswith("#"):
            site = line
            listed[site] = ""
    found = {}
    for name in ("size", "polling"):
        for site, stacks in binary.panics(artifacts / name).items():
            found.setdefault(site, []).extend(stacks)
    unproved = [site for site in sorted(found) if not listed.get(site)]
    for site in unproved:
        print(f"not in the list, or without a proof: {site}")
        for stack in found[site]:
            print("      " + "\n        ".join(stack))
    for site in sorted(set(listed) - set(found)):
        print(f"in the list, but not in this firmware: {site}")
    print(f"{len(found)} places from which the client could panic, {len(listed)} listed")
    if unproved:
        raise Failure(f"{len(unproved)} places are not in panics.txt")


# Emulators


def peer(arguments):
    """Runs an echo server until it is interrupted, to try firmware by hand."""
    server = serve(arguments.server, arguments.port, 25_000, 20_000, 100_000)
    print(f"{arguments.server} echoes on 127.0.0.1:{arguments.port}", flush=True)
    server.wait()


def qemu(arguments):
    """Boots firmware on an emulated Cortex-M, which talks to our echo server, to engine.io from npm and to python-engineio
    on ASGI and aiohttp."""
    emulator.run(arguments.scenario, arguments.soak)


def rp2040(_):
    """Boots the firmware `w5500` on an emulated RP2040 with an emulated W5500, which engine.io from npm tests.

    Only the address of the server differs from firmware for a board.
    """
    need("qemu-system-arm")
    port, hub, board = free_port(), free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    server_address = {**SETTINGS, "EIO_SERVER": f"192.0.2.2:{port}"}
    artifacts = build(EXAMPLES / "rp2040", CORTEX_M0, "--locked", "--bin", "w5500", environment=server_address)
    server = sensor_server(port, 180)
    # A QEMU without a machine connects its network, whose gateway 192.0.2.2 is 127.0.0.1 of this host, with Ethernet
    # frames in UDP datagrams.
    Process([
        "qemu-system-arm", "-M", "none", "-nographic", "-monitor", "none", "-serial", "none",
        "-netdev", "user,id=network,net=192.0.2.0/24,host=192.0.2.2",
        "-netdev", "hubport,id=h0,hubid=0,netdev=network",
        "-netdev", f"socket,id=wire,udp=127.0.0.1:{board},localaddr=127.0.0.1:{hub}",
        "-netdev", "hubport,id=h1,hubid=0,netdev=wire",
    ], "hub", stdin=subprocess.DEVNULL)
    command = ["node", CI / "rp2040/board.mjs", artifacts / "w5500", hub, board]
    emulator = Process(command, "board", cwd=modules("rp2040"))
    try:
        server.check("rp2040: readings and commands over an emulated W5500, over a loss of the connection")
    finally:
        for line in emulator.text().splitlines():
            print(f"     board: {line}")


# Examples on Linux


def examples(_):
    """Runs the examples for Linux: the terminal against each server, the sensor and the outbox against engine.io from npm."""
    # A directory of their own, because the workspace builds the same crates with other features.
    built = TARGET / "embedded-host"
    environment = {**os.environ, "CARGO_TARGET_DIR": str(built)}
    for example in ("host", "sensor", "outbox"):
        subprocess.run(["cargo", "build", "-q", "--locked"], cwd=EXAMPLES / example, env=environment, check=True)
    command = ["cargo", "test", "-q", "--locked", "--lib"]
    for example in ("sensor", "outbox"):
        subprocess.run(command, cwd=EXAMPLES / example, env=environment, check=True)
    # The supervisor of a radio on a virtual clock, and the settings of boards.
    command = ["cargo", "test", "-q", "--locked", "--no-default-features", "--features", "sntp,wifi"]
    subprocess.run(command, cwd=EXAMPLES / "sensor", env={**environment, **SETTINGS}, check=True)
    terminal(built / "debug/eio-embassy-host")
    port = free_port()
    server = sensor_server(port, 60)
    Process([built / "debug/sensor", f"127.0.0.1:{port}"], "sensor")
    server.check("sensor: readings and commands, over a loss of the connection")
    port = free_port()
    server = sensor_server(port, 60, "outbox")
    Process([built / "debug/outbox", f"127.0.0.1:{port}"], "outbox")
    server.check("outbox: each message once and in order, over losses of the connection and of acknowledgements")


def terminal(program):
    # Three lines, one of them twice as long as a segment.
    lines = f"hello\nw\u00f6rld\n{7:03000}"
    for kind in SERVERS:
        for transport in ("websocket", "polling", "upgrade"):
            port = free_port()
            # Short enough that a ping arrives while the terminal waits for its last messages.
            server = serve(kind, port, 300, 20_000, 100_000)
            flags = [] if transport == "websocket" else [f"--{transport}"]
            process = Process([program, *flags, f"127.0.0.1:{port}"], "host", 60, stdin=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
            process.child.stdin.write(f"{lines}\n".encode())
            process.child.stdin.flush()
            # The input ends after the last echo, which takes some time on a busy machine.
            deadline = time.monotonic() + 30
            while process.text().count("\n") < 3 and time.monotonic() < deadline:
                time.sleep(0.1)
            process.child.stdin.close()
            if process.wait() or process.text().rstrip("\n") != lines:
                raise Failure(f"host: {kind}, {transport}: it printed: {process.text()}")
            passed(f"host: lines there and back, {kind}, {transport}")
            server.stop()


# TLS


def tls(_):
    """Runs the client over TLS, on Linux and on an emulated Cortex-M: with three servers, and certificates of every kind."""
    environment = {**os.environ, "CARGO_TARGET_DIR": str(TARGET / "embedded-host")}
    subprocess.run(["cargo", "build", "-q", "--locked"], cwd=EXAMPLES / "tls", env=environment, check=True)
    tls_checks.linux(TARGET / "embedded-host/debug/tls")
    need("qemu-system-arm")
    need("size", "binutils")
    firmware = build_for_qemu("tls", features="client,messages,tls") / "tls"
    tls_checks.check_size(*binary.flash_and_ram(firmware))

    def boot(port, scenario, number, authority):
        return emulator.Qemu.start(firmware, (port, scenario, number, authority))

    tls_checks.qemu(boot)


def build_by_hand(arguments):
    """Builds in a directory for a target, and prints the directory of the artifacts."""
    print(build(arguments.directory, arguments.target, *arguments.cargo))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, function):
        added = commands.add_parser(name, help=function.__doc__.split("\n")[0], description=function.__doc__)
        added.set_defaults(function=function)
        return added

    added = command("build", build_by_hand)
    added.add_argument("directory", type=Path)
    added.add_argument("target")
    added.add_argument("cargo", nargs=argparse.REMAINDER, help="arguments of cargo build")
    command("no-std", no_std)
    command("compile", compile_boards)
    command("size", size).add_argument("--write", action="store_true", help="write the tables into README.md and symbols.txt")
    command("where", where)
    command("symbols", symbols)
    command("panics", panics)
    added = command("peer", peer)
    added.add_argument("server", choices=SERVERS)
    added.add_argument("port", type=int)
    added = command("qemu", qemu)
    added.add_argument("scenario", nargs="?", default=".", help="a regular expression, for example 'ours echo'")
    added.add_argument("--soak", type=int, metavar="SECONDS", help="run the long scenarios, too, for so many seconds")
    command("rp2040", rp2040)
    command("examples", examples)
    command("tls", tls)
    arguments = parser.parse_args()
    try:
        arguments.function(arguments)
    except Failure as failure:
        print(f"FAIL {failure}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"FAIL {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
