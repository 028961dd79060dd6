#!/bin/bash
# Installs, upgrades, removes and purges the Debian packages of a release in chroots of Debian 12
# and 13. `packages.sh DIRECTORY [RELEASE...]`: DIRECTORY has the .deb files. Needs root,
# debootstrap, and a Debian or Ubuntu as host.
set -euo pipefail
cd "$(dirname "$0")/../.."

directory=$(realpath "$1")
shift
releases=("$@")
[ $# != 0 ] || releases=(bookworm trixie)

# shellcheck disable=SC2016 # $(…) is for apt
mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' | sed -n 's/^Debian Debian //p' | sort --unique | head --lines=1)
base=$PWD/build/hosts/packages
trap 'rm -rf --one-file-system "$base"' EXIT

for release in "${releases[@]}"; do
  began=$SECONDS
  root=$base/$release cache=$PWD/build/cache/hosts/packages-$release
  rm -rf --one-file-system "$root"
  mkdir -p "$root" "$cache"
  # shellcheck disable=SC2086 # without a mirror there is no argument
  setpriv --pdeathsig KILL unshare --mount --propagation private debootstrap --variant=minbase --include=systemd,ca-certificates \
    --cache-dir="$cache" "$release" "$root" $mirror >"$cache/debootstrap.log" || { tail "$cache/debootstrap.log" >&2 && exit 1; }
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # no service is started
  chmod 755 "$root/usr/sbin/policy-rc.d"
  mkdir "$root/packages"
  cp "$directory"/*.deb test/hosts/package-life.sh "$root/packages/"
  # The mounts and processes of the chroot end with this command.
  # shellcheck disable=SC2016 # $… is for the shell in the namespaces
  setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child bash -euc '
    for name in proc dev; do mkdir -p "$1/$name"; done
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    exec chroot "$1" env --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root /packages/package-life.sh /packages' bash "$root"
  echo "$release: packages installed, upgraded, removed and purged in $((SECONDS - began)) s"
done
