#!/bin/bash
# Builds the crates that a microcontroller runs for one: no `std`, no `alloc`, no compare-and-swap.
# A crate that links `std` does not compile for it. Installs what is missing, see build.sh.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=thumbv6m-none-eabi

for package in eio-core eio-embassy; do
  # The second run finds another set of features than the first: one more line of Rust is compiled.
  for features in "" defmt; do
    "$here/build.sh" "$root" "$target" --locked -p "$package" --no-default-features --features "$features" >/dev/null
    echo "ok: $package for $target, features: ${features:-none}"
  done
done
