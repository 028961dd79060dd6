#!/bin/bash
# Does what a new user does, following only the README: on a machine that has nothing but Debian's
# essential packages, installs what the README asks for, clones HEAD, and runs the command below
# "Try it", which ends with a login on an installed machine. `newcomer.sh HOST`: HOST is debian-12,
# debian-13 (each a chroot) or container (that of Containerfile, on a base made by debootstrap).
# `newcomer.sh HOST COMMAND` runs another command in the clone. Needs root, debootstrap, and a
# Debian or Ubuntu as host; the container needs `make setup` besides.
#
# build/hosts/HOST.transcript has all output, each line with the seconds since the start, and at its
# end the steps with their times. The clone comes from this machine, and nothing from a cache but
# the base system. At the end `make distclean` must leave nothing in the clone. COMPRESSION_LEVEL=3
# in the environment shortens the build of the boot image.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=test/hosts/root.sh
. test/hosts/root.sh

host=$1
case $host in
  debian-12) release=bookworm ;;
  debian-13 | container) release=trixie ;;
  *) echo "error: no such host: $host; choose debian-12, debian-13 or container" >&2 && exit 1 ;;
esac
# The first block of shell below "Try it".
from_readme=$(awk '/^## / { here = $0 == "## Try it" } /^```$/ { inside = 0 } inside { print } /^```sh$/ && here { inside = 1; here = 0 }' README.md)
command=${2:-$from_readme}

place=$PWD/build/hosts/newcomer-$host
transcript=$PWD/build/hosts/$host.transcript
user=
clean_up() {
  if [ -n "$user" ]; then
    # unshare(1) ignores other signals; an engine ends its containers.
    if [ "$host" = container ]; then kill "$user"; else kill -KILL "$user"; fi || true
    wait "$user" || true
  fi
  remove_root "$place"
}
clean_up
trap clean_up EXIT
make_root "$release" "$place/root" "$PWD/build/cache/hosts/$release"
git clone --quiet --bare --no-local . "$place/root/srv/nibs.git"

# What the user types, and what it prints.
# shellcheck disable=SC2016 # $… is for the user's shell
typed='run() { echo "\$ $*"; eval "$*"; }'
# shellcheck disable=SC2016
check_clean='left=$(git -c safe.directory="*" status --porcelain --ignored); [ -z "$left" ] || { echo "error: left in the clone: $left"; exit 1; }'
if [ "$host" = container ]; then
  # The engine's containers have no network of their own, and the registry of npm may be behind a
  # proxy of this machine.
  options="--network host --env NODE_EXTRA_CA_CERTS=/etc/authorities.crt ${COMPRESSION_LEVEL:+--env COMPRESSION_LEVEL=$COMPRESSION_LEVEL }"
  # shellcheck disable=SC2016
  mount='--volume "$PWD:/src"' privileges='--privileged --volume /dev:/dev'
  user_commands="$typed
    cd '$place'
    run git clone '$place/root/srv/nibs.git' nibs
    # It belongs to the person who cloned it, not to root.
    chown --recursive 1000:1000 nibs
    run cd nibs
    run docker build --network host --build-arg BASE=debian:13 --tag nibs --file Containerfile .
    run 'docker run --rm --user 1000:1000 $mount $options nibs make build unit'
    run 'docker run --rm $privileges $mount $options nibs $command'
    run 'docker run --rm $privileges $mount $options nibs make distclean'
    $check_clean"
  set -- node test/hosts/with-engine.ts "$place/root"
else
  user_commands="$typed
    cd
    run apt-get update --quiet=2
    run apt-get install --yes --quiet=2 --no-install-recommends git make nodejs npm
    node --version
    npm --version
    run git clone /srv/nibs.git nibs
    run cd nibs
    run '$command'
    run make distclean
    $check_clean"
  set -- test/hosts/enter-root.sh "$place/root" -- env ${COMPRESSION_LEVEL:+COMPRESSION_LEVEL="$COMPRESSION_LEVEL"}
fi

stamp() {
  local line
  while IFS= read -r line; do printf '%5d s  %s\n' "$((SECONDS - began))" "$line"; done
}

# Prints the steps of a transcript: each ends where the next one begins.
steps() {
  awk -v total="$1" '
    function ends(at) { if (step != "") printf "| %s | %d |\n", step, at - began; }
    function begins(name) { if (name != step) { ends($1); step = name; began = $1 } }
    BEGIN { print "| step | seconds |\n|---|---|" }
    { text = substr($0, 10) }
    text ~ /^\$ apt-get/ { begins("git, make, Node and npm of Debian") }
    text ~ /^\$ git clone/ { begins("clone") }
    text ~ /^\$ docker build/ { begins("container image") }
    text ~ /test\/run\.ts --unit/ { begins("unit tests") }
    text ~ /^npm ci/ { begins("npm packages") }
    text ~ /^installing Debian packages:/ { begins("Debian packages") }
    text ~ / executable\/build\.ts/ { begins("executable") }
    text ~ / initramfs\/build\.ts/ { begins("boot image") }
    text ~ / initramfs\/a[a-z]*-image\.ts/ { begins("container images of actions and agent") }
    text ~ /sandbox\/os-image\/build\.ts/ { begins("operating system to install") }
    text ~ / test\/e2e\/demo\.ts/ { begins("demo, from power-on to the login") }
    text ~ /^\$ .*make distclean/ { begins("make distclean") }
    END { ends(total); printf "| all | %d |\n", total }' "$transcript"
}

echo "$host, ${COMPRESSION_LEVEL:+COMPRESSION_LEVEL=$COMPRESSION_LEVEL, }commit $(git rev-parse --short HEAD), $(nproc) cores, load $(cut -d ' ' -f 1 /proc/loadavg) before"
began=$SECONDS
# In the background, and waited for, so that a signal ends this script at once.
"$@" bash -euc "$user_commands" > >(stamp | tee "$transcript") 2>&1 &
user=$!
status=0
wait "$user" || status=$?
user=
echo "exit code $status" | stamp | tee --append "$transcript"
steps "$((SECONDS - began))" | tee --append "$transcript"
exit "$status"
