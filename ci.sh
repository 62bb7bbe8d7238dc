#!/usr/bin/env bash
# Every CI job is a function here: ./ci.sh JOB [JOB ...], or ./ci.sh all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# Formatting is what rustfmt says, also in the examples with workspaces of their own.
fmt() {
  local example
  cargo fmt --all --check
  for example in eio-embassy/examples/*/Cargo.toml eio-monoio/examples/apps/Cargo.toml; do
    cargo fmt --check --manifest-path "$example"
  done
}

# No warning, in any target, without features and with all of them.
clippy() {
  cargo clippy --workspace --all-targets -- -D warnings
  cargo clippy -p eio-core --features std,defmt,cluster -- -D warnings
  cargo clippy -p eio-monoio --all-targets --all-features -- -D warnings
  cargo clippy -p eio-embassy --all-targets --all-features -- -D warnings
  (cd eio-monoio/examples/apps && cargo clippy --all-targets -- -D warnings)
}

# The documentation builds, and every link in it leads somewhere.
docs() {
  RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
  RUSTDOCFLAGS="-D warnings" cargo doc -p eio-core -p eio-monoio -p eio-embassy --all-features --no-deps
}

# Every relative link in a document leads somewhere, every citation of docs/protocol.md names one of its items, and the
# files and functions in docs/ARCHITECTURE.md exist.
links() { ci/links.py; }

# Comments, documents, test names and messages are standard technical English: at most 5 lines in 1,000 have a phrase
# that is not. See CONTRIBUTING.md, "Language".
prose() { ci/prose.py; }

# Every combination of features compiles.
features() {
  local combination
  for combination in $(powerset std defmt cluster); do cargo check -q -p eio-core --features "$combination"; done
  for combination in $(powerset tls json nats); do cargo check -q -p eio-monoio --features "$combination"; done
  cargo check -q -p eio-monoio --features server-bin --bin eio-server
  for combination in $(powerset embassy-net,dns edge-nal log defmt) embassy-net embassy-net,ipv6 embassy-net,dns,ipv6 tls tls-p384; do
    cargo check -q -p eio-embassy --features "$combination"
  done
}

# Prints every subset of the arguments, one a line, as a list with commas; the empty one is a comma.
function powerset {
  local subset number bit
  for ((number = 0; number < 1 << $#; number++)); do
    subset=,
    for ((bit = 0; bit < $#; bit++)); do
      ((number >> bit & 1)) && subset+="${@:bit + 1:1},"
    done
    echo "$subset"
  done
}

# Not in `all`, because it needs another toolchain: the oldest compiler that Cargo.toml promises builds every crate.
msrv() {
  local version
  version=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
  cargo "+$version" --version >/dev/null 2>&1 || skip "there is no toolchain $version; rustup toolchain install $version"
  cargo "+$version" check --workspace
  cargo "+$version" check -p eio-monoio --all-features
}

# The README's own command: unit tests, doctests, wire tests, real JavaScript and Python clients, a browser.
test() {
  install_proxies
  cargo test --workspace
}

# The reverse proxies of tests/proxies. A test without its proxy is skipped, which is a failure in CI.
function install_proxies {
  [[ -x /usr/sbin/nginx && -f /usr/lib/nginx/modules/ngx_stream_module.so && -x /usr/sbin/haproxy &&
    -x /usr/sbin/apache2 && -x /usr/bin/caddy ]] ||
    { apt-get update -q && apt-get install -q -y --no-install-recommends nginx-light libnginx-mod-stream haproxy \
      apache2-bin caddy; } >&2 ||
    echo "SKIPPED: the proxies cannot be installed" >&2
}

# More schedules of the simulator of a cluster than `test` runs; half a minute.
schedules() { EIO_CLUSTER_SEEDS=100000 cargo test -p eio-core --test cluster; }

# Tests of features that `test` is built without.
tls() {
  cargo test -p eio-monoio --features tls,json --test tls --test client
  cargo test -p eio-monoio --features tls,json --test memory footprint
  cargo test -p eio-monoio --features tls,json --test proxies -- causes_by_option precedes_tls
  cargo test -p eio-monoio --features tls,json --doc
}

# The program eio-server, as a process, with curl and the JavaScript and Python clients; the files in deploy/, by the
# tools of Debian; the steps of the container file without an engine. Two minutes, of which one builds the image.
deploy() {
  local missing=()
  command -v promtool >/dev/null || missing+=(prometheus)
  command -v systemd-analyze >/dev/null || missing+=(systemd)
  /usr/bin/python3 -c 'import seccomp, yaml' 2>/dev/null || missing+=(python3 python3-seccomp python3-yaml)
  [[ ${#missing[@]} -eq 0 ]] ||
    { apt-get update -q && apt-get install -q -y --no-install-recommends "${missing[@]}"; } >&2 ||
    skip "${missing[*]} cannot be installed"
  promtool check rules deploy/prometheus/alerts.yml
  promtool test rules deploy/prometheus/alerts_test.yml
  promtool check rules deploy/prometheus/alerts_cluster.yml
  promtool test rules deploy/prometheus/alerts_cluster_test.yml
  promtool check config deploy/prometheus/prometheus.yml
  (
    ulimit -n "$(ulimit -Hn)"
    cargo test -p eio-monoio --features server-bin --bin eio-server --test serve
  )
  deploy/check/units.sh "${CARGO_TARGET_DIR:-target}/debug/eio-server"
  deploy/check/kubernetes.py "${CARGO_TARGET_DIR:-target}/debug/eio-server"
  deploy/check/container.py
}

# Three nodes of a cluster with a real NATS server: messages, forwarded requests, nodes and engines that fail; clients of
# others behind balancers. The tests take a minute and a half, and the build another.
cluster() {
  command -v nats-server >/dev/null ||
    { apt-get update -q && apt-get install -q -y --no-install-recommends nats-server; } >&2 ||
    skip "nats-server cannot be installed"
  install_proxies
  cargo build -p eio-monoio --features nats,tls --example cluster --example latency
  cargo test -p eio-monoio --features nats,tls --lib cluster
  cargo test -p eio-monoio --features nats,tls --test cluster
}

# The core and the microcontroller client build for a Cortex-M0+ without std.
no_std() { ./eio-embassy/ci/firmware.py no-std; }

# Firmware with the client on an emulated Cortex-M, against our server, engine.io from npm, python-engineio on ASGI and on
# aiohttp, and over a wire that loses frames. Two minutes; scenarios that wait run next to the others.
qemu() { ./eio-embassy/ci/firmware.py qemu; }

# The client's size in flash and RAM, against limits.
mcu_size() { ./eio-embassy/ci/firmware.py size; }

# The client's examples for Linux, against the same servers.
mcu_examples() { ./eio-embassy/ci/firmware.py examples; }

# The client over TLS, on Linux and on an emulated Cortex-M: with node, nginx and our server, and with certificates of every
# kind. Two minutes.
mcu_tls() {
  cargo test -p eio-embassy --features tls --test tls
  ./eio-embassy/ci/firmware.py tls
}

# The firmware of the boards compiles, and that of an RP2040 runs on an emulated board.
mcu_boards() {
  ./eio-embassy/ci/firmware.py compile
  ./eio-embassy/ci/firmware.py rp2040
}

# Every call in the client's machine code that could panic has a proof that it does not. Not in `all`, because the list is
# for Rust 1.95: another compiler inlines differently, so the same call has another name.
mcu_panics() { ./eio-embassy/ci/firmware.py panics; }

# Not in `all`: half an hour of traffic on the emulated Cortex-M, with twenty restarts of the server; the same with a loss of
# the access point each minute; sensors of each client; lossy wires with each server.
mcu_soak() { ./eio-embassy/ci/firmware.py qemu 'ours (soak|radio|sensor)|lossy' --soak "${SOAK:-1800}"; }

# Every crate can be packaged, and builds from its package.
package() {
  # Packages that an earlier run unpacked would be built in place of the new ones.
  rm -rf "${CARGO_HOME:-$HOME/.cargo}"/registry/{src,cache}/-*/eio-*
  cargo package --workspace --allow-dirty --quiet
}

