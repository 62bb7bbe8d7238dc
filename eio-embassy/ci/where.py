#!/usr/bin/env python3
"""usage: where.py <firmware with the client> <firmware without>

What the flash of the client is made of: each instruction of either firmware belongs to the crate of the line it was
inlined from, that of the library to whoever called it. A table of the differences, in bytes.
"""

import collections
import re
import subprocess
import sys

CRATE = re.compile(r"/(eio-core|eio-embassy)/src/|/([a-z][\w-]*?)-\d[\w.+-]*/src/")
WHAT = {
    "eio-core": "the protocol: WebSocket frames and handshake, HTTP heads, packets, the session",
    "eio-embassy": "the client: buffers, futures",
    "sha1_smol": "SHA-1, for `Sec-WebSocket-Accept`",
    "serde-json-core": "the JSON of the open packet",
    "httparse": "the head of the response",
    "base64-simd": "base64, for the handshake",
}


def output(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout


def sizes(firmware):
    """Bytes of code by crate; constants."""
    code = output("llvm-objdump", "-d", "--no-show-raw-insn", firmware)
    starts = [int(at, 16) for at in re.findall(r"^\s*([0-9a-f]+):\s", code, re.M)]
    stacks = output("llvm-symbolizer", f"--obj={firmware}", "--inlines", input="\n".join(map(hex, starts)))
    by_crate = collections.Counter()
    for at, after, stack in zip(starts, starts[1:] + [starts[-1] + 2], stacks.strip().split("\n\n")):
        found = (CRATE.search(where) for where in stack.split("\n")[1::2])
        crate = next((found[1] or found[2] for found in found if found), "library")
        # A gap is padding between sections, or a table.
        by_crate[crate] += after - at if after - at <= 4 else 2
    sections = {line.split()[0]: int(line.split()[1]) for line in output("size", "-A", firmware).splitlines() if line.startswith(".")}
    by_crate["tables and jumps"] = sections[".text"] - by_crate.total()
    by_crate["constants"] = sections[".rodata"]
    return by_crate


def main():
    with_client, without = (sizes(firmware) for firmware in sys.argv[1:])
    differences = sorted(((with_client[crate] - without[crate], crate) for crate in with_client | without), reverse=True)
    print("| of the client's flash | bytes | for |\n|---|---|---|")
    rest = 0
    for bytes_, crate in differences:
        if bytes_ >= 250:
            print(f"| {crate} | {bytes_} | {WHAT.get(crate, '')} |")
        else:
            rest += bytes_
    print(f"| less than 250 bytes each | {rest} | |")


main()
