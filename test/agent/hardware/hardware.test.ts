import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { createInventory, takeInventory } from '../../../agent/hardware/hardware.ts';
import { toServerJson } from './server-json.ts';
import { layOut, machines, readTree } from './tree.ts';

const names = (await readdir(machines))
  .filter((file) => file.endsWith('.json'))
  .map((file) => file.slice(0, -'.json'.length));
const pciNames = await readFile(join(import.meta.dirname, 'pci.ids'), 'utf8');

for (const name of names) {
  test(`takeInventory() sends of the machine ${name} what tink-agent sends`, async () => {
    await using machine = await layOut(await readTree(name));
    await mkdir(join(machine.path, 'usr/share/misc'), { recursive: true });
    await writeFile(join(machine.path, 'usr/share/misc/pci.ids'), pciNames);
    assert.deepEqual(toServerJson(await takeInventory(machine.path)), await expected(name));
  });

  test(`takeInventory() finds out of the disks of ${name} without udev what it finds out with it`, async () => {
    const tree = Object.entries(await readTree(name)).filter(([path]) => !path.startsWith('/run/udev/'));
    await using machine = await layOut(Object.fromEntries(tree));
    const { block } = await takeInventory(machine.path);
    const { blockDevices } = await expected(name);
    assert.deepEqual(block.map(exceptDiscs), (blockDevices ?? []).map(exceptDiscs));
  });
}

test('takeInventory() sends no PCI functions where the machine has no database of their names, as tink-agent', async () => {
  await using machine = await layOut(await readTree('vmware'));
  const { pci, gpu } = await takeInventory(machine.path);
  assert.deepEqual([pci, gpu], [[], []]);
});

test('takeInventory() reads a compressed database of PCI names too', async () => {
  await using machine = await layOut(await readTree('vmware'));
  await mkdir(join(machine.path, 'usr/share/hwdata'), { recursive: true });
  await writeFile(join(machine.path, 'usr/share/hwdata/pci.ids'), pciNames);
  await execa('gzip', [join(machine.path, 'usr/share/hwdata/pci.ids')]);
  const { pci } = await takeInventory(machine.path);
  assert.deepEqual(toServerJson({ block: [], network: [], pci, gpu: [] }), {
    pciDevices: (await expected('vmware')).pciDevices,
  });
});

test('takeInventory() says of this machine, container or not, what its kernel says', async () => {
  const { cpu, product, network } = await takeInventory();
  const nameOfProduct = await readFile('/sys/class/dmi/id/product_name', 'utf8').catch(() => 'unknown');
  const firstModel = /^model name\s*: (.*)$/m.exec(await readFile('/proc/cpuinfo', 'utf8'))?.[1];
  assert.equal(product?.name, nameOfProduct.trim());
  assert.equal(cpu?.totalThreads, availableParallelism());
  assert.equal(cpu?.processors[0]?.model, firstModel);
  assert.deepEqual(
    network.map(({ name }) => name),
    (await readdir('/sys/class/net')).filter((name) => !['lo', 'bonding_masters'].includes(name)).sort(),
  );
});

test('takeInventory() in a network namespace of its own tells of the interfaces in it', async () => {
  const script = `
    const { takeInventory } = await import(${JSON.stringify(new URL('../../../agent/hardware/hardware.ts', import.meta.url))});
    process.stdout.write(JSON.stringify((await takeInventory()).network));`;
  const { stdout } = await execa('unshare', [
    ...['--net', '--mount', 'sh', '-ec'],
    'mount -t sysfs sysfs /sys; ip tuntap add dev only mode tap; exec "$@"',
    ...['sh', process.execPath, '--input-type=module', '--eval', script],
  ]);
  assert.deepEqual(JSON.parse(stdout), [{ name: 'only', mac: '', speed: '', enabledCapabilities: [] }]);
});

test('takeInventory() fails for nothing: of a machine without /proc and /sys it knows nothing', async () => {
  assert.deepEqual(toServerJson(await takeInventory('/nonexistent')), {
    cpu: { totalCores: 0, totalThreads: 0 },
    chassis: { serial: 'unknown', vendor: 'unknown' },
    bios: { vendor: 'unknown', version: 'unknown', releaseDate: 'unknown' },
    baseboard: { vendor: 'unknown', product: 'unknown', version: 'unknown', serialNumber: 'unknown' },
    product: { name: 'unknown', vendor: 'unknown', serialNumber: 'unknown' },
  });
});

test('createInventory() takes the inventory once', async () => {
  let taken = 0;
  const inventory = createInventory(async () => {
    taken += 1;
    return { block: [], network: [], pci: [], gpu: [] };
  });
  assert.equal(taken, 0);
  assert.equal(await inventory(), await inventory());
  assert.equal(taken, 1);
});

interface ServerJson {
  readonly blockDevices?: readonly Readonly<Record<string, string>>[];
  readonly pciDevices?: readonly unknown[];
}

/** What tink-agent sends of a machine; see hardware/README.md. */
async function expected(name: string): Promise<ServerJson> {
  return JSON.parse(await readFile(join(import.meta.dirname, 'expected', `${name}.json`), 'utf8'));
}

/** Only a command to an optical drive reads its serial number and its full name. */
function exceptDiscs(disk: object): object {
  const isOptical = 'driveType' in disk && disk.driveType === 'ODD';
  return isOptical ? { ...disk, model: undefined, serialNumber: undefined } : disk;
}
