import { link, mkdir, readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Architecture } from '../debian/architecture.ts';
import { linkToUsr } from '../debian/unpack.ts';
import { runTool } from '../tools/run-tool.ts';
import type { BuildTools } from './build-tools.ts';

/**
 * Kernel modules of the image on every architecture, as paths below
 * lib/modules/<version>/kernel: a directory with all its modules, or one module without `.ko`;
 * with `?` at the end what only some kernels have, with `!` before it what is left out of the
 * directories. Their dependencies are added. The aim is every
 * network card and every disk of a server: without the driver of its card a machine cannot be
 * installed.
 */
const modulesOfAll = [
  // Network cards, including virtual and USB ones; tagged networks and bonds.
  ...['drivers/net/ethernet', 'drivers/net/phy', 'drivers/net/mdio', 'drivers/net/pcs', 'drivers/net/usb'],
  ...['drivers/net/virtio_net', 'drivers/net/vmxnet3', 'drivers/net/hyperv', 'drivers/net/xen-netfront'],
  ...[
    'drivers/net/bonding',
    'drivers/net/veth',
    'drivers/net/macvlan',
    'drivers/net/dummy',
    'drivers/net/tun',
    'net/8021q',
    'net/bridge',
  ],
  ...['net/packet'],
  // Disks: SATA, SAS and RAID controllers, NVMe (also behind Intel's VMD), virtual ones, USB and SD
  // cards.
  ...['drivers/ata', 'drivers/nvme/host', 'drivers/scsi', 'drivers/message', 'drivers/block', 'drivers/pci/controller'],
  ...['drivers/mmc', 'drivers/usb/host', 'drivers/usb/storage', 'drivers/cdrom', 'drivers/nvdimm', 'drivers/md'],
  // Disks of other machines, and what makes this machine a disk of others: a MB when packed.
  ...['!drivers/block/drbd', '!drivers/block/rbd', '!drivers/md/md-cluster', '!drivers/scsi/qla2xxx/tcm_qla2xxx'],
  ...['!drivers/nvme/host/nvme-rdma', '!drivers/block/aoe', '!drivers/block/xen-blkback'],
  // A MB of what no installation needs: deduplicated disks, disks for tests, floppies, modems,
  // filters of frames on a bridge (the image has no tool for them), cards of laptops before 2008,
  // and the watchdog of Intel's management engine (its machines have another).
  ...['!drivers/md/dm-vdo', '!drivers/block/null_blk', '!drivers/block/floppy', '!drivers/watchdog/mei_wdt'],
  ...['!drivers/net/usb/hso', '!drivers/net/usb/qmi_wwan', '!drivers/net/usb/sierra_net', '!net/bridge/netfilter'],
  ...['!drivers/ata/pata_pcmcia', '!drivers/scsi/pcmcia', '!drivers/mmc/host/sdricoh_cs', '!drivers/usb/host/sl811_cs'],
  ...['3com/3c574_cs', '3com/3c589_cs', '8390/axnet_cs', '8390/pcnet_cs', 'amd/nmclan_cs'].map(leftOutCard),
  ...['fujitsu/fmvj18x_cs', 'smsc/smc91c92_cs', 'xircom/xirc2ps_cs'].map(leftOutCard),
  ...['drivers/virtio', 'drivers/hv', 'drivers/char/virtio_console', 'drivers/firmware/qemu_fw_cfg'],
  // File systems of installed systems and of the image's own root, and their algorithms.
  ...['fs/ext4', 'fs/btrfs', 'fs/xfs', 'fs/fat', 'fs/overlayfs', 'fs/squashfs', 'fs/isofs', 'fs/efivarfs', 'fs/fuse'],
  ...['fs/nls/nls_cp437', 'fs/nls/nls_ascii', 'fs/nls/nls_iso8859-1', 'fs/nls/nls_utf8'],
  // Kernels after 6.12 have these algorithms as libraries, which their users depend on.
  ...['crypto/crc32c_generic?', 'crypto/xxhash_generic?', 'crypto/sha256_generic?', 'crypto/blake2b_generic?'],
  ...['crypto/xts', 'crypto/ecb', 'crypto/cbc', 'crypto/essiv'],
  // The machine itself: watchdogs, management controller, randomness, keyboard and power button.
  ...['drivers/watchdog', 'drivers/char/ipmi', 'drivers/char/hw_random', 'drivers/char/tpm', 'drivers/acpi/button'],
  ...['drivers/hid/usbhid/usbhid', 'drivers/hid/hid-generic', 'drivers/hid/hid', 'drivers/input/evdev'],
];

