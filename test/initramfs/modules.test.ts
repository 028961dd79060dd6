import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { before, test } from 'node:test';
import { moduleList, selectModules, stageModules } from '../../initramfs/modules.ts';
import { type DebianSystem, fetchSystem } from '../../initramfs/system.ts';
import { runTool } from '../../tools/run-tool.ts';

const cache = resolve(import.meta.dirname, '../../build/cache');
let system: DebianSystem;
let directory: string;

before(async () => {
  system = await fetchSystem(cache);
  directory = join(system.packages, 'lib/modules', system.kernelVersion);
});

test('selectModules() takes the drivers of the network cards and disks that servers have', async () => {
  const names = new Set((await selectModules(directory, moduleList(system.architecture))).map(moduleName));
  const cards =
    'virtio_net vmxnet3 hv_netvsc e1000 e1000e igb igc ixgbe i40e ice tg3 bnx2x bnxt_en mlx4_en mlx5_core be2net r8169 atlantic qede ena';
  const disks =
    'virtio_blk virtio_scsi sd_mod ahci ata_piix nvme vmd megaraid_sas mpt3sas mpi3mr hpsa smartpqi aacraid vmw_pvscsi hv_storvsc usb-storage uas';
  const rest =
    'overlay squashfs loop ext4 btrfs xfs vfat isofs efivarfs dm-mod raid1 8021q bonding i6300esb iTCO_wdt ipmi_si nls_cp437 crc32c_generic';
  for (const name of `${cards} ${disks} ${rest}`.split(' ')) ok(names.has(name), `${name} is missing`);
});

test('selectModules() leaves out what is marked so, and what only that needs', async () => {
  const names = (await selectModules(directory, moduleList(system.architecture))).map(moduleName);
  const leftOut =
    'drbd rbd libceph md-cluster dlm tcm_qla2xxx target_core_mod dm-vdo nvme-rdma ib_core nf_tables pcnet_cs'.split(
      ' ',
    );
  deepEqual(
    names.filter((name) => leftOut.includes(name)),
    [],
  );
});

test('the kernel knows the cards of current servers, and the image has their drivers', async () => {
  const selected = new Set((await selectModules(directory, moduleList(system.architecture))).map(moduleName));
  // Identifiers that Debian 12's kernel 6.1 does not know.
  const cards = {
    ionic: 'v00001DD8d00001002', // AMD Pensando DSC
    idpf: 'v00008086d00001452', // Intel IPU E2100
    ice: 'v00008086d000012D2', // Intel E830
    e1000e: 'v00008086d000057B3', // Intel I219 of Panther Lake
    bnxt_en: 'v000014E4d00001760', // Broadcom BCM57608
    mpi3mr: 'v00001000d000000B3', // Broadcom SAS5116
  };
  for (const [driver, identifiers] of Object.entries(cards)) {
    const alias = `pci:${identifiers}sv00000000sd00000000bc02sc00i00`;
    const options = ['--dirname', system.packages, '--set-version', system.kernelVersion, '--resolve-alias', alias];
    equal((await runTool('modprobe', options)).stdout, driver);
    ok(selected.has(driver), `${driver} is missing`);
  }
});

test('selectModules() takes everything that a module needs, soft dependencies included', async () => {
  const selected = new Set(await selectModules(directory, moduleList(system.architecture)));
  for (const line of (await readFile(join(directory, 'modules.dep'), 'utf8')).split('\n')) {
    const [path = '', needed = ''] = line.split(':');
    if (!selected.has(path)) continue;
    for (const one of needed.split(' ').filter(Boolean)) ok(selected.has(one), `${path} needs ${one}`);
  }
  const btrfs = await selectModules(directory, ['fs/btrfs']);
  for (const soft of ['xxhash_generic', 'blake2b_generic'])
    ok(
      btrfs.some((path) => moduleName(path) === soft),
      soft,
    );
});

test('selectModules() refuses an entry that the kernel has nothing for', async () => {
  await rejects(
    selectModules(directory, ['drivers/net/no-such-card']),
    /the kernel has no module drivers\/net\/no-such-card/,
  );
});

test('selectModules() passes over an entry with ? that the kernel has nothing for', async () => {
  deepEqual(await selectModules(directory, ['crypto/no_such_algorithm?']), []);
  const [path = ''] = await selectModules(directory, ['crypto/crc32c_generic?']);
  equal(moduleName(path), 'crc32c_generic');
});

test('stageModules() makes an index by which modprobe finds a card, the same each time', async () => {
  const scratch = await mkdtemp(join(cache, 'test-modules-')); // beside the packages: hard links to their modules
  try {
    const modules = await selectModules(directory, ['drivers/net/virtio_net']);
    const indexes = await Promise.all(
      ['one', 'two'].map(async (name) => {
        const staged = await stageModules(directory, modules, join(scratch, name), system.kernelVersion, system.tools);
        const names = ['modules.alias', 'modules.alias.bin', 'modules.dep', 'modules.dep.bin', 'modules.softdep'];
        return Promise.all(names.map((index) => readFile(join(staged, index), 'latin1')));
      }),
    );
    deepEqual(indexes[0], indexes[1]);
    equal(indexes[0]?.[0]?.includes('alias virtio:d00000001v* virtio_net'), true);
  } finally {
    await rm(scratch, { recursive: true });
  }
});

/** Debian 12 has modules as `loop.ko`, Debian 13 as `loop.ko.xz`. */
function moduleName(path: string): string {
  return basename(path).replace(/\.ko(\.xz)?$/, '');
}
