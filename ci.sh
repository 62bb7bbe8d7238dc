#!/usr/bin/env bash
# Every CI job is a function here: ./ci.sh JOB [JOB ...], or ./ci.sh all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# Formatting is what rustfmt says, also in the examples with workspaces of their own.
fmt() {
  local example
  cargo fmt --all --check
  for example in eio-embassy/examples/*/; do (cd "$example" && cargo fmt --check); done
}

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
  cargo test -p eio-monoio --features tls,json --test tls --test client
  cargo test -p eio-monoio --features tls,json --test memory footprint
  cargo test -p eio-monoio --features tls,json --doc
}

# The core and the microcontroller client build for a Cortex-M0+ without std.
no_std() { ./eio-embassy/ci/no-std.sh; }

# Firmware with the client on an emulated Cortex-M, against our server and engine.io from npm.
qemu() { ./eio-embassy/ci/qemu.sh; }

# What the client costs in flash and RAM, against limits.
mcu_size() { ./eio-embassy/ci/size.sh; }

# The client's examples for Linux, against the same.
mcu_examples() { ./eio-embassy/ci/examples.sh; }

# The firmware of the boards compiles; that of an RP2040 runs on an emulated one.
mcu_boards() {
  ./eio-embassy/ci/compile.sh
  ./eio-embassy/ci/rp2040.sh
}

# No way to panic but those with a proof. Not in `all`, because the list is that of Rust 1.95: another compiler inlines
# in another way, so the same way to panic goes by another function's name, and this fails until that is listed, too.
mcu_panics() { ./eio-embassy/ci/panics.sh; }

# Not in `all`: half an hour of traffic on the emulated Cortex-M, over twenty restarts of the server.
mcu_soak() { SOAK="${SOAK:-1800}" ./eio-embassy/ci/qemu.sh 'ours soak'; }

# Every crate packs, and builds from what was packed.
package() {
  # What was unpacked by an earlier run would be built in place of what is packed now.
  rm -rf "${CARGO_HOME:-$HOME/.cargo}"/registry/{src,cache}/-*/eio-*
  cargo package --workspace --allow-dirty --quiet
}

# What needs node and python on the other end, alone.
interop() {
  cargo build -p eio-monoio --examples
  cargo test -p eio-monoio --test foreign --test foreign_heartbeat
}

# A minute of fuzzing for each target would be a quarter of an hour: here a few seconds each, and the seeds
# against the other implementations. `fuzz/run.sh 28800` is a night.
fuzz() {
  (cd fuzz && cargo test --lib)
  fuzz/run.sh "${FUZZ_SECONDS:-5}"
}

# Not in `all`, because Autobahn is a Python 2.7 program, which Debian has no more, and python.org is not everywhere in
# reach: both protocols by other people's judgement. Autobahn's 301 cases for WebSockets, against server and client, on
# io_uring and epoll, and 48 of its cases for permessage-deflate; h1spec's 33 requests for HTTP. Four minutes. All 216
# cases for permessage-deflate: eio-monoio/conformance/server.py '--compression=12.*,13.*'.
conformance() {
  cargo build --release -p eio-monoio --example ws_echo --example ws_client --example echo
  eio-monoio/conformance/h1spec.py
  eio-monoio/conformance/server.py
  eio-monoio/conformance/client.py
}

# Instructions of the core's hot paths: none takes 5 % more than recorded. Another compiler than the one recorded
# with counts the recorded sources, too.
instructions() {
  command -v valgrind >/dev/null ||
    { apt-get update -q && apt-get install -q -y --no-install-recommends valgrind; } >&2 ||
    skip "valgrind cannot be installed"
  local status=0
  benches/instructions.sh || status=$?
  [[ $status -ne 3 ]] || skip "a shallow clone has nothing to compare with"
  return "$status"
}

# What is in the tree of dependencies: licences, sources, duplicates, advisories. See deny.toml.
deny() {
  cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --locked || skip "cargo-deny cannot be installed"
  cargo deny check bans licenses sources
  # The database of advisories is a repository of its own, which not every machine reaches.
  cargo deny fetch db 2>/dev/null || skip "the database of advisories cannot be reached"
  cargo deny check advisories
}