function leftOutCard(name: string): string {
  return `!drivers/net/ethernet/${name}`;
}

/** Modules that mount the root file system of the image, in the form of {@link moduleList}. */
export const earlyModules = ['drivers/block/loop', 'fs/squashfs/squashfs', 'fs/overlayfs/overlay'];

/**
 * Modules that most machines load at their start, virtual ones at least, in the form of
 * {@link moduleList}: they are unpacked fast.
 */
export const frequentModules = [
  ...['drivers/net/virtio_net', 'drivers/ata/ahci', 'drivers/nvme/host/nvme', 'drivers/block/virtio_blk'],
  ...['drivers/scsi/sd_mod', 'drivers/scsi/virtio_scsi', 'drivers/char/hw_random/virtio-rng'],
  ...['drivers/acpi/button', 'drivers/input/evdev', 'drivers/firmware/qemu_fw_cfg'],
];

const modulesOfArchitecture: Readonly<Record<Architecture['name'], readonly string[]>> = {
  x86_64: [
    ...['arch/x86/crypto/crc32c-intel?', 'arch/x86/crypto/crc32-pclmul?', 'arch/x86/crypto/sha256-ssse3?'],
    'arch/x86/crypto/aesni-intel',
  ],
  aarch64: [
    'arch/arm64/crypto',
    // Cards and disk controllers that are part of the processor, and what these need before they
    // answer: transceivers, clocks, voltages, DMA, resets, their MAC address. Not those of
    // Qualcomm's and MediaTek's telephones, which need graphics drivers.
    ...['phy-xgene', ...'allwinner amlogic cadence freescale hisilicon marvell rockchip samsung ti'.split(' ')].map(
      (name) => `drivers/phy/${name}`,
    ),
    ...[
      'drivers/dma',
      'drivers/gpio',
      'drivers/mailbox',
      'drivers/mfd',
      'drivers/nvmem',
      'drivers/pwm',
      'drivers/reset',
    ],
    ...['drivers/regulator', 'drivers/clk/meson', 'drivers/clk/clk-scpi', 'drivers/soc/rockchip', 'drivers/i2c/busses'],
    ...['drivers/usb/dwc2', 'drivers/usb/dwc3', 'drivers/usb/chipidea', 'drivers/usb/cdns3', 'drivers/usb/phy'],
    ...['drivers/net/dsa', 'net/dsa', 'drivers/rtc'],
    // Power buttons of machines without ACPI.
    ...['drivers/input/keyboard/gpio_keys', 'drivers/input/misc/axp20x-pek', 'drivers/input/misc/rk805-pwrkey'],
    'drivers/input/misc/hisi_powerkey',
  ],
};

/** The modules of the image of an architecture, without what they depend on. */
export function moduleList({ name }: Architecture): readonly string[] {
  return [...modulesOfAll, ...modulesOfArchitecture[name]];
}

/**
 * Selects the modules of `list` and their dependencies.
 * @param directory lib/modules/<version> of the unpacked kernel package, with depmod's files in it
 * @returns paths relative to `directory`, sorted
 * @throws {Error} an entry of the list without `?` matches nothing: a renamed driver must not go
 *   missing silently
 */
