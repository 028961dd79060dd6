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
#
# The chroot has mount and PID namespaces of its own: all its mounts and processes end with this
# script, even with one that is killed.
set -euo pipefail
cd "$(dirname "$0")/../.."

root=$PWD/build/hosts/debian-13
cache=$PWD/build/cache/hosts/debian-13
# Debian packages of the products, by their checksums: this machine and the chroot fetch each once.
packages=$PWD/build/cache/packages

# The mirror that this machine uses, or debootstrap's default.
# shellcheck disable=SC2016 # $(…) is for apt
mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' | sed -n 's/^Debian Debian //p' | sort --unique | head --lines=1)

chroot_pid=
remove_root() {
  if [ -n "$chroot_pid" ]; then
    kill -KILL "$chroot_pid"
    wait "$chroot_pid" || true
  fi
  # A test that was killed may leave loop devices whose files are here; they are the machine's, not
  # the namespace's.
  losetup --list --noheadings --output NAME,BACK-FILE | awk -v root="$root/" 'index($2, root) == 1 { print $1 }' |
    xargs --no-run-if-empty losetup --detach
  rm -rf --one-file-system "$root"
}
remove_root
rm -f build/hosts/debian-13.sha256
mkdir -p "$root" "$cache/base" "$cache/archives" "$packages"
trap remove_root EXIT

# Installs the base system and clones the repository into it.
make_root() {
  # shellcheck disable=SC2086 # without a mirror there is no argument
  setpriv --pdeathsig KILL unshare --mount --propagation private debootstrap --variant=minbase --cache-dir="$cache/base" trixie "$root" $mirror >"$cache/debootstrap.log" ||
    { tail "$cache/debootstrap.log" "$root/debootstrap/debootstrap.log" >&2 && return 1; }
  # The chroot is thrown away, and no documentation is read in it.
  printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/doc/*' 'path-exclude=/usr/share/locale/*' 'path-exclude=/usr/share/man/*' >"$root/etc/dpkg/dpkg.cfg.d/scratch"
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # no service is started by its package
  chmod 755 "$root/usr/sbin/policy-rc.d"
  # The network of this machine: names, and its certificate authorities.
  cp --dereference /etc/resolv.conf /etc/hosts "$root/etc/"
  cp --dereference /etc/ssl/certs/ca-certificates.crt "$root/etc/authorities.crt"
  mkdir -p "$root/var/cache/npm"
  git clone --quiet --no-local . "$root/srv/nibs"
}

# Everything that processes in the chroot get of this machine's environment is what they need to
# reach the network.
environment=(
  HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive
  NODE_EXTRA_CA_CERTS=/etc/authorities.crt npm_config_cache=/var/cache/npm npm_config_update_notifier=false
)
for name in CI DEBIAN_MIRROR http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
  [ -z "${!name:-}" ] || environment+=("$name=${!name}")
done

make_root
echo "Debian 13: base system installed in $SECONDS s"

# Downloads of this machine's npm, which the chroot reads and does not change. npm compares them
# with the checksums of the lock file.
npm_cache=$(npm config get cache)
mkdir -p "$npm_cache"

command=("${@:-test/hosts/in-debian-13.sh}")
# In the background, and waited for, so that a signal ends this script at once. Standard input stays
# that of this script.
exec 3<&0
# shellcheck disable=SC2016 # $… is for the shell in the namespaces
env --ignore-environment "${environment[@]}" setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --mount-proc bash -euc '
  root=$1 archives=$2 npm_cache=$3 packages=$4
  shift 4
  mount --bind "$root" "$root"
  for directory in dev sys; do mount --rbind "/$directory" "$root/$directory"; done
  mount -t proc proc "$root/proc"
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  mount --bind "$archives" "$root/var/cache/apt/archives"
  mkdir -p "$root/srv/nibs/build/cache/packages"
  mount --bind "$packages" "$root/srv/nibs/build/cache/packages"
  mkdir "$root/run/npm" "$root/run/npm/changed" "$root/run/npm/work"
  mount -t overlay -o "lowerdir=$npm_cache,upperdir=$root/run/npm/changed,workdir=$root/run/npm/work" npm "$root/var/cache/npm"
  # pivot_root, because engines and unshare(1) need the root of a mount namespace, not only of a
  # process.
  cd "$root"
  pivot_root . mnt
  exec chroot . sh -ec "umount --lazy /mnt; cd /srv/nibs; exec \"\$@\"" sh "$@"
' bash "$root" "$cache/archives" "$npm_cache" "$packages" "${command[@]}" <&3 &
chroot_pid=$!
status=0
wait "$chroot_pid" || status=$?
chroot_pid=
# Checksums of what was built, if anything was.
sums=$root/srv/nibs/build/products.sha256
[ ! -e "$sums" ] || cp "$sums" build/hosts/debian-13.sha256
exit "$status"
