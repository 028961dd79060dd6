import type { MachineCard, MachineDisk, MachineOptions } from '../sandbox/machine.ts';

/**
 * How a machine gets to the boot image.
 *
 * - `ipxe`: the firmware's PXE loads iPXE by TFTP, and iPXE loads kernel and initramfs by HTTP.
 * - `ipxe-uki`: the same, and iPXE loads the unified kernel image.
 * - `shim`: the firmware's PXE loads the shim by TFTP, the shim GRUB, and GRUB kernel and
 *   initramfs, as `make netboot` lays them out.
 * - `http-shim`: the same, all of it by UEFI HTTP boot.
 * - `http-uki`: UEFI HTTP boot loads the unified kernel image.
 * - `iso-cd`, `iso-usb`: the ISO image, served as by smee, in a CD drive or as a USB stick.
 * - `disk-uki`: the unified kernel image, in the EFI system partition of a disk.
 * - `kernel`: started directly, without firmware: what matters comes after that.
 */
export type Way =
  | 'kernel'
  | 'ipxe'
  | 'ipxe-uki'
  | 'shim'
  | 'http-shim'
  | 'http-uki'
  | 'iso-cd'
  | 'iso-usb'
  | 'disk-uki';

/**
 * What may happen to a machine after its start, with what it needs for that.
 *
 * - `installed alone`: `nibs_install` installs without a tink server, the machine restarts, and the
 *   system on its disk starts.
 * - `failed alone`: `nibs_install` fails: the reason is on the console and in syslog, a report is
 *   stored by HTTP PUT, and the machine stays as it is.
 * - `installed over IPv6`: a workflow installs, with IPv6 as the only protocol of all servers.
 * - `ssh login`: with what a second initramfs adds, a key logs in and a module is loaded.
 * - `services killed`: engine (and containerd), agent, the script that starts it, network manager,
 *   device manager and watchdog are killed amid an action: each is started again, and the action
 *   goes on.
 * - `reset by the watchdog`: nothing feeds the watchdog any more, and the machine restarts.
 */
export type StoryName =
  | 'installed alone'
  | 'failed alone'
  | 'installed over IPv6'
  | 'ssh login'
  | 'services killed'
  | 'reset by the watchdog';

/** A virtual machine, and what it must come to. */
export interface Row {
  readonly name: string;
  readonly firmware: NonNullable<MachineOptions['firmware']>;
  /** Default: Microsoft's. With snakeoil the unified kernel image is signed with that key. */
  readonly enrolledKeys?: MachineOptions['enrolledKeys'];
  readonly way: Way;
  readonly card: NonNullable<MachineCard['model']>;
  /** Of an empty disk beside that of the way. */
  readonly disk: NonNullable<MachineDisk['bus']>;
  readonly memoryMiB: number;
  readonly architecture: 'x86_64';
  /**
   * The agent's first poll, when the disk is there by its identifier; the success of an action; the
   * end of a story; or a line of the console that refuses what must not start.
   */
  readonly until: 'first poll' | 'success' | StoryName | RegExp;
  /** True: a second initramfs of a site, with iPXE only; no registry can be reached. */
  readonly hasSecondInitramfs?: boolean;
  /**
   * With iPXE: the script of a server in scripts/, with the arguments that docs/tinkerbell.md adds.
   * Default: a script of the test's.
   *
   * - `boots`: of sandbox v0.1.0 (tinkerbell/boots at 58ab499: job/ipxe.go,
   *   installers/osie/main.go), for a machine with a workflow.
   * - `smee`: of current Tinkerbell (tinkerbell/tinkerbell at 9111b51:
   *   smee/internal/ipxe/script/hook.go), for a machine with a Hardware.
   * - `smee-static`: the same for a machine that it does not know (auto-proxy mode, static.go).
   */
  readonly script?: 'boots' | 'smee' | 'smee-static';
  /** What is changed in the files that the machine loads. Default: nothing. */
  readonly change?: 'kernel' | 'no signature';
}

const usual = { card: 'virtio-net-pci', disk: 'virtio', memoryMiB: 2048, architecture: 'x86_64' } as const;
const polls = { ...usual, until: 'first poll' } as const;

