import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import {
  checkKernelArguments,
  installKernelArguments,
  withKernelArguments,
} from '../../../installer/configure/kernel-arguments.ts';
import { openDisk } from '../../../installer/disk/device.ts';
import { makeFlatcarImage } from '../../sandbox/flatcar-layout.ts';
import { createLoopDevice } from '../../sandbox/loop-device.ts';
import { readOemFile } from '../run.ts';

test('withKernelArguments() keeps what is there and adds what the boot loader reads', () => {
  const text = withKernelArguments('set oem_id="ami"', {
    append: ['flatcar.autologin', 'price=$5'],
    consoles: ['tty0', 'ttyS1,115200n8'],
  });
  assert.deepEqual(text.split('\n'), [
    'set oem_id="ami"',
    '# Kernel arguments of flatcar-install: begin',
    'set linux_console="console=tty0 console=ttyS1,115200n8"',
    'set linux_append="$linux_append flatcar.autologin"',
    'set linux_append="$linux_append price=\\$5"',
    '# Kernel arguments of flatcar-install: end',
    '',
  ]);
});

test('withKernelArguments() replaces what it wrote before', () => {
  const before = 'set oem_id=""\n';
  const once = withKernelArguments(before, { append: ['quiet'], consoles: ['ttyS0'] });
  assert.equal(withKernelArguments(once, { append: ['quiet'], consoles: ['ttyS0'] }), once);
  const other = withKernelArguments(`${once}# of the operator\n`, { append: ['debug'], consoles: [] });
  assert.match(other, /^set oem_id=""\n# of the operator\n# Kernel arguments/);
  assert.doesNotMatch(other, /quiet|ttyS0/);
});

test('withKernelArguments() writes what the boot loader understands', async () => {
  const append = ['a;b', 'c|d', 'e&f', 'g<h>', 'i{j}', '$k', '$(l)', '#m', 'n=(o)', '!p', '*', '~', '`q`'];
  checkKernelArguments({ append, consoles: [] });
  const input = withKernelArguments('', { append, consoles: ['ttyS0,115200n8'] });
  await execa('grub-script-check', [], { input });
});

for (const [value, why] of [
  ['', /cannot use --append-karg '': it is empty \(leave out --append-karg\)/],
  ['a b', /it contains a space \(give --append-karg once for each argument\)/],
  ['a\nb', /it contains a space/],
  ['a="b"', /cannot pass quotes/],
  ["a='b'", /cannot pass quotes/],
  ['a\\b', /cannot pass quotes, backslashes/],
  ['über', /non-ASCII characters/],
] as const) {
  test(`checkKernelArguments() refuses ${JSON.stringify(value)}`, () => {
    assert.throws(() => checkKernelArguments({ append: ['good', value], consoles: [] }), { message: why });
    assert.throws(() => checkKernelArguments({ append: [], consoles: [value] }), /--console/);
  });
}

test('installKernelArguments() changes the grub.cfg of the OEM partition, and makes one where there is none', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-kargs-'));
  try {
    for (const [oemFiles, start] of [
      [{ 'grub.cfg': 'set oem_id="ami"\n' }, 'set oem_id="ami"\n# Kernel'],
      [{ other: '' }, '# Kernel'],
    ] as const) {
      const path = join(directory, 'image');
      const sizeBytes = await makeFlatcarImage({ path, oemFiles });
      await using loop = await createLoopDevice({ sizeBytes, contents: path });
      await using disk = await openDisk(loop.path);
      await installKernelArguments(disk, { append: ['quiet'], consoles: [] });
      await installKernelArguments(disk, { append: ['quiet'], consoles: [] });
      const text = await readOemFile(loop, 'grub.cfg');
      assert.ok(text.startsWith(start), text);
      assert.equal(text.match(/quiet/g)?.length, 1);
    }
  } finally {
    await rm(directory, { recursive: true });
  }
});
