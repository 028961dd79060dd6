# shellcheck shell=bash
# Root directories with Debian releases, in which other scripts try what this project needs on a
# machine that has nothing of it. To be sourced. Needs root, debootstrap, and a Debian or Ubuntu as
# host.

# Prints the mirror that this machine uses, or nothing: then debootstrap takes its default.
debian_mirror() {
  # shellcheck disable=SC2016 # $(…) is for apt
  apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' | sed -n 's/^Debian Debian //p' | sort --unique | head --lines=1
}

# make_root RELEASE ROOT CACHE [PACKAGES]: installs a base system into ROOT; CACHE is a directory
# for the packages of the base system, PACKAGES are further ones, separated by commas.
make_root() {
  local release=$1 root=$2 cache=$3 include=${4:-} mirror
  mirror=$(debian_mirror)
  mkdir -p "$root" "$cache"
  # shellcheck disable=SC2086 # without a mirror there is no argument
  setpriv --pdeathsig KILL unshare --mount --propagation private debootstrap --variant=minbase ${include:+--include="$include"} \
    --cache-dir="$cache" "$release" "$root" $mirror >"$cache/debootstrap.log" ||
    { tail "$cache/debootstrap.log" "$root/debootstrap/debootstrap.log" >&2 && return 1; }
  echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/scratch" # it is thrown away
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # no service is started by its package
  chmod 755 "$root/usr/sbin/policy-rc.d"
  # The network of this machine: names, and its certificate authorities.
  cp --dereference /etc/resolv.conf /etc/hosts "$root/etc/"
  cp --dereference /etc/ssl/certs/ca-certificates.crt "$root/etc/authorities.crt"
}

# remove_root ROOT: also detaches loop devices whose files are in it, which a test that was killed
# may leave; they are the machine's, not the namespace's.
remove_root() {
  losetup --list --noheadings --output NAME,BACK-FILE | awk -v root="$1/" 'index($2, root) == 1 { print $1 }' |
    xargs --no-run-if-empty losetup --detach
  rm -rf --one-file-system "$1"
}
