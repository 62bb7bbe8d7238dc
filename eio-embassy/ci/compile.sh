#!/bin/bash
# Builds the firmware of every board that cannot be run here, or not as a whole: RP2040 with a W5500, Pico W,
# ESP32-C3. Installs what is missing, see build.sh.
set -euo pipefail
ci=$(cd "$(dirname "$0")" && pwd)
examples=$ci/../examples

# figures <firmware>: what it takes of flash and RAM, by the headers of its segments
figures() {
  size -B "$1" | awk -v name="$2" 'NR == 2 { printf "ok   %s: %d bytes of code and data, %d of RAM\n", name, $1 + $2, $2 + $3 }'
}

at=$("$ci/build.sh" "$examples/rp2040" thumbv6m-none-eabi --locked --features w5500,picow --bins)
figures "$at/w5500" "RP2040 with a W5500"
figures "$at/picow" "Pico W, radio firmware included"
at=$("$ci/build.sh" "$examples/esp32c3" riscv32imc-unknown-none-elf --locked --bins)
figures "$at/eio-embassy-esp32c3" "ESP32-C3 with Wi-Fi"
