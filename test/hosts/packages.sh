#!/bin/bash
# Installs, upgrades, removes and purges the Debian packages of a release in chroots of Debian 12
# and 13. `packages.sh DIRECTORY [RELEASE...]`: DIRECTORY has the .deb files. Needs root,
# debootstrap, and a Debian or Ubuntu as host.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=test/hosts/root.sh
. test/hosts/root.sh

directory=$(realpath "$1")
shift
releases=("$@")
[ $# != 0 ] || releases=(bookworm trixie)

base=$PWD/build/hosts/packages
trap 'rm -rf --one-file-system "$base"' EXIT

for release in "${releases[@]}"; do
  began=$SECONDS
  root=$base/$release cache=$PWD/build/cache/hosts/packages-$release
  remove_root "$root"
  make_root "$release" "$root" "$cache" systemd,ca-certificates
  mkdir "$root/packages"
  cp "$directory"/*.deb test/hosts/package-life.sh "$root/packages/"
  test/hosts/enter-root.sh "$root" -- /packages/package-life.sh /packages
  echo "$release: packages installed, upgraded, removed and purged in $((SECONDS - began)) s"
done
