/**
 * The Debian packages that the products are made from. Their versions are in packages.lock.json.
 */
import { join } from 'node:path';
import type { DebianArchitecture, PackageSet } from '../debian/package.ts';

/** The lock file of the products; `make update` writes it. */
export const productLock = join(import.meta.dirname, 'packages.lock.json');

/** The boot image without its kernel and its engine. */
export const bootPackages: PackageSet = {
  name: 'boot',
  packages: [
    ...['busybox-static', 'kmod', 'rdate', 'ca-certificates', 'kbd', 'kexec-tools'],
    ...['udev', 'systemd', 'libkmod2'], // device manager and network manager, without the init system
    ...['util-linux', 'mount', 'btrfs-progs', 'efibootmgr', 'xz-utils', 'kpartx'], // for flatcar-install
    'libgcc-s1', // for the executable
  ],
  dependencies: 'all',
};

/** The container engines that the boot image can have. Both answer to Docker's API. */
export const engines = ['podman', 'docker'] as const;

export type Engine = (typeof engines)[number];

const packagesOfEngine: Readonly<Record<Engine, PackageSet>> = {
  podman: {
    name: 'engine-podman',
    packages: ['podman', 'crun', 'conmon', 'pigz'],
    dependencies: 'all',
    // Networks of containers, encrypted images and signatures.
    leftOut: /^(containernetworking-plugins|netavark|gnupg.*|gpg.*|dirmngr|pinentry-.*|iptables|libldap.*|libsasl.*)$/,
  },
  docker: {
    name: 'engine-docker',
    packages: ['docker.io', 'containerd', 'runc', 'pigz'],
    dependencies: 'all',
  },
};

/** The container engine. */
export function enginePackages(engine: Engine): PackageSet {
  return packagesOfEngine[engine];
}

/** The SSH server, which only images have that ask for it. */
export const sshPackages: PackageSet = { name: 'ssh', packages: ['dropbear-bin'], dependencies: 'all' };

/** Which kernel the boot image has: that of the release, or a newer one, for newer machines. */
export const kernels = ['stable', 'backports'] as const;

export type Kernel = (typeof kernels)[number];

/** The kernel of the boot image. */
export function kernelPackages(architecture: DebianArchitecture, kernel: Kernel): PackageSet {
  return {
    name: kernel === 'stable' ? 'kernel' : `kernel-${kernel}`,
    packages: [`linux-image-${architecture}`],
    dependencies: 'kernel',
    backports: kernel === 'backports',
  };
}

/** Which firmware the boot image has: none, that of server hardware, or that of all its drivers. */
export const firmwareChoices = ['none', 'servers', 'all'] as const;

export type FirmwareChoice = (typeof firmwareChoices)[number];

/** Firmware for the drivers of network cards and disk controllers. */
export const firmwarePackages: PackageSet = {
  name: 'firmware',
  packages: [
    ...[
      'firmware-bnx2',
      'firmware-bnx2x',
      'firmware-cavium',
      'firmware-intel-misc',
      'firmware-linux-free',
      'firmware-misc-nonfree',
    ],
    ...['firmware-myricom', 'firmware-netronome', 'firmware-netxen', 'firmware-qlogic', 'firmware-realtek'],
  ],
  dependencies: 'all',
};

/** What runs on the build machine: indexes modules, packs layers, lists the commands of busybox. */
export const toolPackages: PackageSet = {
  name: 'tools',
  packages: ['kmod', 'squashfs-tools', 'busybox-static'],
  dependencies: 'all',
};

/** What makes boot media: runs on the build machine. */
export const mediaToolPackages: PackageSet = {
  name: 'media-tools',
  packages: ['xorriso', 'mtools', 'grub-common', 'sbsigntool'],
  dependencies: 'all',
};

/**
 * The boot loaders of boot media, as files: Debian's shim, which Microsoft has signed, Debian's
 * signed GRUB, the parts of a GRUB for BIOS machines, and the start of a unified kernel image.
 */
export function bootLoaderPackages(architecture: DebianArchitecture): PackageSet {
  return {
    name: 'boot-loaders',
    packages: [
      ...['shim-signed', `grub-efi-${architecture}-signed`, 'systemd-boot-efi'],
      ...(architecture === 'amd64' ? ['grub-pc-bin'] : []),
    ],
    dependencies: 'none',
  };
}

/** The container image of the actions. libgcc-s1 is for the executable. */
export const actionPackages: PackageSet = {
  name: 'action-image',
  packages: 'busybox-static util-linux mount btrfs-progs efibootmgr udev xz-utils kpartx libgcc-s1'.split(' '),
  dependencies: 'all',
};

/** The container image of the agent: libraries of the executable. */
export const agentPackages: PackageSet = {
  name: 'agent-image',
  packages: ['libc6', 'libgcc-s1'],
  dependencies: 'all',
};

/** All sets of the products. */
export function productSets(architecture: DebianArchitecture): PackageSet[] {
  return [
    bootPackages,
    ...engines.map(enginePackages),
    sshPackages,
    firmwarePackages,
    toolPackages,
    mediaToolPackages,
    bootLoaderPackages(architecture),
    ...kernels.map((kernel) => kernelPackages(architecture, kernel)),
    actionPackages,
    agentPackages,
  ];
}
