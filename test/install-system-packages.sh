#!/bin/sh
# Installs the Debian packages that building and testing need and that this machine lacks. Needs
# root and apt. `install-system-packages.sh LIST` installs those of another list; `-` is standard
# input.
set -eu

export DEBIAN_FRONTEND=noninteractive

is_known() { apt-cache show "$1" >/dev/null 2>&1; }
is_installed() { [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
need_root() {
  [ "$(id -u)" = 0 ] || { echo "error: $1 needs root; run this as root, or do it yourself: $2" >&2 && exit 1; }
}

# Without package lists, apt knows none of the optional packages.
is_known busybox-static || { need_root 'reading the package lists' 'apt-get update' && apt-get update -qq && updated=yes; }

wanted=$(sed 's/#.*//' "${1:-$(dirname "$0")/system-packages.txt}")
missing=
for name in $wanted; do
  package=${name%\?}
  is_installed "$package" && continue
  [ "$package" = "$name" ] || is_known "$package" || continue
  missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "installing Debian packages:$missing"
need_root 'installing Debian packages' "apt-get install$missing"
[ -n "${updated:-}" ] || apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing >/dev/null