# Only the tests that need Node and Python.
interop() {
  install_proxies
  cargo build -p eio-monoio --examples
  cargo test -p eio-monoio --test foreign --test foreign_heartbeat --test proxies
}

# Not in `all`: a hundred sessions for a minute through nginx and HAProxy, and of our client on gunicorn, all at the same
# time, which is a minute and a half; `test` does the same for 5 s.
soak() {
  install_proxies
  cargo build -p eio-monoio --example echo
  EIO_SOAK_SECONDS="${EIO_SOAK_SECONDS:-60}" cargo test -p eio-monoio --test proxies kept_connections
}

# The seeds of the fuzz targets against the other implementations, and random calls for the laws of sessions. A minute,
# most of which is compiling.
laws() { (cd fuzz && cargo test --lib); }

# A minute of fuzzing for each target would be a quarter of an hour: here a few seconds each, after the
# laws. `fuzz/run.sh 28800` is a night.
fuzz() {
  laws
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
  benches/instructions/run.sh || status=$?
  [[ $status -ne 3 ]] || skip "a shallow clone has nothing to compare with"
  return "$status"
}

# Licences, sources, duplicates and advisories of the dependencies. See deny.toml.
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

# Not in `all`, because it builds a program of its own: the public items of the crates, compared with the record in api/.
# A difference is a mistake or a line of the changelog; `RECORD=1 ./ci.sh api` records it.
api() {
  cargo public-api --version >/dev/null 2>&1 || cargo install cargo-public-api --locked || skip "cargo-public-api cannot be installed"
  # Of the auto traits, only Send and Sync are a promise.
  local noise='^impl.* core::(marker::(Freeze|Unpin|UnsafeUnpin|StructuralPartialEq)|panic::unwind_safe::[A-Za-z]+) for '
  local target="${CARGO_TARGET_DIR:-target}/api" crate features list changed=0
  for crate in eio-core eio-monoio:tls,json eio-embassy:embassy-net,dns,ipv6,edge-nal,tls; do
    features=$(cut -d: -f2 -s <<<"$crate")
    crate=${crate%:*}
    # The listing of items as JSON is not stable yet: the variable permits it.
    RUSTC_BOOTSTRAP=1 cargo rustdoc -q -p "$crate" --lib --features "$features" --target-dir "$target" -- \
      -Zunstable-options --output-format json --cap-lints warn
    list=$(cargo public-api --rustdoc-json "$target/doc/${crate//-/_}.json" --omit blanket-impls | grep -vE "$noise")
    if [[ -n "${RECORD:-}" ]]; then
      echo "$list" >"api/$crate.txt"
    else
      diff -u --label "api/$crate.txt" --label "$crate as it is" "api/$crate.txt" - <<<"$list" || changed=1
    fi
  done
  [[ $changed = 0 ]] || { echo "What is public has changed. If that is meant: RECORD=1 ./ci.sh api" >&2; return 1; }
}

