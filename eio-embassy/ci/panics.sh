#!/bin/bash
# Looks through the machine code of the client, over a WebSocket and over polling, for ways to panic: each is to be
# in panics.txt, with the reason why it is never taken. Installs what is missing.
set -euo pipefail
ci=$(cd "$(dirname "$0")" && pwd)
command -v llvm-symbolizer llvm-objdump llvm-nm >/dev/null || { apt-get update -q && apt-get install -q -y --no-install-recommends llvm; } >&2

at=$("$ci/build.sh" "$ci/../examples/qemu" thumbv6m-none-eabi --locked --bin size --bin polling)
python3 "$ci/panics.py" "$ci/panics.txt" "$at/size" "$at/polling"