# The server and its clients under AddressSanitizer: what io_uring is handed must live until it is done.
asan() {
  rustup toolchain list 2>/dev/null | grep -q '^nightly' || skip "AddressSanitizer needs a nightly toolchain"
  # Not those that count allocations, which have an allocator of their own, nor those that start other programs.
  local names=${ASAN_TESTS:-server http limits client}
  local tests=()
  local name
  for name in $names; do tests+=(--test "$name"); done
  # Its leak check is not used: threads that outlive main keep what they have.
  RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0 CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/asan" \
    CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=line-tables-only \
    cargo +nightly test -p eio-monoio --target x86_64-unknown-linux-gnu "${tests[@]}"
}

# Which changes of the core no test notices; an hour or three. `MUTANTS_FILE=eio-core/src/sid.rs ./ci.sh mutants` for one
# file. What no test can notice is named in eio-core/ci/mutants.toml.
mutants() {
  cargo mutants --version >/dev/null 2>&1 || cargo install cargo-mutants --locked || skip "cargo-mutants cannot be installed"
  local arguments=(-p eio-core --timeout 60 -j2 --gitignore=true --config eio-core/ci/mutants.toml
    --cargo-arg=--config=profile.dev.package.eio-core.opt-level=0 --file "${MUTANTS_FILE:-eio-core/src/**}")
  # The unit tests are built fastest. What they do not notice meets all the others.
  EIO_PAIR_SEEDS=2000 PROPTEST_CASES=64 cargo mutants "${arguments[@]}" --cargo-arg=--lib || true
  EIO_PAIR_SEEDS=2000 PROPTEST_CASES=64 cargo mutants "${arguments[@]}" --iterate
}

# Not in `all`, because it needs a component of the toolchain: how much of the core its tests run, and not less than
# 97 % of its lines. Lines of tests do not count, neither as reached nor as missed.
coverage() {
  local llvm
  llvm=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/llvm-cov
  [[ -x "$llvm" ]] || rustup component add llvm-tools || skip "llvm-tools cannot be installed"
  cargo llvm-cov --version >/dev/null 2>&1 || cargo install cargo-llvm-cov --locked || skip "cargo-llvm-cov cannot be installed"
  local report="${CARGO_TARGET_DIR:-target}/coverage.lcov"
  EIO_PAIR_SEEDS=20000 cargo llvm-cov -p eio-core --features std --lcov --output-path "$report"
  eio-core/ci/coverage.py "$report" 97
}

# Not in `all`, because it needs a nightly toolchain: what the crates offer, against what was recorded in api/. A
# difference is either a mistake or a line of the changelog; `RECORD=1 ./ci.sh api` records it.
api() {
  rustup toolchain list 2>/dev/null | grep -q '^nightly' || skip "the list of what is public needs a nightly toolchain"
  cargo public-api --version >/dev/null 2>&1 || cargo install cargo-public-api --locked || skip "cargo-public-api cannot be installed"
  # Of what every type has without being told, only what a thread asks for is a promise.
  local noise='^impl.* core::(marker::(Freeze|Unpin|UnsafeUnpin|StructuralPartialEq)|panic::unwind_safe::[A-Za-z]+) for '
  local crate list changed=0
  for crate in eio-core eio-monoio:tls,json eio-embassy:embassy-net,edge-nal; do
    list=$(cargo public-api -p "${crate%:*}" --omit blanket-impls --features "$(cut -d: -f2 -s <<<"$crate")" | grep -vE "$noise")
    crate=${crate%:*}
    if [[ -n "${RECORD:-}" ]]; then
      echo "$list" >"api/$crate.txt"
    else
      diff -u --label "api/$crate.txt" --label "$crate as it is" "api/$crate.txt" - <<<"$list" || changed=1
    fi
  done
  [[ $changed = 0 ]] || { echo "What is public has changed. If that is meant: RECORD=1 ./ci.sh api" >&2; return 1; }
}

# No silent skip: on a developer's machine it is said, in CI it is an error.
function skip {
  echo "SKIPPED: $1" >&2
  [[ "${CI:-}" != true ]] || exit 1
  exit 0
}

# The examples build as a user builds them.
examples() { cargo build --release -p eio-monoio --examples; }

all() {
  local job
  for job in fmt clippy docs test tls instructions no_std qemu mcu_size mcu_examples mcu_boards package examples; do
    printf '\n== %s\n' "$job"
    "$job"
  done
}

[[ $# -ge 1 ]] || { grep -B1 -E '^[a-z_]+\(\)' "$0" | grep -vE '^--' >&2; exit 64; }
for job in "$@"; do "$job"; done
