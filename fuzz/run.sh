#!/usr/bin/env bash
# Runs the fuzz targets, each for a bounded time:
#
#   fuzz/run.sh [seconds for each, 60] [target, all of them]
#
# One at a time and with one job: more would compete for the same cores. What the fuzzer learns stays in
# fuzz/corpus-local (not in the repository); what it breaks on, in fuzz/artifacts. The named seeds in
# fuzz/corpus are read, never written.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-60}
all=(packet payload ws_server ws_client deflate http_request http_response chunked_body query file_path open_json
    server_session client_session)
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=("${all[@]}")

# No silent skip: on a developer's machine it is said, in CI it is an error.
skip() {
    echo "SKIPPED: $1" >&2
    [ "${CI:-}" != true ] || exit 1
    exit 0
}

rustup toolchain list 2>/dev/null | grep -q '^nightly' ||
    skip "fuzzing needs a nightly toolchain: rustup toolchain install nightly"
cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked ||
    skip "cargo-fuzz is not installed and cannot be"

cargo +nightly fuzz build
for target in "${targets[@]}"; do
    echo "== $target, $seconds s"
    learnt=corpus-local/$target
    mkdir -p "$learnt"
    # Longer than the limits the targets choose from, but for the largest.
    cargo +nightly fuzz run "$target" "$learnt" "corpus/$target" -- \
        -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
        -dict="dict/$target.dict" -print_final_stats=1 2>&1 |
        { grep -v -E '^#[0-9]+[[:space:]]+(NEW|REDUCE|pulse|RELOAD)|^INFO: +[0-9]+ files' || true; }
done
