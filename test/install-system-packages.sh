#!/bin/sh
# Installs the Debian packages that building and testing need and that this machine lacks. Needs root and apt.
set -eu

wanted=$(sed 's/#.*//' "$(dirname "$0")/system-packages.txt")
missing= stale=
for package in $wanted; do
  status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing="$missing $package"
done
# The boot image is made from packages that apt fetches, so apt must know of some.
apt-cache show busybox-static >/dev/null 2>&1 || stale=yes
[ -n "$missing" ] || [ -n "$stale" ] || exit 0

echo "installing Debian packages:$missing"
if [ "$(id -u)" != 0 ]; then
  echo "error: installing Debian packages needs root; run this as root, or install them yourself: apt-get install$missing" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing >/dev/null
