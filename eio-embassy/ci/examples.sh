#!/bin/bash
# Builds the examples that run on Linux and lets them talk: the terminal to the echo example of eio-monoio, the
# sensor to engine.io from npm, and the one with TLS to the same over TLS, with certificates right and wrong.
# Installs what is missing.
set -euo pipefail
source "$(dirname "$0")/peer.sh"
examples=$root/eio-embassy/examples
# Their own directory: the workspace's has other features of the same crates in it.
built=${CARGO_TARGET_DIR:-$root/target}/embedded-host

for example in host sensor tls; do
  (cd "$examples/$example" && CARGO_TARGET_DIR=$built cargo build -q --locked)
done
(cd "$examples/sensor" && CARGO_TARGET_DIR=$built cargo test -q --locked --lib)
build_echo

# Two lines, one of them twice as long as a segment.
lines=$(printf 'hello\nw\xc3\xb6rld\n%03000d' 7)
for kind in ours npm; do
  for transport in websocket polling upgrade; do
    port=$(free_port)
    # Often enough that there is a ping while the terminal waits for its last messages.
    serve "$kind" "$port" 300 20000 100000
    how=()
    [[ $transport == websocket ]] || how=("--$transport")
    : >"$work/host"
    # The input ends when all is back: on a busy machine that takes its time.
    {
      echo "$lines"
      for ((i = 0; i < 300; i++)); do
        (($(wc -l <"$work/host") < 3)) || break
        sleep 0.1
      done
    } | timeout 60 "$built/debug/eio-embassy-host" "${how[@]}" "127.0.0.1:$port" >"$work/host"
    said=$(<"$work/host")
    [[ $said == "$lines" ]] || { echo "FAIL host: $kind, $transport: it said: $said" >&2; exit 1; }
    echo "ok   host: lines there and back, $kind, $transport"
  done
done

port=$(free_port)
judge "$port" 60
"$built/debug/sensor" "127.0.0.1:$port" >"$work/sensor" 2>&1 &
pids+=($!)
verdict "sensor: readings and commands, over a loss of the connection"

# Certificates of an authority, of a server it vouches for, and of an authority that never heard of that server.
need openssl openssl
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256 -days 2 -subj "/CN=$1" \
    -keyout "$work/$1.key" -out "$work/$1.pem"
  openssl x509 -in "$work/$1.pem" -outform der -out "$work/$1.der"
}
{
  authority authority
  authority stranger
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost \
    -keyout "$work/server.key" -out "$work/server.csr"
  openssl x509 -req -in "$work/server.csr" -CA "$work/authority.pem" -CAkey "$work/authority.key" -CAcreateserial \
    -sha256 -days 2 -extfile <(echo subjectAltName=DNS:localhost) -out "$work/server.pem"
} 2>"$work/openssl"

port=$(free_port)
(cd "$npm" && exec node "$ci/peer/echo.mjs" "$port" 25000 20000 100000 "$work/server.key" "$work/server.pem") >/dev/null 2>&1 &
pids+=($!)
listening "$port"
over_tls() { timeout 60 "$built/debug/tls" 127.0.0.1 "$port" "$1" "$work/$2.der" 2>&1; }

said=$(over_tls localhost authority) || true
[[ $said == *'hello over TLS' ]] || { echo "FAIL tls: it said: $said" >&2; exit 1; }
echo "ok   tls: a message there and back"
for wrong in "other.example authority" "localhost stranger"; do
  # shellcheck disable=SC2086 # two words
  if said=$(over_tls $wrong) || [[ $said == *open* ]]; then
    echo "FAIL tls: it talked to a server whose certificate is not for: $wrong" >&2
    exit 1
  fi
  echo "ok   tls: refused ($wrong): $said"
done
