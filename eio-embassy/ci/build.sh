#!/bin/bash
# usage: build.sh <directory> <target> [cargo build options]
#
# `cargo build --target <target>` in <directory>, for a bare-metal target, with whatever the machine has:
#   1. a Rust toolchain that has the target;
#   2. rustup, where it can download the target;
#   3. Debian's rustc-web, cargo-web and rust-web-src, installed if need be: they match one another, so
#      `core` can be built from source.
# Prints on stdout the directory the artifacts of the profile `release` are in, or of `$PROFILE`.
set -euo pipefail

[[ $# -ge 2 ]] || { sed -n '2,3p' "$0" >&2; exit 2; }
dir=$1 target=$2
shift 2
cd "$dir"
profile=${PROFILE:-release}
out=${CARGO_TARGET_DIR:-$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')}

has_target() {
  [[ -d $(rustc --print sysroot 2>/dev/null)/lib/rustlib/$target/lib ]]
}

# A registry mirror may hang instead of refusing.
add_target() {
  command -v rustup >/dev/null && timeout 120 rustup target add "$target" >/dev/null 2>&1 && has_target
}

debian_is_there() {
  [[ -x /usr/bin/rustc && -x /usr/bin/cargo && -e /usr/lib/rustlib/src/rust/library/core/Cargo.toml ]] && rust_lld >/dev/null
}

install_debian() {
  local root=()
  [[ $(id -u) == 0 ]] || root=(sudo)
  {
    "${root[@]}" apt-get update -q
    DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -q -y --no-install-recommends \
      rustc-web cargo-web rust-web-src lld-19
  } >&2
}

# Debian's rustc brings no rust-lld: rustup's will do, or lld itself.
rust_lld() {
  local sysroot host
  if sysroot=$(rustc --print sysroot 2>/dev/null) && host=$(rustc -vV | sed -n 's/^host: //p') &&
    [[ -x $sysroot/lib/rustlib/$host/bin/rust-lld ]]; then
    echo "$sysroot/lib/rustlib/$host/bin/rust-lld"
    return
  fi
  command -v lld-19 lld | head -n 1 | grep .
}

if has_target || add_target; then
  cargo build --profile "$profile" --target "$target" "$@" >&2
else
  debian_is_there || install_debian
  lld=$(rust_lld)
  bin=$(mktemp -d)
  trap 'rm -rf "$bin"' EXIT
  # lld goes by its own name, and rustc looks for it in PATH.
  ln -s "$lld" "$bin/rust-lld"
  # RUSTC_BOOTSTRAP allows -Z in a stable compiler.
  PATH=$PATH:$bin RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc \
    /usr/bin/cargo build -Zbuild-std=core,alloc --profile "$profile" --target "$target" "$@" >&2
fi
[[ $profile == dev ]] && profile=debug
echo "$out/$target/$profile"
