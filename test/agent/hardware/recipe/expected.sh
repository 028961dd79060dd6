#!/bin/sh
# Writes expected/NAME.json for all machines: what the library of tink-agent finds out about them.
# Needs Go and the Go module proxy.
set -e
here=$(dirname "$(readlink -f "$0")")
data=$here/..
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
(cd "$here/reference" && go build -o "$scratch/reference" .)
mkdir -p "$data/expected"
for tree in "$data"/machines/*.json; do
	name=$(basename "$tree" .json)
	mkdir -p "$scratch/$name/usr/share/misc"
	"$data/../../../node_modules/.bin/node" "$here/lay-out.ts" "$name" "$scratch/$name"
	cp "$data/pci.ids" "$scratch/$name/usr/share/misc/"
	"$scratch/reference" "$scratch/$name" >"$data/expected/$name.json" 2>/dev/null
done
