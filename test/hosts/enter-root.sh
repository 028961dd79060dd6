#!/bin/bash
# enter-root.sh ROOT [SOURCE=TARGET...] -- COMMAND...: runs a command with ROOT, which make_root()
# of root.sh has made, as its root file system. Needs root.
#
# The directories SOURCE are seen as TARGET. With a + before it, a SOURCE is not changed by what the
# command writes there.
#
# The command has mount and PID namespaces of its own: all its mounts and processes end with this
# process, even if it is killed.
set -euo pipefail

# Everything that the command gets of this machine's environment is what it needs to reach the
# network.
environment=(
  HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive
  NODE_EXTRA_CA_CERTS=/etc/authorities.crt
)
for name in CI DEBIAN_MIRROR http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
  [ -z "${!name:-}" ] || environment+=("$name=${!name}")
done

# shellcheck disable=SC2016 # $… is for the shell in the namespaces
exec env --ignore-environment "${environment[@]}" setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --mount-proc bash -euc '
  root=$1
  shift
  mount --bind "$root" "$root"
  for directory in dev sys; do mount --rbind "/$directory" "$root/$directory"; done
  mount -t proc proc "$root/proc"
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  while [ "$1" != -- ]; do
    source=${1%%=*} target=$root${1#*=}
    mkdir -p "$target"
    case $source in
      +*)
        changes=$(mktemp --directory --tmpdir="$root/run")
        mkdir "$changes/upper" "$changes/work"
        mount -t overlay -o "lowerdir=${source#+},upperdir=$changes/upper,workdir=$changes/work" overlay "$target"
        ;;
      *) mount --bind "$source" "$target" ;;
    esac
    shift
  done
  shift
  # pivot_root, because engines and unshare(1) need the root of a mount namespace, not only of a
  # process.
  cd "$root"
  pivot_root . mnt
  exec chroot . sh -ec "umount --lazy /mnt; exec \"\$@\"" sh "$@"
' bash "$@"
