import assert from 'node:assert/strict';
import { mkdtemp, mkdtempDisposable, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import {
  changeGrubConfig,
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

test('changeGrubConfig() reads no file of this machine through a link of the image', async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-grub-'));
  const [secret, path] = [join(directory.path, 'secret'), join(directory.path, 'grub.cfg')];
  await writeFile(secret, 'of this machine');
  await symlink(secret, path);
  const quiet = { append: ['quiet'], consoles: [] };
  await assert.rejects(
    changeGrubConfig(directory.path, quiet),
    /cannot change grub\.cfg on the OEM partition: it is a symbolic link \(check the image\)/,
  );
  assert.deepEqual((await readdir(directory.path)).toSorted(), ['grub.cfg', 'secret']);
  await rm(path);
  assert.deepEqual(await changeGrubConfig(directory.path, quiet), []);
  assert.match(await readFile(path, 'utf8'), /^set linux_append="\$linux_append quiet"$/m);
  await truncate(path, 2 ** 30);
  await assert.rejects(changeGrubConfig(directory.path, quiet), /it has 1073741824 bytes, more than 1048576/);
});

test('withKernelArguments() replaces what it wrote before', () => {
  const before = 'set oem_id=""\n';
  const once = withKernelArguments(before, { append: ['quiet'], consoles: ['ttyS0'] });
  assert.equal(withKernelArguments(once, { append: ['quiet'], consoles: ['ttyS0'] }), once);
  const other = withKernelArguments(`${once}# of the operator\n`, { append: ['debug'], consoles: [] });
  assert.match(other, /^set oem_id=""\n# of the operator\n# Kernel arguments/);
  assert.doesNotMatch(other, /quiet|ttyS0/);
});

test('withKernelArguments() removes arguments where Flatcar itself does, whole ones only', () => {
  // As in Flatcar's images for Amazon and VMware.
  const before = [
    'set oem_id="ec2"',
    'set linux_append="net.ifnames=0 flatcar.autologin nvme_core.io_timeout=4294967295"',
    'if [ "$grub_cpu" = arm64 ]; then',
    '\tset linux_append="$linux_append flatcar.autologin flatcar.autologin=ttyS0"',
    'fi',
    '',
  ].join('\n');
  const text = withKernelArguments(before, {
    ...{ append: ['flatcar.autologin=tty1'], remove: ['flatcar.autologin', 'net.ifnames=0'], consoles: [] },
    platform: 'aws',
  });
  assert.deepEqual(text.split('\n'), [
    'set oem_id="ec2"',
    'set linux_append="nvme_core.io_timeout=4294967295"',
    'if [ "$grub_cpu" = arm64 ]; then',
    '\tset linux_append="$linux_append flatcar.autologin=ttyS0"',
    'fi',
    '# Kernel arguments of flatcar-install: begin',
    'set oem_id="aws"',
    'set linux_append="$linux_append flatcar.autologin=tty1"',
    '# Kernel arguments of flatcar-install: end',
    '',
  ]);
});

for (const [argument, why] of [
  ['console=ttyS0', /consoles are replaced as a whole \(give --console\)/],
  ['flatcar.oem.id=ami', /give --platform/],
  ['rootflags=rw', /cannot use --delete-karg 'rootflags=rw': the boot loader itself adds it/],
  ['root=LABEL=ROOT', /the boot loader itself adds it.*\(override it with --append-karg/],
  ['a b', /give --delete-karg once for each argument/],
] as const) {
  test(`checkKernelArguments() refuses to remove ${argument}`, () => {
    assert.throws(() => checkKernelArguments({ append: [], remove: ['quiet', argument], consoles: [] }), {
      message: why,
    });
  });
}

test('installKernelArguments() says which arguments to remove are not there, and which platform is replaced', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-kargs-'));
  try {
    const path = join(directory, 'image');
    const oemFiles = { 'grub.cfg': 'set oem_id="vmware"\nset linux_append="flatcar.autologin"\n' };
    const sizeBytes = await makeFlatcarImage({ path, oemFiles });
    await using loop = await createLoopDevice({ sizeBytes, contents: path });
    await using disk = await openDisk(loop.path);
    const kernelArguments = { append: [], remove: ['flatcar.autologin', 'quiet'], consoles: [], platform: 'metal' };
    assert.deepEqual(await installKernelArguments(disk, kernelArguments), [
      '--delete-karg quiet: the image does not have it',
      'the image is made for the platform vmware; it gets metal (--platform)',
    ]);
    assert.match(await readOemFile(loop, 'grub.cfg'), /^set linux_append=""$/m);
  } finally {
    await rm(directory, { recursive: true });
  }
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
