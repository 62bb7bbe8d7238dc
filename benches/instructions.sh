#!/bin/sh
# Counts the instructions of the core's hot paths under callgrind and fails if one takes more than 5 % more than
# recorded in instructions/baseline.tsv.
#
#   benches/instructions.sh            compare
#   benches/instructions.sh --record   write a new baseline, which belongs in the commit that explains it
#
# A count is that of 1100 repetitions less that of 100, divided by 1000: start and set-up cancel out. It depends on
# the compiler, the target and what the CPU valgrind shows can do (SIMD), so the baseline names them.
set -eu
cd "$(dirname "$0")"
baseline=instructions/baseline.tsv
command -v valgrind >/dev/null || { echo "valgrind is not installed" >&2; exit 2; }

target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
cargo build --quiet --release -p eio-benches --bin eio-instructions
program=$target/release/eio-instructions
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# count ROW TIMES: instructions of the whole program.
count() {
    valgrind --quiet --tool=callgrind --callgrind-out-file="$work/out" "$program" "$1" "$2" \
        >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 2; }
    sed -n 's/^summary: //p; s/^totals: //p' "$work/out" | head -n 1
}

setting="$(rustc --version), $(valgrind --version), $(uname -m)"
{
    echo "# $setting"
    for row in $("$program" --list); do
        few=$(count "$row" 100)
        many=$(count "$row" 1100)
        printf '%s\t%d\n' "$row" $(((many - few + 500) / 1000))
    done
} >"$work/now.tsv"

if [ "${1:-}" = --record ]; then
    cp "$work/now.tsv" "$baseline"
    cat "$baseline"
    exit
fi

recorded=$(sed -n 's/^# //p' "$baseline")
[ "$recorded" = "$setting" ] || echo "recorded with $recorded; this is $setting" >&2
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
' "$baseline" "$work/now.tsv"
