/**
 * The boot image for the architecture that this machine is not of, as far as it shows without
 * starting it; `make test-boot-aarch64` starts it.
 */
import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { mkdtemp, open, readdir, readFile, readlink, rm, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { architectures, hostArchitecture } from '../../debian/architecture.ts';
import { findLayers } from './built-image.ts';

const root = resolve(import.meta.dirname, '../..');
const [other] = architectures.filter((one) => one !== hostArchitecture);
ok(other !== undefined);
/** As ELF headers have it. */
const machine = { x86_64: 62, aarch64: 183 }[other.name];

let output: string;
/** Where the layers of the image are unpacked, on top of each other. */
let system: string;

before(async () => {
  output = await mkdtemp(join(root, 'build/cross-build-'));
  system = join(output, 'system');
  const quick = ['--compression-level', '1', '--firmware', 'none'];
  const build = ['initramfs/build.ts', '--arch', other.name, '--output', output, ...quick];
  await execa(process.execPath, build, { cwd: root });
  const image = join(output, `initramfs-${other.name}`);
  for (const offset of await findLayers(image)) {
    const options = ['-quiet', '-no-progress', '-force', '-dest', system, '-offset', String(offset)];
    await execa('unsquashfs', [...options, image]);
  }
});
after(() => rm(output, { recursive: true }));

async function filesOf(directory: string): Promise<string[]> {
  const entries = await readdir(join(system, directory), { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

test('all programs, libraries and drivers are for that architecture', async () => {
  const machines = new Map<string, string[]>();
  for (const path of await filesOf('.')) {
    await using file = await open(path);
    const { buffer } = await file.read(Buffer.alloc(20), 0, 20, 0);
    if (buffer.toString('latin1', 0, 4) !== '\x7fELF') continue;
    const key = String(buffer.readUInt16LE(18));
    machines.set(key, [...(machines.get(key) ?? []), path]);
  }
  deepEqual([...machines.keys()], [String(machine)], JSON.stringify([...machines].map(([key, [path]]) => [key, path])));
  ok((machines.get(String(machine)) ?? []).length > 600);
});

test('the loader is where programs look for it, and busybox has its commands', async () => {
  ok((await stat(join(system, other.loader))).isFile());
  for (const name of ['sh', 'vi', 'switch_root', 'watchdog'])
    equal(await readlink(join(system, 'bin', name)), 'busybox');
});

test('the kernel is one that UEFI and iPXE start', async () => {
  const kernel = await readFile(join(output, `vmlinuz-${other.name}`));
  equal(kernel.toString('latin1', 0, 2), 'MZ');
  equal(kernel.toString('latin1', kernel.readUInt32LE(60)).slice(0, 4), 'PE\0\0');
  equal(kernel.readUInt16LE(kernel.readUInt32LE(60) + 4), { x86_64: 0x8664, aarch64: 0xaa64 }[other.name]);
});

test('the drivers are those of servers with such processors', async () => {
  const names = new Set((await filesOf('lib/modules')).map((path) => basename(path).replace(/\.ko$/, '')));
  const common = 'virtio_net e1000e igb ixgbe i40e ice bnxt_en mlx5_core nvme ahci megaraid_sas mpt3sas ipmi_si';
  const own = {
    x86_64: 'vmd smartpqi hv_netvsc aesni-intel iTCO_wdt',
    aarch64: [
      'hns3 hisi_sas_v3_hw nicvf thunder_bgx xgene-enet ahci_xgene netsec qcom-emac mvneta mvpp2 rvu_nicpf amd-xgbe',
      'fsl-dpaa2-eth fec dwmac-rk dwmac-sun8i dwmac-meson8b genet macb ahci_platform ahci_mvebu sdhci-iproc bcm2835',
      'sunxi-mmc dw_mmc-rockchip sdhci-of-dwcmshc sdhci-xenon-driver virtio_mmio xhci-plat-hcd dwc3 sbsa_gwdt sp805_wdt',
      'ipmi_ssif i2c-designware-platform gpio_keys aes-ce-blk sha2-ce phy-mvebu-cp110-comphy mt7530 rtc-pcf2127',
    ].join(' '),
  }[other.name];
  for (const name of `${common} ${own}`.split(' ')) ok(names.has(name), `${name} is missing`);
});

test('its checksums and bill of materials name what was built', async () => {
  const { stdout } = await execa('sha256sum', ['--check', 'SHA256SUMS'], { cwd: output });
  match(stdout, new RegExp(`^initramfs-${other.name}: OK$`, 'm'));
  const bill = await readFile(join(output, `initramfs-${other.name}.spdx.json`), 'utf8');
  match(bill, new RegExp(`"name": "node-linux-${other.node}"`));
  match(bill, new RegExp(`pkg:deb/debian/kmod@[^"]*arch=${other.debian}&`));
});
