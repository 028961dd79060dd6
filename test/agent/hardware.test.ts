import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import { test } from 'node:test';
import { execa } from 'execa';
import { createInventory, takeInventory } from '../../agent/hardware.ts';
import { humanSize } from '../../agent/sysfs.ts';

test('takeInventory() says of this machine what the machine says of itself', async () => {
  const { cpu, memory, network, product } = await takeInventory();
  assert.equal(cpu?.totalThreads, availableParallelism());
  assert.ok((cpu?.processors?.[0]?.capabilities?.length ?? 0) > 0);
  assert.equal(memory?.usable, humanSize(totalmem()));
  for (const { name, mac } of network ?? []) {
    assert.equal(mac, (await readFile(`/sys/class/net/${name}/address`, 'utf8')).trim());
  }
  for (const text of Object.values(product ?? {})) assert.notEqual(text, '');
});

test('takeInventory() leaves out what it cannot find out, and does not fail', async () => {
  // A machine on which no program can be found.
  const script = `
    const { takeInventory } = await import(${JSON.stringify(new URL('../../agent/hardware.ts', import.meta.url))});
    process.stdout.write(JSON.stringify(await takeInventory('/nonexistent')));`;
  const { stdout } = await execa(process.execPath, ['--input-type=module', '--eval', script], {
    env: { PATH: '/nonexistent' },
    extendEnv: false,
  });
  const inventory = JSON.parse(stdout);
  assert.deepEqual([inventory.block, inventory.pci, inventory.gpu], [[], [], []]);
  assert.equal(inventory.memory.usable, humanSize(totalmem()));
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
