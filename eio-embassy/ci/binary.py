"""Analysis of linked firmware: sizes of sections, code by crate, symbols, and calls of functions that panic."""

import collections
import functools
import re
import shutil

from helpers import install, output

ESCAPES = {
    "$LT$": "<", "$GT$": ">", "$RF$": "&", "$BP$": "*", "$C$": ",", "$u20$": " ", "$u27$": "'", "$u5b$": "[",
    "$u5d$": "]", "$u7b$": "{", "$u7d$": "}", "$u7e$": "~", "$LP$": "(", "$RP$": ")", "..": "::",
}
FLASH = (".vector_table", ".text", ".rodata", ".data")
RAM = (".data", ".bss", ".uninit")
CRATE = re.compile(r"/(eio-core|eio-embassy)/src/|/([a-z][\w-]*?)-\d[\w.+-]*/src/")
PURPOSE = {
    "eio-core": "the protocol: WebSocket frames and handshake, HTTP heads, packets, the session",
    "eio-embassy": "the client: buffers, futures",
    "sha1_smol": "SHA-1, for `Sec-WebSocket-Accept`",
    "serde-json-core": "the JSON of the open packet",
    "httparse": "the head of the response",
    "base64-simd": "base64, for the handshake",
}
# Crates below this many bytes share a row.
SMALL = 250
LARGEST_SYMBOLS = 40


def need_llvm():
    if not all(shutil.which(program) for program in ("llvm-symbolizer", "llvm-objdump", "llvm-nm")):
        install("llvm")


@functools.cache
def unescape(name):
    name = re.sub(r"::h[0-9a-f]{16}$", "", name)
    for escape, text in ESCAPES.items():
        name = name.replace(escape, text)
    return re.sub(r"(^|::)_<", r"\1<", name)


def sections(firmware):
    lines = (line.split() for line in output("size", "-A", firmware).splitlines())
    return {line[0]: int(line[1]) for line in lines if line and line[0].startswith(".")}


def flash_and_ram(firmware):
    found = sections(firmware)
    return tuple(sum(found.get(name, 0) for name in kind) for kind in (FLASH, RAM))


def inlined(firmware, addresses):
    """For each address, the functions it was inlined from, innermost first, as pairs of name and file."""
    hexadecimal = "\n".join(map(hex, addresses))
    text = output("llvm-symbolizer", f"--obj={firmware}", "--inlines", input=hexadecimal)
    stacks = []
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")
        stacks.append([(unescape(name), file) for name, file in zip(lines[::2], lines[1::2])])
    return stacks


# Code by crate


def code_by_crate(firmware):
    """Bytes by crate. An instruction belongs to the crate of the line it was inlined from; an instruction of the library
    to the crate that called it."""
    code = output("llvm-objdump", "-d", "--no-show-raw-insn", firmware)
    starts = [int(at, 16) for at in re.findall(r"^\s*([0-9a-f]+):\s", code, re.M)]
    sizes = collections.Counter()
    for at, after, stack in zip(starts, starts[1:] + [starts[-1] + 2], inlined(firmware, starts)):
        found = (CRATE.search(file) for _, file in stack)
        crate = next((found[1] or found[2] for found in found if found), "library")
        # A gap is padding between sections, or a table.
        sizes[crate] += after - at if after - at <= 4 else 2
    found = sections(firmware)
    sizes["tables and jumps"] = found[".text"] - sizes.total()
    sizes["constants"] = found[".rodata"]
    return sizes


def crates_table(with_client, bare):
    """The flash of the client by crate, as a Markdown table."""
    ours, theirs = code_by_crate(with_client), code_by_crate(bare)
    differences = sorted(((ours[crate] - theirs[crate], crate) for crate in ours | theirs), reverse=True)
    rows = ["| flash of the client | bytes | purpose |", "|---|---|---|"]
    rows += [f"| {crate} | {size} | {PURPOSE.get(crate, '')} |" for size, crate in differences if size >= SMALL]
    rest = sum(size for size, _ in differences if size < SMALL)
    return "\n".join([*rows, f"| less than {SMALL} bytes each | {rest} | |"])


# Symbols


def short(name):
    """A symbol without hashes, lifetimes and compiler-generated parts; of a path the last three names."""
    name = unescape(name)
    name = re.sub(r"<impl (?:\w+::)*(\w+) for (?:\w+::)*(\w+)(?:<[^>]*>)?>", r"\2", name)
    name = name.replace("::_{{closure}}", "::{future}").replace("::{{closure}}", "::{future}")
    implemented = re.match(r"<(&mut )?(?:[\w]+::)*(\w+)(?:<[^>]*>)? as (?:\w+::)*(\w+)(?:<[^>]*>)?>::(.*)", name)
    if implemented:
        crate = re.search(r"(\w+)::", name)[1]
        return f"{crate}: <{implemented[2]} as {implemented[3]}>::{implemented[4]}"
    crate, _, rest = name.partition("::")
    rest = rest.replace("::_", "::")
    if not rest:
        return name
    return f"{crate}: {'::'.join(re.sub(r'<[^:]*>', '', rest).split('::')[-3:])}"


