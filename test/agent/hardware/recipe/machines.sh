#!/bin/sh
# machines.sh DIRECTORY [NAME…]: starts the virtual machines of README.md one after the other and
# records each into DIRECTORY/NAME.json. Run it as root on Debian 12 with qemu-system-x86,
# qemu-system-arm, udev, kmod and the boot image's packages in build/cache (make build).
set -e
here=$(dirname "$(readlink -f "$0")")
root=$(readlink -f "$here/../../../..")
target=$(readlink -f "$1")
shift
packages=$(ls -d "$root"/build/cache/packages-*/)
kernel=$(ls "$packages/lib/modules")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What udev needs of this host, the boot image's kernel and its drivers.
x86_root() {
	mkdir -p "$work/x86/bin" "$work/x86/lib/modules/$kernel"
	(cd "$work/x86" && mkdir -p proc sys dev run tmp etc sbin usr/bin usr/lib && ln -s ../lib usr/lib/root)
	for file in /lib/systemd/systemd-udevd /usr/bin/udevadm /bin/kmod /usr/lib/udev/ata_id /usr/lib/udev/scsi_id /usr/lib/udev/cdrom_id; do
		for path in "$file" $(ldd "$file" | grep -o '/[^ ]*'); do
			mkdir -p "$work/x86${path%/*}"
			cp -L "$path" "$work/x86$path"
		done
	done
	cp -a /usr/lib/udev "$work/x86/lib/"
	cp -a /usr/lib/udev/. "$work/x86/usr/lib/udev/"
	cp -L "$packages/bin/busybox" "$work/x86/bin/busybox"
	for applet in $("$packages/bin/busybox" --list); do [ -e "$work/x86/bin/$applet" ] || ln -s busybox "$work/x86/bin/$applet"; done
	for applet in modprobe insmod depmod lsmod; do ln -sf kmod "$work/x86/bin/$applet"; done
	cp "$here/init" "$work/x86/init"
	cp "$here/record" "$work/x86/record"
	for part in drivers/ata drivers/block drivers/cdrom drivers/scsi drivers/nvme drivers/virtio drivers/message/fusion drivers/mmc drivers/usb drivers/net/ethernet/intel \
		drivers/net/vmxnet3 drivers/net/bonding drivers/net/veth.ko drivers/net/dummy.ko drivers/net/virtio_net.ko drivers/net/net_failover.ko net lib arch crypto block drivers/gpu/drm drivers/video \
		drivers/i2c drivers/hid drivers/input drivers/base drivers/char drivers/acpi drivers/firmware drivers/ptp drivers/pps drivers/dca drivers/mfd drivers/misc; do
		[ -e "$packages/lib/modules/$kernel/kernel/$part" ] || continue
		mkdir -p "$work/x86/lib/modules/$kernel/kernel/${part%/*}"
		cp -a "$packages/lib/modules/$kernel/kernel/$part" "$work/x86/lib/modules/$kernel/kernel/${part%/*}/"
	done
	cp "$packages/lib/modules/$kernel"/modules.* "$work/x86/lib/modules/$kernel/"
	depmod -b "$work/x86" "$kernel"
}

