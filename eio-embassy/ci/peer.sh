# Sourced: the servers that firmware talks to. Whoever sources it has `set -euo pipefail`.

ci=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$ci/../.." && pwd)
work=${WORK:-$root/target/embedded}
mkdir -p "$work"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT

# need <program> <Debian package>...
need() {
  command -v "$1" >/dev/null && return
  shift
  local root=()
  [[ $(id -u) == 0 ]] || root=(sudo)
  {
    "${root[@]}" apt-get update -q
    DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -q -y --no-install-recommends "$@"
  } >&2
}

need node nodejs npm
need npm npm

# What npm installs, once for each content of the lock file.
modules() {
  local at=$work/$1-$(cat "$ci/$1/package-lock.json" | sha256sum | cut -c -16)
  if [[ ! -e $at/done ]]; then
    mkdir -p "$at"
    cp "$ci/$1"/package*.json "$at/"
    (cd "$at" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >&2
    touch "$at/done"
  fi
  echo "$at"
}

free_port() {
  node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'
}

free_udp_port() {
  node -e 'const s = require("dgram").createSocket("udp4"); s.bind(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'
}

# listening <port> [seconds]
listening() {
  for ((i = 0; i < ${2:-30} * 10; i++)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
    sleep 0.1
  done
  echo "nobody listens on port $1" >&2
  return 1
}

# serve ours|npm <port> <ping interval> <ping timeout> <largest message>: sets $server, the process.
serve() {
  case $1 in
    ours)
      "$echo" --listen "127.0.0.1:$2" --ping-interval-ms "$3" --ping-timeout-ms "$4" --max-payload "$5" \
        --workers 1 >/dev/null 2>&1 &
      ;;
    npm)
      (cd "$npm" && exec node "$ci/peer/echo.mjs" "$2" "$3" "$4" "$5") >/dev/null 2>&1 &
      ;;
  esac
  server=$!
  pids+=("$server")
  listening "$2"
}

# The echo server of eio-monoio.
build_echo() {
  (cd "$root" && cargo build -q --locked -p eio-monoio --example echo) >&2
  echo=${CARGO_TARGET_DIR:-$root/target}/debug/examples/echo
  npm=$(modules peer)
}

# judge <port> <seconds>: starts the server that examines a sensor. Sets $judge, the process.
judge() {
  (cd "$npm" && exec timeout "$2" node "$ci/peer/sensor.mjs" "$1") >"$work/judge" 2>&1 &
  judge=$!
  pids+=("$judge")
  listening "$1"
}

# verdict <name>: waits for what it says.
verdict() {
  local status=0
  wait "$judge" || status=$?
  sed 's/^/     /' "$work/judge"
  [[ $status == 0 ]] && { echo "ok   $1"; return; }
  echo "FAIL $1: exit status $status" >&2
  exit 1
}
