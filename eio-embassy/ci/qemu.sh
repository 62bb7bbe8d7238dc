#!/bin/bash
# usage: qemu.sh [scenario pattern]
#
# Boots the firmware of examples/qemu on QEMU's lm3s6965evb and lets it talk to two servers on 127.0.0.1: the
# echo example of eio-monoio, and the reference server engine.io from npm. Installs what is missing.
# `SOAK=<seconds> qemu.sh soak` runs the long one, with a restart of the server every 85 s.
set -euo pipefail
source "$(dirname "$0")/peer.sh"
only=${1:-.}
need qemu-system-arm qemu-system-arm

target=thumbv6m-none-eabi
built=$("$ci/build.sh" "$root/eio-embassy/examples/qemu" "$target" --locked --bin firmware --bin polling)
firmware=$built/firmware
build_echo

# boot <port> <scenario> <number> <seconds>: the gateway 192.0.2.2 of the guest is 127.0.0.1 of this host.
boot() {
  timeout "$4" qemu-system-arm -M lm3s6965evb -nographic -monitor none -serial none \
    -semihosting-config "enable=on,target=native,arg=firmware,arg=$1,arg=$2,arg=$3" \
    -nic user,model=stellaris,net=192.0.2.0/24,host=192.0.2.2 -kernel "$firmware" 2>/dev/null
}

# said <file> <text> [seconds]
said() {
  for ((i = 0; i < ${3:-20} * 20; i++)); do
    grep -q "$2" "$1" && return
    sleep 0.05
  done
  echo "never said: $2" >&2
  cat "$1" >&2
  return 1
}

# check <name> <process of the firmware> <its output>
check() {
  local status=0
  wait "$2" || status=$?
  sed 's/^/     /' "$3"
  [[ $status == 0 ]] && { echo "ok   $1"; return; }
  echo "FAIL $1: exit status $status"
  exit 1
}

stop() {
  kill -9 "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
}

# run <name> <port> <scenario> <number> [seconds]: while a server runs.
run() {
  boot "$2" "$3" "$4" "${5:-60}" >"$work/out" &
  check "$1" $! "$work/out"
}

wanted() { [[ "$1" =~ $only ]]; }

for kind in ours npm; do
  if wanted "$kind echo"; then
    port=$(free_port)
    serve "$kind" "$port" 500 20000 100000
    run "$kind echo: 1000 messages of either kind there and back" "$port" echo 1000
    stop
  fi

  for transport in polling upgrade any; do
    if wanted "$kind $transport"; then
      port=$(free_port)
      serve "$kind" "$port" 500 20000 100000
      firmware=$built/polling run "$kind $transport: 1000 messages there and back" "$port" "$transport" 1000
      stop
    fi
  done

  if wanted "$kind toobig"; then
    port=$(free_port)
    serve "$kind" "$port" 25000 20000 2000
    run "$kind toobig: beyond the limit of either end" "$port" toobig 2000
    stop
  fi

  if wanted "$kind refused"; then
    port=$(free_port)
    serve "$kind" "$port" 25000 20000 100000
    run "$kind refused: says the status" "$port" refused 400
    stop
  fi

  # Killed: its host says so at once. Stopped: it is as silent as a host without power.
  for signal in KILL STOP; do
    if wanted "$kind gone $signal"; then
      port=$(free_port)
      serve "$kind" "$port" 1500 1000 100000
      # The announced figures, and as much again for a busy machine.
      boot "$port" gone 5000 30 >"$work/out" &
      guest=$!
      said "$work/out" open
      sleep 1
      kill "-$signal" "$server"
      check "$kind gone $signal: noticed within pingInterval + pingTimeout" "$guest" "$work/out"
      stop
    fi
  done

  if wanted "$kind restart"; then
    port=$(free_port)
    boot "$port" restart 4 60 >"$work/out" &
    guest=$!
    for round in 1 2 3 4; do
      sleep 0.5
      serve "$kind" "$port" 500 20000 100000
      said "$work/out" "connection $round"
      stop
    done
    check "$kind restart: connects again, each time" "$guest" "$work/out"
  fi

  if wanted "$kind soak" && [[ -n ${SOAK:-} ]]; then
    port=$(free_port)
    serve "$kind" "$port" 5000 3000 100000
    boot "$port" soak "$SOAK" $((SOAK + 60)) >"$work/soak" &
    guest=$!
    restarts=0
    began=$SECONDS
    while ((SECONDS - began + 85 < SOAK)); do
      sleep 85
      stop
      sleep 1
      serve "$kind" "$port" 5000 3000 100000
      ((++restarts))
    done
    check "$kind soak: $SOAK s with $restarts restarts" "$guest" "$work/soak"
    stop
  fi
done

if wanted no-server; then
  run "no-server: the connection is refused" "$(free_port)" no-server 0
fi
