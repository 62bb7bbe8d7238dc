#!/bin/bash
# Builds the firmware of every board that cannot be run here, or not as a whole: RP2040 with a W5500, Pico W,
# ESP32-C3. Installs what is missing, see build.sh.
set -euo pipefail
ci=$(cd "$(dirname "$0")" && pwd)
examples=$ci/../examples

"$ci/build.sh" "$examples/rp2040" thumbv6m-none-eabi --locked --features w5500,picow --bins >/dev/null
echo "ok   RP2040 with a W5500; Pico W"
"$ci/build.sh" "$examples/esp32c3" riscv32imc-unknown-none-elf --locked --bins >/dev/null
echo "ok   ESP32-C3 with Wi-Fi"