/** The rows that `make test-boot` runs, in this order. */
export const rows: readonly Row[] = [
  ...(['e1000', 'e1000e', 'vmxnet3', 'rtl8139'] as const).map(
    (card): Row => ({ ...polls, name: `card-${card}`, firmware: 'bios', way: 'kernel', card }),
  ),
  ...(['virtio', 'sata', 'scsi', 'megasas', 'pvscsi', 'nvme', 'usb', 'sd'] as const).map(
    (disk): Row => ({ ...polls, name: `disk-${disk}`, firmware: 'bios', way: 'kernel', disk }),
  ),
  { ...usual, name: 'install-alone', firmware: 'bios', way: 'kernel', until: 'installed alone' },
  { ...usual, name: 'install-alone-fails', firmware: 'bios', way: 'kernel', until: 'failed alone' },
  { ...usual, name: 'install-ipv6', firmware: 'bios', way: 'kernel', until: 'installed over IPv6' },
  { ...usual, name: 'module-and-ssh', firmware: 'bios', way: 'kernel', until: 'ssh login' },
  { ...usual, name: 'services-killed', firmware: 'bios', way: 'kernel', until: 'services killed' },
  { ...usual, name: 'hung', firmware: 'bios', way: 'kernel', until: 'reset by the watchdog' },
  { ...polls, name: 'memory-1-gib', firmware: 'bios', way: 'kernel', memoryMiB: 1024 },
  { ...polls, name: 'bios-ipxe', firmware: 'bios', way: 'ipxe' },
  {
    ...{ ...usual, name: 'bios-ipxe-two-initrds', firmware: 'bios', way: 'ipxe' },
    ...{ hasSecondInitramfs: true, until: 'success' },
  },
  ...(['boots', 'smee', 'smee-static'] as const).map(
    (script): Row => ({ ...polls, name: `bios-ipxe-${script}`, firmware: 'bios', way: 'ipxe', script }),
  ),
  { ...polls, name: 'uefi-ipxe-smee', firmware: 'uefi', way: 'ipxe', card: 'e1000', script: 'smee' },
  { ...polls, name: 'uefi-ipxe', firmware: 'uefi', way: 'ipxe', card: 'e1000' },
  {
    ...{ ...usual, name: 'uefi-ipxe-two-initrds', firmware: 'uefi', way: 'ipxe' },
    ...{ hasSecondInitramfs: true, until: 'success' },
  },
  { ...polls, name: 'uefi-ipxe-uki', firmware: 'uefi', way: 'ipxe-uki' },
  { ...polls, name: 'uefi-disk-uki', firmware: 'uefi', way: 'disk-uki', disk: 'nvme' },
  { ...polls, name: 'uefi-http-uki', firmware: 'uefi', way: 'http-uki' },
  { ...polls, name: 'uefi-http-shim', firmware: 'uefi', way: 'http-shim' },
  { ...polls, name: 'bios-iso-cd', firmware: 'bios', way: 'iso-cd', card: 'vmxnet3' },
  { ...polls, name: 'bios-iso-usb', firmware: 'bios', way: 'iso-usb', disk: 'sata' },
  { ...polls, name: 'uefi-iso-cd', firmware: 'uefi', way: 'iso-cd', disk: 'scsi' },
  { ...polls, name: 'uefi-iso-usb', firmware: 'uefi', way: 'iso-usb', card: 'e1000e' },
  { ...polls, name: 'secure-boot-shim', firmware: 'secure-boot', way: 'shim' },
  { ...polls, name: 'secure-boot-http-shim', firmware: 'secure-boot', way: 'http-shim' },
  { ...polls, name: 'secure-boot-iso-cd', firmware: 'secure-boot', way: 'iso-cd' },
  { ...polls, name: 'secure-boot-iso-usb', firmware: 'secure-boot', way: 'iso-usb' },
  { ...polls, name: 'own-key-disk-uki', firmware: 'secure-boot', enrolledKeys: 'snakeoil', way: 'disk-uki' },
  {
    ...{ ...usual, name: 'own-key-unsigned-uki', firmware: 'secure-boot', enrolledKeys: 'snakeoil', way: 'disk-uki' },
    ...{ change: 'no signature', until: /BdsDxe: failed to load .*: Access Denied/ },
  },
  {
    ...{ ...usual, name: 'secure-boot-changed-kernel', firmware: 'secure-boot', way: 'shim' },
    ...{ change: 'kernel', until: /bad shim signature/ },
  },
];
