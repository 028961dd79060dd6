#!/bin/bash
# Sets up and builds a clean clone of HEAD with npm as Debian 13, Node 20 and Node 24 ship it, one
# after the other, on the machine's Node. The executable must be the same bytes each time; its
# SHA-256 is in build/hosts/npm.sha256 afterwards. `npm-versions.sh VERSION...` takes other
# versions.
set -euo pipefail
cd "$(dirname "$0")/../.."

# npm before 11.10 has no node_modules/.bin/node here; 9.2 is Debian 13's.
versions=("$@")
[ $# != 0 ] || versions=(9.2.0 10.8.2 11.6.2)

scratch=$PWD/build/hosts/npm
rm -rf "$scratch"
mkdir -p "$scratch"
trap 'rm -rf "$scratch"' EXIT

for version in "${versions[@]}"; do
  began=$SECONDS
  npm install --silent --no-save --prefix "$scratch/npm-$version" "npm@$version"
  clone=$scratch/clone
  rm -rf "$clone"
  git clone --quiet --no-local . "$clone"
  PATH="$scratch/npm-$version/node_modules/.bin:$PATH" make --no-print-directory -C "$clone" setup build 2>&1 | tee "$scratch/log"
  if grep --ignore-case EBADENGINE "$scratch/log"; then
    echo "error: npm $version prints warnings about the machine's Node, which does not run the packages" >&2
    exit 1
  fi
  "$clone/build/tink-agent" --version
  # `sha256sum` prints the path too; only the sum is compared.
  sha256sum <"$clone/build/tink-agent" >>"$scratch/sums"
  echo "npm $version: set up and built in $((SECONDS - began)) s"
done

if [ "$(sort --unique "$scratch/sums" | wc --lines)" != 1 ]; then
  echo "error: the executable differs by the version of npm (${versions[*]}):" >&2
  cat "$scratch/sums" >&2
  exit 1
fi
cp "$scratch/sums" build/hosts/npm.sha256