# A skipped job says so; in CI it is an error.
function skip {
  echo "SKIPPED: $1" >&2
  [[ "${CI:-}" != true ]] || exit 1
  exit 0
}

# The examples build as a user builds them, except for thin link-time optimisation, which takes half the time.
examples() { CARGO_PROFILE_RELEASE_LTO=thin cargo build --release -p eio-monoio --examples; }

# Applications on the server, run as processes: database pools, an HTTP client, axum, a chat with 1,000 sessions,
# nginx, the programs of docs/guide.md. Half a minute, and two minutes more to build their dependencies the first time.
apps() {
  command -v nginx >/dev/null ||
    { apt-get update -q && apt-get install -q -y --no-install-recommends nginx-light; } >&2 ||
    echo "SKIPPED: nginx cannot be installed" >&2
  (
    ulimit -n "$(ulimit -Hn)"
    cd eio-monoio/examples/apps
    cargo test
  )
}

# Operation at the size of a production, with the programs that operators use: memory of 19,000 sessions that left, a
# drain of 10,000, restarts under load, `timeout`, a container's first process, `promtool`. A minute, and one more to
# build.
operations() {
  local package programs=(promtool:prometheus systemd-socket-activate:systemd unshare:util-linux)
  for package in "${programs[@]}"; do
    command -v "${package%:*}" >/dev/null ||
      { apt-get update -q && apt-get install -q -y --no-install-recommends "${package#*:}"; } >&2 ||
      echo "SKIPPED: ${package#*:} cannot be installed" >&2
  done
  (
    ulimit -n "$(ulimit -Hn)"
    cargo test -p eio-monoio --features heavy-tests,server-bin --test operations
  )
}

# The jobs of CI for each commit.
ALL=(fmt prose links clippy docs features test schedules laws tls cluster deploy instructions no_std qemu mcu_size mcu_examples mcu_tls mcu_boards package examples apps operations)

all() {
  local job
  for job in "${ALL[@]}"; do
    printf '\n== %s\n' "$job"
    "$job"
  done
}

# The names of the jobs of `all` as JSON, for the matrix of .github/workflows/ci.yml.
list() {
  local IFS=, names=("${ALL[@]/#/\"}")
  echo "[${names[*]/%/\"}]"
}

[[ $# -ge 1 ]] || { grep -B1 -E '^[a-z_]+\(\)' "$0" | grep -vE '^--' >&2; exit 64; }
for job in "$@"; do "$job"; done
