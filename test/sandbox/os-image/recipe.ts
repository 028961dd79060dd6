/** What the image consists of: everything that can be decided without looking at a package. */

/** Version of the operating system; the installer finds the image under this name. */
export const osVersion = '1.0.0';

/** Partition type of the file systems /usr: `flatcar-rootfs`. */
const usrType = '5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6';

/** One entry of the partition table. */
export interface Partition {
  readonly number: number;
  readonly label: string;
  readonly typeGuid: string;
  readonly guid: string;
  /** A multiple of 2 MiB, to which the partitions are aligned. */
  readonly sizeMiB: number;
  /** Bits of the GPT attribute field that are set. */
  readonly attributeBits?: readonly number[];
}

/**
 * The GUID every image is made with; a first boot of the real system looks for it to give the disk
 * its own.
 */
export const diskGuid = '00000000-0000-0000-0000-000000000001';

/** 2 MiB in front of the first partition. */
export const firstPartitionMiB = 2;

/** The raw image, a multiple of 126 MiB (258,048 sectors) like the original. */
export const imageSizeMiB = 8 * 126;

/**
 * Flatcar's partitions (build_library/disk_layout.json of flatcar/scripts): numbers, labels, types
 * and attributes are the original's, the GUIDs too where the original fixes them (3 and 4). The
 * sizes are cut down to what is used. Bits 48 to 51 are the boot priority, bit 56 says that the
 * system has booted well (Chrome OS' attributes).
 */
export const partitions = [
  {
    number: 1,
    label: 'EFI-SYSTEM',
    typeGuid: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b',
    guid: 'f2f0d7a1-5a0e-4f0e-9c8b-6e1b50000001',
    sizeMiB: 64,
  },
  {
    number: 2,
    label: 'BIOS-BOOT',
    typeGuid: '21686148-6449-6e6f-744e-656564454649',
    guid: 'f2f0d7a1-5a0e-4f0e-9c8b-6e1b50000002',
    sizeMiB: 2,
  },
  {
    number: 3,
    label: 'USR-A',
    typeGuid: usrType,
    guid: '7130c94a-213a-4e5a-8e26-6cce9662f132',
    sizeMiB: 256,
    attributeBits: [48, 56],
  },
  { number: 4, label: 'USR-B', typeGuid: usrType, guid: 'e03dd35c-7c2d-4a47-b3fe-27f15780a57c', sizeMiB: 256 },
  {
    number: 6,
    label: 'OEM',
    typeGuid: '0fc63daf-8483-4772-8e79-3d69d8477de4',
    guid: 'f2f0d7a1-5a0e-4f0e-9c8b-6e1b50000006',
    sizeMiB: 128,
  },
  {
    number: 7,
    label: 'OEM-CONFIG',
    typeGuid: 'c95dc21a-df0e-4340-8d7b-26cbfa9a03e0',
    guid: 'f2f0d7a1-5a0e-4f0e-9c8b-6e1b50000007',
    sizeMiB: 64,
  },
  {
    number: 9,
    label: 'ROOT',
    typeGuid: '3884dd41-8582-4404-b9a8-e9b84f2df50e',
    guid: 'f2f0d7a1-5a0e-4f0e-9c8b-6e1b50000009',
    sizeMiB: 230,
  },
] as const satisfies readonly Partition[];

/** Debian packages whose contents, with what they depend on, make the system. */
export const packages = [
  'bash',
  'btrfs-progs',
  'busybox-static',
  'coreutils',
  'dash',
  'dbus',
  'findutils',
  'grep',
  'ignition',
  'iproute2',
  'iputils-ping',
  'kmod',
  'less',
  'libc-bin',
  'libpam-modules',
  'mount',
  'openssh-client',
  'openssh-server',
  'passwd',
  'procps',
  'sed',
  'sudo',
  'systemd',
  'udev',
  'util-linux',
];

/** Dependencies that only maintainer scripts use; those are not run here. */
export const packagesLeftOut =
  /^(adduser|debconf|dpkg|gcc-14-base|init-system-helpers|initramfs-tools.*|klibc-utils|libklibc|logsave|lsb-base|lib.*-perl|libperl.*|perl.*|runit-helper|sensible-utils|sysvinit-utils|tar|ucf|usrmerge)$/;

/** Files of packages that are not needed here. */
export const pathsLeftOut = [
  './usr/share/doc',
  './usr/share/info',
  './usr/share/lintian',
  './usr/share/locale',
  './usr/share/man',
  './usr/share/bash-completion',
  './usr/share/zsh',
  './usr/share/bug',
  './usr/lib/udev/hwdb.d',
  './usr/lib/udev/rules.d/85-hwclock.rules',
  './usr/lib/systemd/catalog',
  './usr/lib/x86_64-linux-gnu/gconv',
];

/**
 * Kernel modules, by name; those they need come along. Disks and cards of machines, virtual ones
 * first.
 */
export const kernelModules = [
  ...['virtio_pci', 'virtio_blk', 'virtio_scsi', 'virtio_net', 'virtio_rng'],
  ...['ahci', 'ata_piix', 'nvme', 'sd_mod', 'usb_storage', 'uas', 'xhci_pci', 'ehci_pci'],
  ...['mpt3sas', 'megaraid_sas', 'vmw_pvscsi', 'mptspi'],
  ...['e1000', 'e1000e', 'igb', 'ixgbe', 'r8169', 'tg3', 'vmxnet3', '8139cp'],
  ...['ext4', 'btrfs', 'vfat', 'nls_cp437', 'nls_ascii', 'overlay', 'loop'],
  // Asked for by name through the kernel's crypto interface, which depmod cannot see.
  ...['crc32c_generic', 'crc32c_intel', 'xxhash_generic', 'sha256_generic', 'blake2b_generic'],
  ...['af_packet', 'autofs4', 'efivarfs', 'configfs', 'i6300esb'],
];

/**
 * Of all that Debian's systemd starts, what this system needs; every start costs time under
 * emulation.
 */
export const unitsStarted = {
  'sysinit.target.wants': [
    'systemd-journald.service',
    'systemd-udevd.service',
    'systemd-udev-trigger.service',
    'systemd-tmpfiles-setup.service',
    'systemd-sysctl.service',
    'systemd-modules-load.service',
  ],
  'sockets.target.wants': [
    'dbus.socket',
    'systemd-journald-dev-log.socket',
    'systemd-journald.socket',
    'systemd-udevd-control.socket',
    'systemd-udevd-kernel.socket',
  ],
  'timers.target.wants': [],
  'local-fs.target.wants': [],
  'graphical.target.wants': [],
  'multi-user.target.wants': [
    'nibs-host-key.service',
    'nibs-ready.service',
    'sshd.service',
    'systemd-networkd.service',
    'systemd-user-sessions.service',
  ],
} as const;

/**
 * Programs of the initramfs beside busybox, with the libraries they need. Ignition calls the last
 * three.
 */
export const initramfsPrograms = [
  { from: 'usr/lib/dracut/modules.d/30ignition/ignition', to: 'usr/bin/ignition' },
  { from: 'usr/sbin/groupadd', to: 'usr/sbin/groupadd' },
  { from: 'usr/sbin/useradd', to: 'usr/sbin/useradd' },
  { from: 'usr/sbin/usermod', to: 'usr/sbin/usermod' },
];

/**
 * The time of all files, in seconds since 1970 (2024-01-01). With it boot partition, kernel and
 * initramfs come out the same from the same inputs; the btrfs and ext4 file systems still differ in
 * UUIDs and inode times that their tools make up.
 */
export const timestampSeconds = 1_704_067_200;
