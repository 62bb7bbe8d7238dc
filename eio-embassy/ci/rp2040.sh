#!/bin/bash
# Boots the firmware `w5500` of examples/rp2040, unmodified but for the address of the server, on an emulated
# RP2040 with an emulated W5500, and lets engine.io from npm examine it. Installs what is missing.
set -euo pipefail
source "$(dirname "$0")/peer.sh"
need qemu-system-arm qemu-system-arm
npm=$(modules peer)
emulator=$(modules rp2040)

port=$(free_port) hub=$(free_udp_port) board=$(free_udp_port)
firmware=$(EIO_SERVER=192.0.2.2:$port "$ci/build.sh" "$root/eio-embassy/examples/rp2040" thumbv6m-none-eabi --locked --bin w5500)/w5500

judge "$port" 180
# A QEMU without a machine: on one side its network, whose gateway 192.0.2.2 is 127.0.0.1 of this host, on the
# other Ethernet frames in UDP datagrams.
qemu-system-arm -M none -nographic -monitor none -serial none \
  -netdev user,id=network,net=192.0.2.0/24,host=192.0.2.2 -netdev hubport,id=h0,hubid=0,netdev=network \
  -netdev "socket,id=wire,udp=127.0.0.1:$board,localaddr=127.0.0.1:$hub" -netdev hubport,id=h1,hubid=0,netdev=wire \
  >"$work/hub" 2>&1 &
pids+=($!)
(cd "$emulator" && exec node "$ci/rp2040/board.mjs" "$firmware" "$hub" "$board") >"$work/board" 2>&1 &
pids+=($!)
trap 'sed "s/^/     board: /" "$work/board"; kill "${pids[@]}" 2>/dev/null || true' EXIT
verdict "rp2040: readings and commands over an emulated W5500, over a loss of the connection"