export async function selectModules(directory: string, list: readonly string[]): Promise<string[]> {
  const dependencies = await readDependencies(directory);
  const builtin = new Set((await readFile(join(directory, 'modules.builtin'), 'utf8')).split('\n'));
  const leftOut = list.filter((entry) => entry.startsWith('!')).map((entry) => `kernel/${entry.slice(1)}`);
  const isLeftOut = (module: string) =>
    leftOut.some((path) => uncompressed(module) === `${path}.ko` || module.startsWith(`${path}/`));
  const selected = new Set<string>();
  for (const entry of list) {
    if (entry.startsWith('!')) continue;
    const path = `kernel/${entry.replace(/\?$/, '')}`;
    const matches = [...dependencies.keys()].filter(
      (one) => uncompressed(one) === `${path}.ko` || one.startsWith(`${path}/`),
    );
    const isBuiltin = [...builtin].some((one) => one === `${path}.ko` || one.startsWith(`${path}/`));
    if (matches.length === 0 && !isBuiltin && !entry.endsWith('?'))
      throw new Error(`the kernel has no module ${entry} (initramfs/modules.ts)`);
    for (const match of matches) if (!isLeftOut(match)) select(match);
  }
  return [...selected].sort();

  function select(path: string): void {
    if (selected.has(path)) return;
    selected.add(path);
    for (const needed of dependencies.get(path) ?? []) select(needed);
  }
}

/** modules.dep, with the soft dependencies added: module → the modules it needs. */
async function readDependencies(directory: string): Promise<Map<string, string[]>> {
  const dependencies = new Map<string, string[]>();
  const named = new Map<string, string[]>();
  const name = (alias: string, path: string): unknown => named.set(alias, [...(named.get(alias) ?? []), path]);
  for (const line of await readLines(directory, 'modules.dep')) {
    const [path = '', needed = ''] = line.split(':');
    dependencies.set(path, needed.split(' ').filter(Boolean));
    name(moduleName(path), path);
  }
  // alias xxhash64 xxhash_generic
  for (const line of await readLines(directory, 'modules.alias')) {
    const [, alias = '', module = ''] = line.split(' ');
    for (const path of named.get(moduleName(module)) ?? []) name(moduleName(alias), path);
  }
  // softdep btrfs pre: xxhash64 pre: sha256: a module or an alias; other names are built into the
  // kernel.
  for (const line of await readLines(directory, 'modules.softdep')) {
    const [, module = '', ...needed] = line.split(' ');
    const paths = needed.flatMap((one) => named.get(moduleName(one)) ?? []);
    for (const path of named.get(moduleName(module)) ?? []) dependencies.get(path)?.push(...paths);
  }
  return dependencies;
}

async function readLines(directory: string, name: string): Promise<string[]> {
  const lines = (await readFile(join(directory, name), 'utf8')).split('\n');
  return lines.filter((line) => line !== '' && !line.startsWith('#'));
}

function moduleName(path: string): string {
  return (uncompressed(path).split('/').at(-1) ?? '').replace(/\.ko$/, '').replaceAll('-', '_');
}

/** Debian 12 has uncompressed modules, Debian 13 compressed ones. */
function uncompressed(path: string): string {
  return path.replace(/\.ko\.xz$/, '.ko');
}

/** Creates the index files of modprobe for all modules below `root`/lib/modules/<version>. */
export async function indexModules(root: string, version: string, tools: BuildTools): Promise<void> {
  await tools.run('depmod', ['--basedir', root, version], { timeoutSeconds: Number.POSITIVE_INFINITY });
}

/**
 * Creates a module directory in `root` with only `modules`, uncompressed (the image is compressed
 * as a whole, which is smaller and loads faster), and its index.
 * @returns its path
 */
export async function stageModules(
  from: string,
  modules: readonly string[],
  root: string,
  version: string,
  tools: BuildTools,
): Promise<string> {
  const directory = join(root, 'lib/modules', version);
  await linkToUsr(root);
  for (const module of modules) {
    await mkdir(dirname(join(directory, module)), { recursive: true });
    await link(join(from, module), join(directory, module));
  }
  const compressed = modules.filter((module) => module !== uncompressed(module));
  // Forced, because the file has a hard link in `from`, which stays.
  if (compressed.length > 0) {
    const options = { workingDirectory: directory, timeoutSeconds: Number.POSITIVE_INFINITY };
    await runTool('xz', ['--decompress', '--force', ...compressed], options);
  }
  for (const name of await readdir(from)) {
    if (/^modules\.(builtin|builtin\.modinfo|order)$/.test(name)) await link(join(from, name), join(directory, name));
  }
  await indexModules(root, version, tools);
  return directory;
}
