#!/bin/bash
# usage: size.sh [--write]
#
# What the client costs on thumbv6m, in bytes: the firmware `size` with it less the same without it; and the
# whole of the firmware of qemu.sh. Prints a table and fails where a limit is exceeded. `--write` puts the table
# into the README, and another that says what the flash is made of, crate by crate; symbol by symbol that goes into
# symbols.txt. It takes llvm.
set -euo pipefail
ci=$(cd "$(dirname "$0")" && pwd)
qemu=$ci/../examples/qemu
# The buffers `size` lends to the client, and the limits. 16 KB of flash would be the aim: see README.md.
lent=2048
client_flash_max=${CLIENT_FLASH_MAX:-25600} client_ram_max=2048 flash_max=98304 ram_max=20480
command -v size >/dev/null || { apt-get update -q && apt-get install -q -y --no-install-recommends binutils; } >&2
kept=$(mktemp -d)
trap 'rm -rf "$kept"' EXIT

# figures <name> <binary> <features>: flash and static RAM. What panics say is left out, as in firmware whose
# users see no console: texts and formatting are not the client's.
figures() {
  local at
  at=$("$ci/build.sh" "$qemu" thumbv6m-none-eabi --locked --bin "$2" --no-default-features --features "$3")
  cp "$at/$2" "$kept/$1"
  size -A "$kept/$1" | awk '
    $1 == ".vector_table" || $1 == ".text" || $1 == ".rodata" || $1 == ".data" { flash += $2 }
    $1 == ".data" || $1 == ".bss" || $1 == ".uninit" { ram += $2 }
    END { print flash, ram }'
}

read -r with_flash with_ram < <(figures with size client)
read -r bare_flash bare_ram < <(figures bare size "")
read -r whole_flash whole_ram < <(figures whole firmware client)
client_flash=$((with_flash - bare_flash)) client_ram=$((with_ram - bare_ram - lent))

table="| thumbv6m, opt-level s, fat LTO | flash | RAM |
|---|---|---|
| the client alone, WebSocket only | $client_flash | $client_ram |
| the buffers lent to it | | $lent |
| firmware with it: embassy-net (TCP, DHCP, DNS), network card | $with_flash | $with_ram |
| the firmware of \`ci/qemu.sh\`: all that and seven scenarios | $whole_flash | $whole_ram |"
echo "$table"

# write <mark> <text>: between <!-- mark --> and <!-- /mark --> of the README.
write() {
  awk -v mark="$1" -v text="$2" '
    $0 == "<!-- " mark " -->" { print; print text; skip = 1 }
    $0 == "<!-- /" mark " -->" { skip = 0 }
    !skip && $0 != "<!-- " mark " -->" { print }' "$ci/../README.md" >"$kept/README.md"
  cp "$kept/README.md" "$ci/../README.md"
}

if [[ ${1:-} == --write ]]; then
  command -v llvm-symbolizer >/dev/null || { apt-get update -q && apt-get install -q -y --no-install-recommends llvm; } >&2
  write size "$table"
  write where "$(python3 "$ci/where.py" "$kept/with" "$kept/bare")"
  python3 "$ci/symbols.py" "$kept/with" "$kept/bare" >"$kept/symbols"
  cp "$kept/symbols" "$ci/symbols.txt"
fi

failed=0
limit() {
  if (($2 > $3)); then
    echo "$1: $2 bytes, more than $3" >&2
    failed=1
  fi
}
limit "flash of the client" "$client_flash" "$client_flash_max"
limit "RAM of the client" "$client_ram" "$client_ram_max"
limit "flash of the whole firmware" "$whole_flash" "$flash_max"
limit "RAM of the whole firmware" "$whole_ram" "$ram_max"
exit "$failed"
