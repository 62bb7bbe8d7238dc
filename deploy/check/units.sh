#!/usr/bin/env bash
# Checks the units in deploy/systemd by systemd's own tools, in a directory that stands for the root of a machine.
# usage: deploy/check/units.sh PROGRAM
set -euo pipefail
program=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/../systemd"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,etc/systemd/system,usr/lib/systemd,usr/local/bin}
cp /bin/kill "$root/bin/"
cp "$program" "$root/usr/local/bin/eio-server"
cp -r /usr/lib/systemd/system "$root/usr/lib/systemd/"

# Prints what systemd says about the units; succeeds if that is nothing.
verify() {
  local said
  said=$(systemd-analyze verify --root="$root" eio-server.service eio-server.socket 2>&1) || true
  [[ -z "$said" ]] || { echo "$said"; return 1; }
}

cp eio-server.service eio-server.socket "$root/etc/systemd/system/"
verify
# 0 is the most restricted service, 10 one without restrictions. IPAddressDeny and a file system of its own are left.
systemd-analyze security --offline=true --root="$root" --threshold=20 --no-pager eio-server.service | tail -1

# The check fails for a mistake.
sed -i 's/^Restart=on-failure/Restart=on-failures/' "$root/etc/systemd/system/eio-server.service"
if verify >/dev/null; then
  echo "systemd-analyze accepts a unit with a mistake" >&2
  exit 1
fi
echo "the units are valid"
