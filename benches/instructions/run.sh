#!/bin/sh
# Counts the instructions of eio-core's hot paths under callgrind. Fails if a row takes more than 5 % more than
# baseline.tsv records.
#
#   benches/instructions/run.sh            compare
#   benches/instructions/run.sh --record   write a new baseline; commit it with the change that explains it
#
# A count is that of 1100 repetitions minus that of 100, divided by 1000, so that start-up and set-up cancel out. It
# depends on the compiler, valgrind, the C library's memcpy and on AVX2, so the baseline names them. Where one of them
# differs, the recorded counts do not apply: the script then counts the sources of the commit that recorded them, on
# this machine, and compares with those counts.
#
# Exit status: 0 no row grew, 1 a row grew, 2 an error, 3 nothing to compare with (a shallow clone).
set -eu
cd "$(dirname "$0")"
# Half of the time of linking; the counts hold for it.
export CARGO_PROFILE_RELEASE_LTO=thin
baseline=baseline.tsv
command -v valgrind >/dev/null || { echo "valgrind is not installed" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# build NAME: builds the program from the sources around the current directory, as $work/NAME.
build() {
    target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    cargo build --quiet --release -p eio-benches --bin eio-instructions
    cp "$target/release/eio-instructions" "$work/$1"
}

# count PROGRAM ROW TIMES: prints the instructions of the whole program.
count() {
    valgrind --quiet --tool=callgrind --callgrind-out-file="$work/out" "$1" "$2" "$3" \
        >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 2; }
    sed -n 's/^summary: //p; s/^totals: //p' "$work/out" | head -n 1
}

# counts PROGRAM: prints a line for each row.
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
    echo "the baseline is of $recorded; this is $setting: counting the recorded sources here" >&2
    # In a shallow clone the only commit seems to have changed every file.
    [ "$(git rev-parse --is-shallow-repository 2>/dev/null)" = false ] || {
        echo "the recorded sources need the repository's history" >&2
        exit 3
    }
    commit=$(git log -1 --format=%H -- "$baseline")
    mkdir "$work/sources"
    (cd "$(git rev-parse --show-toplevel)" && git archive "$commit") | tar -x -C "$work/sources"
    # In a target directory of its own: cargo would confuse the objects of the two.
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
        verdict = ratio > 1.05 ? "  GREW BY MORE THAN 5 %" : ratio < 0.95 ? "  shrank: record it" : ""
        printf "%-28s %9d  recorded %9d  %+5.1f %%%s\n", $1, $2, recorded[$1], (ratio - 1) * 100, verdict
        if (ratio > 1.05) bad = 1
        delete recorded[$1]
    }
    END {
        for (row in recorded) { printf "%-28s is in the baseline but is not a row\n", row; bad = 1 }
        exit bad
    }
' "$work/recorded.tsv" "$work/now.tsv"
