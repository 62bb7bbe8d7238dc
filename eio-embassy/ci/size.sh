#!/bin/bash
# What the client costs on thumbv6m, in bytes: the firmware `size` with it less the same without it; and the
# whole of both firmwares. Prints a table and fails where a limit is exceeded; `size.sh --write` puts the table
# into the README.
set -euo pipefail
ci=$(cd "$(dirname "$0")" && pwd)
qemu=$ci/../examples/qemu
# The buffers `size` lends to the client, and the limits.
lent=2048
client_flash_max=${CLIENT_FLASH_MAX:-16384} client_ram_max=2048 flash_max=98304 ram_max=20480
command -v size >/dev/null || { apt-get update -q && apt-get install -q -y --no-install-recommends binutils; } >&2

# figures <binary> [options]: flash and static RAM
figures() {
  local bin=$1
  shift
  local at
  at=$("$ci/build.sh" "$qemu" thumbv6m-none-eabi --locked --bin "$bin" "$@")
  size -A "$at/$bin" | awk '
    $1 == ".vector_table" || $1 == ".text" || $1 == ".rodata" || $1 == ".data" { flash += $2 }
    $1 == ".data" || $1 == ".bss" || $1 == ".uninit" { ram += $2 }
    END { print flash, ram }'
}

read -r with_flash with_ram < <(figures size)
read -r bare_flash bare_ram < <(figures size --no-default-features)
read -r whole_flash whole_ram < <(figures firmware)
client_flash=$((with_flash - bare_flash)) client_ram=$((with_ram - bare_ram - lent))

table="| thumbv6m, opt-level s, fat LTO | flash | RAM |
|---|---|---|
| the client alone, WebSocket only | $client_flash | $client_ram |
| the buffers lent to it | | $lent |
| firmware with it: embassy-net (TCP, DHCP, DNS), network card | $with_flash | $with_ram |
| the firmware of \`ci/qemu.sh\`: all that and eight scenarios | $whole_flash | $whole_ram |"
echo "$table"

if [[ ${1:-} == --write ]]; then
  awk -v table="$table" '
    /^<!-- size -->$/ { print; print table; skip = 1 }
    /^<!-- \/size -->$/ { skip = 0 }
    !skip || /^<!-- \/size -->$/ { if (!/^<!-- size -->$/) print }' "$ci/../README.md" >"$ci/../README.new"
  mv "$ci/../README.new" "$ci/../README.md"
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
