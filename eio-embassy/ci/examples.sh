#!/bin/bash
# Builds the examples that run on Linux and lets them talk: the terminal to the echo example of eio-monoio, the
# sensor to engine.io from npm. Installs what is missing.
set -euo pipefail
source "$(dirname "$0")/peer.sh"
examples=$root/eio-embassy/examples
# Their own directory: the workspace's has other features of the same crates in it.
built=${CARGO_TARGET_DIR:-$root/target}/embedded-host

for example in host sensor; do
  (cd "$examples/$example" && CARGO_TARGET_DIR=$built cargo build -q --locked)
done
(cd "$examples/sensor" && CARGO_TARGET_DIR=$built cargo test -q --locked --lib)
build_echo

port=$(free_port)
serve ours "$port" 25000 20000 100000
said=$(printf 'hello\nw\xc3\xb6rld\n' | timeout 60 "$built/debug/eio-embassy-host" "127.0.0.1:$port")
[[ $said == $'hello\nw\xc3\xb6rld' ]] || { echo "FAIL host: it said: $said" >&2; exit 1; }
echo "ok   host: lines there and back"

port=$(free_port)
judge "$port" 60
"$built/debug/sensor" "127.0.0.1:$port" >"$work/sensor" 2>&1 &
pids+=($!)
verdict "sensor: readings and commands, over a loss of the connection"
