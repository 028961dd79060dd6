#!/bin/sh
# The only process of a machine with disks of many kinds: puts them to their uses with the real
# tools, and prints what flatcar-install says of them.
export PATH=/usr/bin:/bin
export DM_DISABLE_UDEV=1
export TMPDIR=/tmp

/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /tmp /run /data /lv /hidden
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs run /run
mkdir -p /run/lock /run/mdadm /etc
while read -r module; do insmod "$module" 2>/dev/null; done </modules

# The device of this many bytes, which no other has. Waits for it: buses are probed meanwhile.
disk() {
	while :; do
		for directory in /sys/block/*; do
			[ "$(cat "$directory/size")" = $(($1 / 512)) ] && echo "/dev/${directory##*/}" && return
		done
		sleep 0.1
	done
}

part() {
	case $1 in *[0-9]) echo "$1p$2" ;; *) echo "$1$2" ;; esac
}

partition() {
	printf 'label: gpt\nstart=2048, size=4096\nstart=8192\n' | sfdisk --quiet "$1"
	while [ ! -b "$(part "$1" 2)" ]; do sleep 0.1; done
}

use() {
	for size in 26000000512 30000000000 11000000512 17179869184; do disk $size >/dev/null; done

	# Arrays and pools that are not active.
	first=$(disk 12000000000) second=$(disk 12100000256)
	partition "$first"
	partition "$second"
	mdadm --create /dev/md100 --run --level=1 --raid-devices=2 --assume-clean "$(part "$first" 2)" "$(part "$second" 2)"
	mdadm --stop /dev/md100
	lvm=$(disk 13000000000)
	partition "$lvm"
	pvcreate "$(part "$lvm" 2)"
	vgcreate --noudevsync idle "$(part "$lvm" 2)" 2>/dev/null || vgcreate idle "$(part "$lvm" 2)"
	luks=$(disk 14000000000)
	echo secret | cryptsetup luksFormat --batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$luks" -

	# In use.
	cached=$(disk 15000000000)
	make-bcache -B "$cached"
	echo "$cached" >/sys/fs/bcache/register
	path=$(disk 16000000000) other=$(disk 16100000256)
	numbers="$(cat "/sys/block/${path##*/}/dev") 1 $(cat "/sys/block/${other##*/}/dev") 1"
	dmsetup create mpatha --uuid mpath-3600140512345 \
		--table "0 31240000 multipath 0 0 1 1 service-time 0 2 1 $numbers"
	active=$(disk 17000000000)
	partition "$active"
	pvcreate "$(part "$active" 2)"
	vgcreate busy "$(part "$active" 2)"
	lvcreate --yes --wipesignatures n --zero n --size 1G --name data busy
	mke2fs -q -t ext4 /dev/mapper/busy-data
	mount /dev/mapper/busy-data /lv
	looped=$(disk 18000000000)
	partition "$looped"
	losetup /dev/loop0 "$(part "$looped" 2)"
	mke2fs -q -t ext4 /dev/loop0 1000000
	mount /dev/loop0 /data
	swapped=$(disk 19000000000)
	partition "$swapped"
	mkswap "$(part "$swapped" 2)" >/dev/null
	swapon "$(part "$swapped" 2)"
	hidden=$(disk 20000000000)
	mke2fs -q -t ext4 "$hidden" 1000000
	unshare --mount --propagation private sh -c "mount $hidden /hidden; touch /run/hidden; exec sleep 100000" &
	while [ ! -e /run/hidden ]; do sleep 0.1; done
	opened=$(disk 21000000000)
	echo secret | cryptsetup luksFormat --batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$opened" -
	echo secret | cryptsetup open --key-file - "$opened" plain
	one=$(disk 22000000000) two=$(disk 22100000256)
	mdadm --create /dev/md101 --run --level=1 --raid-devices=2 --assume-clean "$one" "$two"

	# Members where an image does not reach, with their superblocks at both ends of partitions.
	far=$(disk 24000000000)
	partition_far
	for metadata in 1.0,1,2 0.90,3,4 1.2,5,6; do
		IFS=, read -r version left right <<-END
			$metadata
		END
		mdadm --create /dev/md102 --run --level=1 --raid-devices=2 --assume-clean --metadata "$version" \
			"$(part "$far" "$left")" "$(part "$far" "$right")"
		mdadm --stop /dev/md102
	done
	pvcreate "$(part "$far" 7)"
	vgcreate far "$(part "$far" 7)"
	echo secret | cryptsetup luksFormat --batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$(part "$far" 8)" -
	make-bcache -B "$(part "$far" 9)"
}

# Nine partitions of 1 GiB each, from 2 GiB on.
partition_far() {
	{
		echo 'label: gpt'
		for number in 1 2 3 4 5 6 7 8 9; do echo "start=$((2097152 * (number + 1))), size=2097152"; done
	} | sfdisk --quiet --wipe-partitions never "$far"
	while [ ! -b "$(part "$far" 9)" ]; do sleep 0.1; done
}

# What the tools find on these partitions.
members_far() {
	for number in 1 2 3 4 5 6 7 8 9; do
		device=$(part "$far" $number)
		echo "$number wipefs: $(wipefs --noheadings --output TYPE "$device" | sort -u | tr '\n' ' ')"
		[ -n "$(blkid --probe --output value --match-tag TYPE "$device")" ] && echo "$number blkid"
		mdadm --examine "$device" >/dev/null 2>&1 && echo "$number mdadm"
		pvs "$device" >/dev/null 2>&1 && echo "$number LVM"
		cryptsetup isLuks "$device" && echo "$number LUKS"
	done
}

say() {
	echo "RESULT $1 $(base64 -w 0)"
}

case $(cat /proc/cmdline) in
*test=boot-entries*) . /boot-entries.sh ;;
*test=power-cuts*) . /power-cuts.sh ;;
esac

use 2>&1
flatcar-install --list-disks
flatcar-install --list-disks --json 2>&1 | say list
flatcar-install -y -s 2>&1 | say smallest
flatcar-install -y -s --never 'path=/dev/mapper/*' 2>&1 | say never
flatcar-install -y -s --wipe-members 2>&1 | say wipe
flatcar-install -y --match transport=usb 2>&1 | say usb
flatcar-install -y --match 'size>=29GB' 2>&1 | say large
for size in 15000000000 16000000000 17000000000 18000000000 19000000000 20000000000 21000000000 22000000000; do
	flatcar-install -y -d "$(disk $size)" 2>&1 | say "$size"
done
flatcar-install -y -d "$(disk 12000000000)" 2>&1 | say named
members_far 2>&1 | say before
flatcar-install -d "$far" -f /image.bin.bz2 --wipe-members 2>&1 | say erase
partition_far
members_far 2>&1 | say after
echo DONE
poweroff -f
