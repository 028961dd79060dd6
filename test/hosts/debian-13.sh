#!/bin/bash
# Sets up, builds and tests a clean clone of HEAD in a chroot of Debian 13 that has only Debian's
# essential packages, git, make, and its own Node and npm. Needs root, debootstrap, and a Debian or
# Ubuntu as host.
#
# The checksums of what is built are in build/hosts/debian-13.sha256 afterwards. `make initramfs
# images COMPRESSION_LEVEL=3` makes the same bytes on each host, so that
# `cd build; sha256sum --check hosts/debian-13.sha256` finds no difference.
#
# `debian-13.sh COMMAND...` runs another command in the clone instead of
# `test/hosts/in-debian-13.sh`, for example `debian-13.sh bash`.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=test/hosts/root.sh
. test/hosts/root.sh

root=$PWD/build/hosts/debian-13
cache=$PWD/build/cache/hosts/debian-13
# Debian packages of the products, by their checksums: this machine and the chroot fetch each once.
packages=$PWD/build/cache/packages

chroot_pid=
clean_up() {
  if [ -n "$chroot_pid" ]; then
    kill -KILL "$chroot_pid"
    wait "$chroot_pid" || true
  fi
  remove_root "$root"
}
clean_up
rm -f build/hosts/debian-13.sha256
mkdir -p "$cache/archives" "$packages"
trap clean_up EXIT

make_root trixie "$root" "$cache/base"
# No documentation is read in it.
printf 'path-exclude=/usr/share/%s/*\n' doc locale man >"$root/etc/dpkg/dpkg.cfg.d/documentation"
git clone --quiet --no-local . "$root/srv/nibs"
echo "Debian 13: base system installed in $SECONDS s"

# Downloads of this machine's npm, which the chroot reads and does not change. npm compares them
# with the checksums of the lock file.
npm_cache=$(npm config get cache)
mkdir -p "$npm_cache"

command=("${@:-test/hosts/in-debian-13.sh}")
# In the background, and waited for, so that a signal ends this script at once. Standard input stays
# that of this script.
exec 3<&0
# shellcheck disable=SC2016 # $@ is for the shell in the chroot
test/hosts/enter-root.sh "$root" "$cache/archives=/var/cache/apt/archives" "$packages=/srv/nibs/build/cache/packages" "+$npm_cache=/var/cache/npm" \
  -- env npm_config_cache=/var/cache/npm npm_config_update_notifier=false sh -c 'cd /srv/nibs; exec "$@"' sh "${command[@]}" <&3 &
chroot_pid=$!
status=0
wait "$chroot_pid" || status=$?
chroot_pid=
# Checksums of what was built, if anything was.
sums=$root/srv/nibs/build/products.sha256
[ ! -e "$sums" ] || cp "$sums" build/hosts/debian-13.sha256
exit "$status"
