#!/bin/sh
# pci-ids.sh DATABASE: prints the lines of the PCI ID Database (Debian's package pci.ids) that the
# machines need: their vendors and devices, the classes, and some lines below devices and classes,
# which no name may be taken from.
here=$(dirname "$(readlink -f "$0")")
cat <<END
# The lines of the PCI ID Database (https://pci-ids.ucw.cz/, version 2023.04.11, here under its
# 3-clause BSD licence) that the machines need.
END
cat "$here"/../machines/*.json | grep -oiE 'pci:v0000[0-9A-F]{4}d0000[0-9A-F]{4}' | sort -u | awk -v database="$1" '
	{ vendor = tolower(substr($0, 10, 4)); vendors[vendor] = 1; devices[vendor tolower(substr($0, 19, 4))] = 1 }
	END {
		while ((getline line < database) > 0) {
			if (line ~ /^C /) { class = substr(line, 3, 2); print line }
			else if (class != "") { if (class == "02") print line }
			else if (line ~ /^[0-9a-f][0-9a-f][0-9a-f][0-9a-f]  /) { vendor = substr(line, 1, 4); wanted = 0; if (vendor in vendors) print line }
			else if (line ~ /^\t[0-9a-f]/) { wanted = (vendor substr(line, 2, 4)) in devices; if (wanted) print line }
			else if (wanted && line ~ /QEMU/) print line
		}
	}'
