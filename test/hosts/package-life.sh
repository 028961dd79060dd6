#!/bin/bash
# Installs, upgrades, removes and purges the packages in a directory, on a system that is thrown
# away afterwards and has systemd, but does not run it. Needs root.
set -euo pipefail

directory=$1
architecture=$(dpkg --print-architecture)
export DEBIAN_FRONTEND=noninteractive

fail() { echo "error: $*" >&2; exit 1; }
is_enabled() { [ "$(systemctl is-enabled tink-agent.service 2>/dev/null)" = enabled ]; }

# Files outside of what dpkg, systemd's helper and shells keep for themselves.
list_files() {
  find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /packages -o -path /srv -o -path /var/lib/dpkg -o -path /var/log -o -path /var/cache \) \
    -prune -o -print | sort
}

# The same packages as an earlier version.
earlier=$(mktemp -d)
for name in flatcar-install tink-agent; do
  found=("$directory/${name}"_*_"$architecture.deb")
  [ -e "${found[0]}" ] || fail "no package $name in $directory"
  version=$(dpkg-deb --field "${found[0]}" Version)
  dpkg-deb --raw-extract "${found[0]}" "$earlier/$name"
  sed -i "s/^Version: .*/Version: 0.0.1/; s/(= .*)/(= 0.0.1)/" "$earlier/$name/DEBIAN/control"
  dpkg-deb --root-owner-group -Zxz -z0 --build "$earlier/$name" "$earlier/$name.deb" >/dev/null
done
packages=("$directory"/flatcar-install_*_"$architecture.deb" "$directory"/tink-agent_*_"$architecture.deb")

list_files >/tmp/before

echo 'installing'
dpkg --install "$earlier/flatcar-install.deb" "$earlier/tink-agent.deb" >/dev/null
for program in flatcar-install image2disk tink-agent tink-worker; do "$program" --version | grep --quiet "^$program (nibs) "; done
is_enabled && fail 'the service is enabled after the installation'
systemd-analyze verify --man=no tink-agent.service
systemctl --quiet enable tink-agent.service
echo 'ID=of-this-machine' >>/etc/default/tink-agent
mkdir -p /var/lib/nibs
touch /var/lib/nibs/journal.jsonl

echo 'upgrading'
dpkg --install "${packages[@]}" >/dev/null
# shellcheck disable=SC2016 # $… is for dpkg-query
[ "$(dpkg-query --show --showformat='${Version}' tink-agent)" = "$version" ] || fail 'the version is not the new one'
is_enabled || fail 'the service is not enabled any more after the upgrade'
grep --quiet of-this-machine /etc/default/tink-agent || fail 'a changed setting is lost'
[ -e /var/lib/nibs/journal.jsonl ] || fail 'the journal is lost'
differing=$(dpkg --verify flatcar-install tink-agent | grep --invert-match ' c /etc/default/tink-agent$' || true)
[ -z "$differing" ] || fail "installed files differ from those of the packages: $differing"

echo 'removing'
dpkg --remove tink-agent flatcar-install >/dev/null
for path in /usr/sbin/tink-agent /usr/lib/nibs/nibs /usr/lib/systemd/system/tink-agent.service; do
  [ ! -e "$path" ] || fail "$path is left after the removal"
done
for path in /etc/default/tink-agent /var/lib/nibs/journal.jsonl; do
  [ -e "$path" ] || fail "the removal took $path"
done

echo 'purging'
dpkg --purge tink-agent >/dev/null
list_files >/tmp/after
differing=$(diff /tmp/before /tmp/after || true)
[ -z "$differing" ] || fail "the purge left or took files: $differing"
echo 'nothing is left'