def symbols(firmware):
    found = collections.Counter()
    for line in output("llvm-nm", "--demangle", "-S", firmware).splitlines():
        parts = line.split(" ", 3)
        if len(parts) == 4 and parts[2] in "tTrRdD":
            found[short(parts[3])] += int(parts[1], 16)
    return found


def symbols_table(with_client, bare):
    """The flash of the client by symbol, largest first. Texts and tables have no symbol: they are the remainder."""
    ours, theirs = symbols(with_client), symbols(bare)
    total = flash_and_ram(with_client)[0] - flash_and_ram(bare)[0]
    grown = [(ours[name] - theirs[name], name) for name in ours | theirs]
    grown = sorted((entry for entry in grown if entry[0]), key=lambda entry: (-entry[0], entry[1]))
    largest, others = grown[:LARGEST_SYMBOLS], grown[LARGEST_SYMBOLS:]
    rows = ["# Written by firmware.py size --write: the flash of the client on thumbv6m, in bytes by symbol."]
    rows += [f"{size:6}  {name}" for size, name in largest]
    rows.append(f"{sum(size for size, _ in others):6}  {len(others)} others")
    rows.append(f"{total - sum(size for size, _ in grown):6}  constants without a name, and padding")
    return "\n".join([*rows, f"{total:6}  total"])


# Panics

PANICS = re.compile(
    r"^core::(panicking::|option::(unwrap|expect)_failed|result::unwrap_failed|str::slice_error_fail"
    r"|slice::index::slice_\w*_fail|slice::copy_from_slice_impl::len_mismatch_fail)"
)
# The crates that parse bytes of the network.
PARSERS = re.compile(
    r"/(eio-core|eio-embassy)/src/"
    r"|/(base64-simd|heapless|httparse|memchr|nom|serde|serde-json-core|serde_core|sha1_smol|simdutf8|vsimd)-[0-9.]+/"
)
# Only the network stack has a `RefCell`, and only its futures have code in `Drop`.
NETWORK = re.compile(r"^core::(cell|ptr::drop_in_place)")
# Only a caller that violates the contract of `Future` polls the future of the client again.
RESUMED = re.compile(r"panic_const_async_fn_resumed")
OTHER_CALLERS = re.compile(r"^(smoltcp|embassy_net|embassy_executor|eio_embassy_qemu)::")
PROGRAM = re.compile(r"^(polling|size)::")
LIBRARY = re.compile(r"^<?&?(mut )?(core|alloc|compiler_builtins)::|^<?(\[|str>|str as|[a-z0-9]+ as core::)")


def calls(firmware):
    """Pairs of the address of a call and the called function."""
    names = {}
    for line in output("llvm-nm", "--demangle", firmware).splitlines():
        address, kind, name = line.split(" ", 2)
        if kind in "tTwW" and not name.startswith("$"):
            # Thumb functions have odd addresses.
            names[int(address, 16) & ~1] = unescape(name)
    found = []
    for line in output("llvm-objdump", "-d", "--no-show-raw-insn", firmware).splitlines():
        call = re.match(r"\s*([0-9a-f]+):\s+b(?:l|lx|\.w|)\s+(?:#\S+|0x([0-9a-f]+))", line)
        if call and call[2] and int(call[2], 16) in names:
            found.append((int(call[1], 16), names[int(call[2], 16)]))
    return found


def panics(firmware):
    """Calls of panicking functions by the client and its parsers: "caller -> callee" to stacks of inlined functions.

    The compiler may merge calls with equal arguments, under the name of any of them. The network stack, the executor and
    the board are not examined.
    """
    edges = calls(firmware)
    # A function of the library that was not inlined panics for its caller.
    panicking = {target for _, target in edges if PANICS.match(target)}
    while True:
        sites = sorted({(at, target) for at, target in edges if target in panicking})
        addresses = sorted({at for at, _ in sites})
        stacks = dict(zip(addresses, inlined(firmware, addresses)))
        more = {stacks[at][-1][0] for at, _ in sites if LIBRARY.match(stacks[at][-1][0])} - panicking
        more = {name for name in more if not NETWORK.match(name)}
        more = {name for name in more if any(target == name for _, target in edges)}
        if not more:
            break
        panicking |= more
    result = {}
    for at, target in sites:
        stack = stacks[at]
        caller = next((frame for frame in stack if not LIBRARY.match(frame[0])), None)
        if caller is None or not PARSERS.search(caller[1]) or PROGRAM.match(caller[0]) or RESUMED.search(target):
            continue
        # The network stack uses some of the parsers, too.
        other = any(OTHER_CALLERS.match(name) for name, _ in stack)
        if other and not any("/eio-core/src/" in file or "/eio-embassy/src/" in file for _, file in stack):
            continue
        function = re.sub(r"<impl .*? for (\w+)>", r"\1", caller[0])
        result.setdefault(f"{function} -> {target}", []).append(
            [f"{name} {re.sub(r'.*/(?=[^/]+/src/)', '', file)}" for name, file in stack]
        )
    return result
