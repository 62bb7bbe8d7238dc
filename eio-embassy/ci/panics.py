#!/usr/bin/env python3
"""usage: panics.py <list> <firmware> ...

Where could the client in <firmware> panic? Every call of a panicking function of `core` in the linked machine code
is traced to the source lines it was inlined from. Those that come from the client, or from a crate it parses with,
have to be in <list>, each with the reason why it cannot happen. Of calls with the same arguments the compiler may
make one: it goes by the name of any of them.

What the network, the executor and the board do is not looked at.
"""

import re
import subprocess
import sys

PANICS = re.compile(
    r"^core::(panicking::|option::(unwrap|expect)_failed|result::unwrap_failed|str::slice_error_fail"
    r"|slice::index::slice_\w*_fail|slice::copy_from_slice_impl::len_mismatch_fail)"
)
# Who parses what comes from the network.
OURS = re.compile(
    r"/(eio-core|eio-embassy)/src/"
    r"|/(base64-simd|heapless|httparse|memchr|nom|serde|serde-json-core|serde_core|sha1_smol|simdutf8|vsimd)-[0-9.]+/"
)
# Only the network stack has a `RefCell`, and only its futures do anything when they are dropped.
STACK = re.compile(r"^core::(cell|ptr::drop_in_place)")
# The client's future is polled again only by a caller that breaks the contract of `Future`.
RESUMED = re.compile(r"panic_const_async_fn_resumed")
# Whose these frames are.
SOMEBODY_ELSE = re.compile(r"^(smoltcp|embassy_net|embassy_executor|eio_embassy_qemu)::")
PROGRAM = re.compile(r"^(polling|size)::")
LIBRARY = re.compile(r"^<?&?(mut )?(core|alloc|compiler_builtins)::|^<?(\[|str>|str as|[a-z0-9]+ as core::)")
ESCAPES = {
    "$LT$": "<", "$GT$": ">", "$RF$": "&", "$BP$": "*", "$C$": ",", "$u20$": " ", "$u27$": "'", "$u5b$": "[",
    "$u5d$": "]", "$u7b$": "{", "$u7d$": "}", "$u7e$": "~", "$LP$": "(", "$RP$": ")", "..": "::",
}


def plain(name):
    name = re.sub(r"::h[0-9a-f]{16}$", "", name)
    for escape, text in ESCAPES.items():
        name = name.replace(escape, text)
    return re.sub(r"(^|::)_<", r"\1<", name)


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def calls(firmware):
    """Addresses of calls, and where to."""
    names = {}
    for line in output("llvm-nm", "--demangle", firmware).splitlines():
        address, kind, name = line.split(" ", 2)
        if kind in "tTwW" and not name.startswith("$"):
            # Thumb functions have odd addresses.
            names[int(address, 16) & ~1] = plain(name)
    found = []
    for line in output("llvm-objdump", "-d", "--no-show-raw-insn", firmware).splitlines():
        call = re.match(r"\s*([0-9a-f]+):\s+b(?:l|lx|\.w|)\s+(?:#\S+|0x([0-9a-f]+))", line)
        if call and call[2] and int(call[2], 16) in names:
            found.append((int(call[1], 16), names[int(call[2], 16)]))
    return found


def frames(firmware, addresses):
    """For each address the functions it was inlined from, innermost first, each with its file."""
    text = output("llvm-symbolizer", f"--obj={firmware}", "--inlines", *map(hex, addresses))
    stacks = []
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")
        stacks.append([(plain(name), where) for name, where in zip(lines[::2], lines[1::2])])
    return dict(zip(addresses, stacks))


def found(firmware):
    edges = calls(firmware)
    # A function of the library that was not inlined panics for whoever calls it.
    panicking = {target for _, target in edges if PANICS.match(target)}
    while True:
        sites = sorted({(at, target) for at, target in edges if target in panicking})
        stacks = frames(firmware, sorted({at for at, _ in sites}))
        more = {stacks[at][-1][0] for at, _ in sites if LIBRARY.match(stacks[at][-1][0])} - panicking
        more = {name for name in more if not STACK.match(name)}
        more = {name for name in more if any(target == name for _, target in edges)}
        if not more:
            break
        panicking |= more
    result = {}
    for at, target in sites:
        stack = stacks[at]
        whose = next((frame for frame in stack if not LIBRARY.match(frame[0])), None)
        if whose is None or not OURS.search(whose[1]) or PROGRAM.match(whose[0]) or RESUMED.search(target):
            continue
        # A crate that others use, too: what it does for the network stack is not looked at.
        mine = next((frame for frame in stack if SOMEBODY_ELSE.match(frame[0])), None)
        if mine and not any("/eio-core/src/" in where or "/eio-embassy/src/" in where for _, where in stack):
            continue
        function = re.sub(r"<impl .*? for (\w+)>", r"\1", whose[0])
        result.setdefault(f"{function} -> {target}", []).append(
            [f"{name} {re.sub(r'.*/(?=[^/]+/src/)', '', where)}" for name, where in stack]
        )
    return result


def main():
    path, *firmwares = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file if line.strip() and not line.startswith("#")]
    listed, reason = {}, None
    for line in lines:
        if line.startswith("  "):
            listed[reason] += line.strip()
        else:
            reason = line
            listed[reason] = ""
    result = {}
    for firmware in firmwares:
        for site, stacks in found(firmware).items():
            result.setdefault(site, []).extend(stacks)
    failed = False
    for site, stacks in sorted(result.items()):
        if not listed.get(site):
            failed = True
            print(f"not in the list, or without a reason: {site}")
            for stack in stacks:
                print("      " + "\n        ".join(stack))
    for site in sorted(set(listed) - set(result)):
        print(f"in the list, but not in this firmware: {site}")
    print(f"{len(result)} places from which the client could panic, {len(listed)} listed")
    sys.exit(failed)


main()
