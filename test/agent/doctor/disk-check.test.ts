import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { checkDisks } from '../../../agent/doctor/disk-check.ts';
import type { AgentAttributes, BlockAttributes } from '../../../agent/hardware/attributes.ts';
import { humanSize } from '../../../agent/hardware/human-size.ts';

async function findingOf(block: readonly BlockAttributes[]) {
  const inventory: AgentAttributes = { block, network: [], pci: [], gpu: [] };
  const config = { stateDirectory: tmpdir(), workDirectory: tmpdir(), transport: 'grpc' } as const;
  const findings = await checkDisks({ config, inventory, imageStore: undefined });
  return findings.find(({ target }) => target === 'disks of the machine') ?? assert.fail();
}

test('checkDisks() names the disks that an operating system can be installed to', async () => {
  const found = await findingOf([
    { name: 'sda', driveType: 'SSD', size: '16GB' },
    { name: 'sdb', driveType: 'HDD', size: humanSize(0) },
    { name: 'sr0', driveType: 'ODD', size: '1GB' },
  ]);
  assert.deepEqual([found.severity, found.message], ['ok', '/dev/sda 16GB']);
});

test('checkDisks() warns of a machine that has no disk, or only an empty card reader', async () => {
  for (const block of [[], [{ name: 'sdb', driveType: 'HDD', size: humanSize(0) }]]) {
    const { severity, message, advice } = await findingOf(block);
    assert.deepEqual([severity, message], ['warning', 'there is none that an operating system could be installed to']);
    assert.match(advice ?? '', /modules=/);
  }
});