# x86 NAME PREPARATION QEMU-ARGUMENT…
x86() {
	name=$1 preparation=$2
	shift 2
	wanted "$name" || return 0
	[ -d "$work/x86" ] || x86_root
	printf '%s\n' "$preparation" >"$work/x86/prepare"
	(cd "$work/x86" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initramfs"
	qemu-system-x86_64 -accel tcg,thread=single -nodefaults -display none -no-reboot -serial stdio \
		-kernel "$packages/boot/vmlinuz-$kernel" -initrd "$work/initramfs" -append "console=ttyS0 quiet panic=-1 net.ifnames=0" "$@" >"$work/console"
	"$root/node_modules/.bin/node" "$here/to-tree.ts" "$work/console" "$target/$name.json"
}

# arm NAME PREPARATION QEMU-ARGUMENT…: without udev. ARM_ROOT holds boot/vmlinuz, lib/modules and
# bin/busybox (static) of Debian's arm64 packages linux-image and busybox-static.
arm() {
	name=$1 preparation=$2
	shift 2
	wanted "$name" || return 0
	printf '%s\n' "$preparation" >"$ARM_ROOT/prepare"
	cp "$here/init" "$here/record" "$ARM_ROOT/"
	(cd "$ARM_ROOT" && mkdir -p proc sys dev run tmp && find . -path ./boot -prune -o -print | cpio -o -H newc --quiet | gzip -1) >"$work/initramfs"
	qemu-system-aarch64 -accel tcg -nodefaults -display none -no-reboot -serial stdio \
		-kernel "$ARM_ROOT"/boot/vmlinuz* -initrd "$work/initramfs" -append "console=ttyAMA0 quiet panic=-1 net.ifnames=0" "$@" >"$work/console"
	"$root/node_modules/.bin/node" "$here/to-tree.ts" "$work/console" "$target/$name.json"
}

wanted() {
	[ -z "$names" ] || echo " $names " | grep -q -F " $1 "
}

disk() {
	truncate -s "$2" "$work/$1"
	echo "if=none,format=raw,id=$1,file=$work/$1"
}

names=$*

x86 qemu-q35 '' -machine q35 -m 1024 -smp 2,sockets=1,cores=2 -cpu qemu64 \
	-smbios type=0,vendor=SeaBIOS,version=1.16.2-debian-1.16.2-1,date=04/01/2014 \
	-device virtio-net-pci,mac=52:54:00:12:34:56,netdev=n1 -netdev user,id=n1,restrict=on \
	-device VGA \
	-drive "$(disk vda 10G)" -device virtio-blk-pci,drive=vda,serial=root-disk \
	-drive "$(disk vdb 3000M)" -device virtio-blk-pci,drive=vdb,physical_block_size=4096 \
	-device virtio-scsi-pci -drive "$(disk sda 20G)" -device scsi-hd,drive=sda,serial=drive-0001,wwn=0x5000c50015ea71aa \
	-drive "$(disk sdb 1G)" -device scsi-hd,drive=sdb \
	-drive "$(disk sdc 5G)" -device ide-hd,bus=ide.0,drive=sdc,serial=QM00001,wwn=0x5000c50015ea71ab,model="QEMU HARDDISK" \
	-drive if=none,id=cd,media=cdrom -device ide-cd,bus=ide.1,drive=cd \
	-device qemu-xhci -drive "$(disk usb 512M)" -device usb-storage,drive=usb,serial=0123456789AB

x86 vmware '' -machine pc -m 2048 -smp 4,sockets=2,cores=2 \
	-cpu "Skylake-Server,model-id=Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz" \
	-smbios "type=0,vendor=Phoenix Technologies LTD,version=6.00,date=11/12/2020" \
	-smbios "type=1,manufacturer=VMware,, Inc.,product=VMware Virtual Platform,version=None,serial=VMware-56 4d 0a 1b 2c 3d 4e 5f-60 71 82 93 a4 b5 c6 d7" \
	-smbios "type=2,manufacturer=Intel Corporation,product=440BX Desktop Reference Platform,version=None,serial=None" \
	-smbios "type=3,manufacturer=No Enclosure,version=N/A,serial=None" \
	-device vmxnet3,mac=00:50:56:01:02:03,netdev=n1 -netdev user,id=n1,restrict=on \
	-device e1000,mac=00:0c:29:01:02:04,netdev=n2 -netdev user,id=n2,restrict=on \
	-device vmware-svga -device pvscsi -drive "$(disk sda 40G)" -device "scsi-hd,drive=sda,vendor=VMware,product=Virtual disk,ver=2.0" \
	-drive if=none,id=cd,media=cdrom -device ide-cd,drive=cd,model="VMware Virtual IDE CDROM Drive"

x86 virtualbox '' -machine pc -m 1024 -smp 1 \
	-cpu "Skylake-Client,model-id=Intel(R) Core(TM) i7-8565U CPU @ 1.80GHz" \
	-smbios "type=0,vendor=innotek GmbH,version=VirtualBox,date=12/01/2006" \
	-smbios "type=1,manufacturer=innotek GmbH,product=VirtualBox,version=1.2,serial=0,family=Virtual Machine" \
	-smbios "type=2,manufacturer=Oracle Corporation,product=VirtualBox,version=1.2,serial=0" \
	-smbios "type=3,manufacturer=Oracle Corporation" \
	-device e1000,mac=08:00:27:0a:0b:0c,netdev=n1 -netdev user,id=n1,restrict=on -device vmware-svga \
	-device ahci,id=sata -drive "$(disk sda 20G)" -device "ide-hd,bus=sata.0,drive=sda,model=VBOX HARDDISK,serial=VB1a2b3c4d-5e6f7a8b,ver=1.0" \
	-drive if=none,id=cd,media=cdrom -device "ide-cd,drive=cd,model=VBOX CD-ROM,serial=VB2-01700376,ver=1.0"

x86 server-bonds-vlans '
modprobe -a bonding 8021q bridge dummy veth
ip link add bond0 type bond mode active-backup miimon 100
for card in eth0 eth1; do ip link set $card down; ip link set $card master bond0; done
for card in eth0 eth1 bond0 eth2; do ip link set $card up; done
ip link add link bond0 name bond0.100 type vlan id 100
ip link add link eth2 name storage type vlan id 200
ip link add br0 type bridge
ip link set bond0.100 master br0
ip link add dummy0 type dummy
ip link add veth0 type veth peer name veth1
for name in bond0.100 storage br0; do ip link set $name up; done
echo 0 >/sys/devices/system/cpu/cpu7/online
sleep 2' \
	-machine q35 -m 4096 -smp 8,sockets=2,cores=2,threads=2 -object memory-backend-ram,id=m0,size=2G -object memory-backend-ram,id=m1,size=2G -numa node,cpus=0-3,nodeid=0,memdev=m0 -numa node,cpus=4-7,nodeid=1,memdev=m1 \
	-cpu "Cascadelake-Server,model-id=Intel(R) Xeon(R) Silver 4210 CPU @ 2.20GHz" \
	-smbios "type=0,vendor=Dell Inc.,version=2.8.2,date=08/27/2020" \
	-smbios "type=1,manufacturer=Dell Inc.,product=PowerEdge R640,version=Not Specified,serial=ABC1234,sku=SKU=NotProvided;ModelName=PowerEdge R640" \
	-smbios "type=2,manufacturer=Dell Inc.,product=0RGP26,version=A01,serial=.ABC1234.CNIVC0099A0001." \
	-smbios "type=3,manufacturer=Dell Inc.,serial=ABC1234,version=N/A" \
	-device e1000e,mac=e4:43:4b:00:00:01,netdev=n1 -netdev user,id=n1,restrict=on \
	-device e1000e,mac=e4:43:4b:00:00:02,netdev=n2 -netdev user,id=n2,restrict=on \
	-device e1000e,mac=e4:43:4b:00:00:03,netdev=n3 -netdev user,id=n3,restrict=on \
	-device e1000e,mac=e4:43:4b:00:00:04 -device VGA \
	-device megasas -drive "$(disk sda 480G)" -device "scsi-hd,drive=sda,vendor=DELL,product=PERC H740P Mini,ver=5.13,wwn=0x6d09466000000001,serial=00a1b2c3d4e5f60027" \
	-drive "$(disk sdb 4T)" -device "scsi-hd,drive=sdb,vendor=SEAGATE,product=ST4000NM0295,ver=DT31,wwn=0x5000c500a0b0c0d3,serial=ZC100001,rotation_rate=7200,physical_block_size=4096"

x86 nvme-multipath '' -machine q35 -m 1024 -smp 2,sockets=1,cores=1,threads=2 \
	-cpu "EPYC-Rome,model-id=AMD EPYC 7302P 16-Core Processor" \
	-smbios "type=0,vendor=American Megatrends Inc.,version=2.1,date=02/21/2020" \
	-smbios "type=1,manufacturer=Supermicro,product=AS -1014S-WTRT,version=0123456789,serial=S000000X0000001" \
	-smbios "type=2,manufacturer=Supermicro,product=H12SSW-NT,version=1.01,serial=WM000S000001" \
	-smbios "type=3,manufacturer=Supermicro,version=0123456789,serial=C000000X00N0001" \
	-device virtio-net-pci,mac=3c:ec:ef:00:00:01,netdev=n1 -netdev user,id=n1,restrict=on \
	-device nvme-subsys,id=shared,nqn=shared \
	-device nvme,id=path0,serial=S64GNE0R000001,subsys=shared -device nvme,id=path1,serial=S64GNE0R000001,subsys=shared \
	-drive "$(disk shared 1788G)" -device nvme-ns,drive=shared,nsid=1,shared=on,uuid=8d5fa2b1-0000-4000-8000-000000000001 \
	-device nvme,id=single,serial=PHLJ000000000001 -drive "$(disk single 960G)" -device nvme-ns,bus=single,drive=single,nsid=1,eui64=0x5cd2e4a1b2c30001,logical_block_size=4096,physical_block_size=4096

arm aarch64-devicetree 'modprobe -a virtio_mmio virtio_pci virtio_blk virtio_net virtio_scsi sd_mod 2>/dev/null; sleep 3' -machine virt,acpi=off -cpu cortex-a72 -m 1024 -smp 2 \
	-device virtio-net-device,mac=02:00:00:aa:bb:01,netdev=n1 -netdev user,id=n1,restrict=on \
	-drive "$(disk vda 8G)" -device virtio-blk-device,drive=vda,serial=emmc-0001 \
	-device virtio-scsi-device -drive "$(disk sda 2G)" -device scsi-hd,drive=sda,serial=SER0001,wwn=0x5000c500deadbe01
