#!/usr/bin/env bash
# Runs the fuzz targets, each for a bounded time:
#
#   fuzz/run.sh [SECONDS [TARGET ...]]      default: 60 seconds, every target
#
# One target at a time with one job, because more would compete for the same cores. New inputs stay in
# fuzz/corpus-local, inputs that fail in fuzz/artifacts; neither is in the repository. The named seeds in
# fuzz/corpus are read and never written.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-60}
all=(packet payload ws_server ws_client deflate http_request http_response response_lines chunked_body query file_path
    open_json proxy_protocol server_session client_session
    cluster_hello cluster_link cluster_bus)
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=("${all[@]}")

# No silent skip: a developer's machine prints a line, CI fails.
skip() {
    echo "SKIPPED: $1" >&2
    [ "${CI:-}" != true ] || exit 1
    exit 0
}

rustup toolchain list 2>/dev/null | grep -q '^nightly' ||
    skip "fuzzing needs a nightly toolchain: rustup toolchain install nightly"
cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked ||
    skip "cargo-fuzz cannot be installed"

cargo +nightly fuzz build
for target in "${targets[@]}"; do
    echo "== $target, $seconds s"
    learned=corpus-local/$target
    mkdir -p "$learned"
    # The maximum length is above every limit that the targets choose, except the largest.
    cargo +nightly fuzz run "$target" "$learned" "corpus/$target" -- \
        -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
        -dict="dict/$target.dict" -print_final_stats=1 2>&1 |
        { grep -v -E '^#[0-9]+[[:space:]]+(NEW|REDUCE|pulse|RELOAD)|^INFO: +[0-9]+ files' || true; }
done
