#!/bin/sh
# Counts the instructions of the core's hot paths under callgrind and fails if one takes more than 5 % more than
# recorded in instructions/baseline.tsv.
#
#   benches/instructions.sh            compare
#   benches/instructions.sh --record   write a new baseline, which belongs in the commit that explains it
#
# A count is that of 1100 repetitions less that of 100, divided by 1000: start and set-up cancel out. It depends on
# the compiler, valgrind, the C library's memcpy and whether the CPU has AVX2, so the baseline names them. Where one
# of them is another, the figures recorded there say nothing here: then the sources of the commit that recorded them
# are counted here and now, and take their place.
#
# Status: 0 all is well, 1 a row has grown, 2 something failed, 3 nothing to compare with (a shallow clone).
set -eu
cd "$(dirname "$0")"
baseline=instructions/baseline.tsv
command -v valgrind >/dev/null || { echo "valgrind is not installed" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# build NAME: the program of the sources in this directory, as $work/NAME.
build() {
    target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    cargo build --quiet --release -p eio-benches --bin eio-instructions
    cp "$target/release/eio-instructions" "$work/$1"
}

# count PROGRAM ROW TIMES: instructions of the whole program.
count() {
    valgrind --quiet --tool=callgrind --callgrind-out-file="$work/out" "$1" "$2" "$3" \
        >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 2; }
    sed -n 's/^summary: //p; s/^totals: //p' "$work/out" | head -n 1
}

# counts PROGRAM: a line for each of its rows.
counts() {
    for row in $("$1" --list); do
        few=$(count "$1" "$row" 100)
        many=$(count "$1" "$row" 1100)
        printf '%s\t%d\n' "$row" $(((many - few + 500) / 1000))
    done
}

avx2=$(grep -qw avx2 /proc/cpuinfo && echo "with AVX2" || echo "without AVX2")
setting="$(rustc --version), $(valgrind --version), $(getconf GNU_LIBC_VERSION), $(uname -m) $avx2"
build now
{ echo "# $setting" && counts "$work/now"; } >"$work/now.tsv"

if [ "${1:-}" = --record ]; then
    cp "$work/now.tsv" "$baseline"
    cat "$baseline"
    exit
fi

cp "$baseline" "$work/recorded.tsv"
recorded=$(sed -n 's/^# //p' "$baseline")
if [ "$recorded" != "$setting" ]; then
    echo "recorded with $recorded; this is $setting: counting what was recorded here" >&2
    # A shallow clone has one commit, which seems to have changed every file.
    [ "$(git rev-parse --is-shallow-repository 2>/dev/null)" = false ] || {
        echo "which takes the repository's history" >&2
        exit 3
    }
    commit=$(git log -1 --format=%H -- "$baseline")
    mkdir "$work/sources"
    (cd "$(git rev-parse --show-toplevel)" && git archive "$commit") | tar -x -C "$work/sources"
    # Not among our own: cargo would take the one's objects for the other's.
    CARGO_TARGET_DIR=$target/recorded
    export CARGO_TARGET_DIR
    (cd "$work/sources/benches" && build recorded)
    counts "$work/recorded" >"$work/recorded.tsv"
fi
awk -F '\t' '
    /^#/ { next }
    NR == FNR { recorded[$1] = $2; next }
    !($1 in recorded) { printf "%-28s %9d  not in the baseline: record it\n", $1, $2; bad = 1; next }
    {
        ratio = $2 / recorded[$1]
        verdict = ratio > 1.05 ? "  MORE THAN 5 % GROWN" : ratio < 0.95 ? "  shrunk: record it" : ""
        printf "%-28s %9d  recorded %9d  %+5.1f %%%s\n", $1, $2, recorded[$1], (ratio - 1) * 100, verdict
        if (ratio > 1.05) bad = 1
        delete recorded[$1]
    }
    END {
        for (row in recorded) { printf "%-28s is in the baseline but no row\n", row; bad = 1 }
        exit bad
    }
' "$work/recorded.tsv" "$work/now.tsv"
