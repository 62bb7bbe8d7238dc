#!/usr/bin/env python3
"""usage: symbols.py <firmware with the client> <firmware without>

What the flash of the client is made of, symbol by symbol: the sizes of functions and constants in the one firmware less
those in the other, largest first. What has no symbol (texts, tables) is the difference that is left.
"""

import collections
import re
import subprocess
import sys

LARGEST = 40
ESCAPES = {
    "$LT$": "<", "$GT$": ">", "$RF$": "&", "$BP$": "*", "$C$": ",", "$u20$": " ", "$u27$": "'", "$u5b$": "[",
    "$u5d$": "]", "$u7b$": "{", "$u7d$": "}", "$u7e$": "~", "$LP$": "(", "$RP$": ")", "..": "::",
}


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def short(name):
    """Without hashes, lifetimes and what the compiler writes into names; of a path the last module and what is in it."""
    name = re.sub(r"::h[0-9a-f]{16}$", "", name)
    for escape, text in ESCAPES.items():
        name = name.replace(escape, text)
    name = re.sub(r"<impl (?:\w+::)*(\w+) for (?:\w+::)*(\w+)(?:<[^>]*>)?>", r"\2", name)
    name = re.sub(r"(^|::)_<", r"\1<", name).replace("::_{{closure}}", "::{future}").replace("::{{closure}}", "::{future}")
    implemented = re.match(r"<(&mut )?(?:[\w]+::)*(\w+)(?:<[^>]*>)? as (?:\w+::)*(\w+)(?:<[^>]*>)?>::(.*)", name)
    if implemented:
        crate = re.search(r"(\w+)::", name)[1]
        return f"{crate}: <{implemented[2]} as {implemented[3]}>::{implemented[4]}"
    crate, _, rest = name.partition("::")
    rest = rest.replace("::_", "::")
    if not rest:
        return name
    return f"{crate}: {'::'.join(re.sub(r'<[^:]*>', '', rest).split('::')[-3:])}"


def sizes(firmware):
    found = collections.Counter()
    for line in output("llvm-nm", "--demangle", "-S", firmware).splitlines():
        parts = line.split(" ", 3)
        if len(parts) == 4 and parts[2] in "tTrRdD":
            found[short(parts[3])] += int(parts[1], 16)
    return found


def flash(firmware):
    lines = (line.split() for line in output("size", "-A", firmware).splitlines())
    return sum(int(line[1]) for line in lines if line and line[0] in (".vector_table", ".text", ".rodata", ".data"))


def main():
    with_client, without = (sizes(firmware) for firmware in sys.argv[1:])
    total = flash(sys.argv[1]) - flash(sys.argv[2])
    grown = [(with_client[name] - without[name], name) for name in with_client | without]
    grown = sorted((entry for entry in grown if entry[0]), key=lambda entry: (-entry[0], entry[1]))
    largest, others = grown[:LARGEST], grown[LARGEST:]
    print("# Written by ci/size.sh --write: the flash of the client alone on thumbv6m, in bytes, symbol by symbol.")
    for size, name in largest:
        print(f"{size:6}  {name}")
    rest = sum(size for size, _ in others)
    print(f"{rest:6}  {len(others)} others")
    print(f"{total - sum(size for size, _ in grown):6}  constants without a name, and padding")
    print(f"{total:6}  in all")


main()
