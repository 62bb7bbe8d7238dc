#!/usr/bin/env bash
# Every CI job is a function here: ./ci.sh JOB [JOB ...], or ./ci.sh all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# Formatting is what rustfmt says.
fmt() { cargo fmt --all --check; }

# No warning, in any target or feature of the core.
clippy() {
  cargo clippy --workspace --all-targets -- -D warnings
  cargo clippy -p eio-core --features std,defmt -- -D warnings
  cargo clippy -p eio-monoio --all-targets --all-features -- -D warnings
}

# The documentation builds, and every link in it leads somewhere.
docs() {
  RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
  RUSTDOCFLAGS="-D warnings" cargo doc -p eio-monoio --features tls --no-deps
}

# The README's own command: unit tests, doctests, wire tests, real JavaScript and Python clients, a browser.
test() { cargo test --workspace; }

# What the tests above are built without.
tls() {
  cargo test -p eio-monoio --features tls,json --test tls --test client_tls --test client
  cargo test -p eio-monoio --features tls,json --doc
}

# The core and the microcontroller client build for a Cortex-M0+ without std.
no_std() { ./eio-embassy/ci/no-std.sh; }

# Firmware with the client on an emulated Cortex-M, against our server and engine.io from npm.
qemu() { ./eio-embassy/ci/qemu.sh; }

# The client's examples for Linux, against the same.
mcu_examples() { ./eio-embassy/ci/examples.sh; }

# Not in `all`: the firmware of the boards compiles; that of an RP2040 runs on an emulated one.
mcu_boards() {
  ./eio-embassy/ci/compile.sh
  ./eio-embassy/ci/rp2040.sh
}

# Not in `all`: half an hour of traffic on the emulated Cortex-M, over twenty restarts of the server.
mcu_soak() { SOAK="${SOAK:-1800}" ./eio-embassy/ci/qemu.sh 'ours soak'; }

# Every crate packs, and builds from what was packed.
package() { cargo package --workspace --allow-dirty --quiet; }

# What needs node and python on the other end, alone.
interop() {
  cargo build -p eio-monoio --examples
  cargo test -p eio-monoio --test interop --test browser --test client_foreign
}

# A minute of fuzzing for each target would be a quarter of an hour: here a few seconds each, and the seeds
# against the other implementations. `fuzz/run.sh 28800` is a night.
fuzz() {
  (cd fuzz && cargo test --lib)
  fuzz/run.sh "${FUZZ_SECONDS:-5}"
}

# Both protocols by other people's judgement: Autobahn's 301 cases for WebSockets, h1spec's 33 requests for HTTP.
conformance() {
  cargo build --release -p eio-monoio --example ws_echo --example echo
  eio-monoio/conformance/h1spec.py
  eio-monoio/conformance/server.py
}

# The examples build as a user builds them.
examples() { cargo build --release -p eio-monoio --examples; }

all() {
  local job
  for job in fmt clippy docs test tls no_std qemu mcu_examples package examples; do
    printf '\n== %s\n' "$job"
    "$job"
  done
}

[[ $# -ge 1 ]] || { grep -B1 -E '^[a-z_]+\(\)' "$0" | grep -vE '^--' >&2; exit 64; }
for job in "$@"; do "$job"; done
