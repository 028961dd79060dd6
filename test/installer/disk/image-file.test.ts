/** `-d FILE`: an image of a configured system, as an unprivileged user makes it in CI. */
import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmod, chown, mkdir, mkdtemp, open, readFile, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { makeFlatcarImage, partitionOffsetBytes } from '../../sandbox/flatcar-layout.ts';
import { createLoopDevice } from '../../sandbox/loop-device.ts';
import { readOemFile } from '../../sandbox/oem-file.ts';

const executable = join(import.meta.dirname, '../../../build/flatcar-install');
/** An unprivileged user and group. */
const user = 65_534;
const sizeBytes = 512 * 1024 ** 2;

let directory: string;
let image: string;
let config: string;
let imageBytes: number;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-image-file-'));
  await chown(directory, user, user);
  image = join(directory, 'image.bin');
  imageBytes = await makeFlatcarImage({ path: image });
  config = join(directory, 'config.ign');
  await writeFile(config, '{"ignition":{"version":"3.3.0"}}');
  for (const path of [image, config]) await chmod(path, 0o644);
});

after(() => rm(directory, { recursive: true, force: true }));

/** Without root and capabilities. */
function installAsUser(...args: readonly string[]) {
  const asUser = [`--reuid=${user}`, `--regid=${user}`, '--clear-groups', '--no-new-privs'];
  const options = { reject: false, env: { TMPDIR: directory }, cwd: directory };
  return execa('setpriv', [...asUser, executable, '-f', image, ...args], options);
}

async function sha256(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

test('a file is made, sparse, has the config, and the same bytes each time, also as root', async () => {
  const options = ['--size', '512MiB', '-i', config, '--console', 'ttyS0'];
  const [first, second, third] = ['a.img', 'b.img', 'c.img'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  for (const path of [first, second]) {
    const { exitCode, stderr } = await installAsUser('-d', path, ...options);
    equal(exitCode, 0, stderr);
  }
  const { size, blocks, uid } = await stat(first);
  deepEqual([size, uid], [sizeBytes, user]);
  ok(blocks * 512 < imageBytes / 2, `${blocks * 512} bytes are used`);
  deepEqual(await readOemFile(first, 'config.ign'), await readFile(config));
  match((await readOemFile(first, 'grub.cfg')).toString(), /console=ttyS0/);
  const sum = await sha256(first);
  equal(await sha256(second), sum);
  // What was in a file before leaves nothing.
  await writeFile(third, Buffer.alloc(1024 * 1024, 1));
  await execa(executable, ['-f', image, '-d', third, ...options], { env: { TMPDIR: directory } });
  equal(await sha256(third), sum);
  for (const path of [second, third]) await rm(path);
  await checkOem(first);
  const qcow = join(directory, 'disk.qcow2');
  await execa('qemu-img', ['convert', '-O', 'qcow2', '-c', first, qcow]);
  await execa('qemu-img', ['compare', first, qcow]);
  await rm(qcow);
  await rm(first);
});

test('it has the same bytes also if files of the image are newer than the clock of this machine', async () => {
  const newer = join(directory, 'newer.bin');
  const inAnHour = Date.now() / 1000 + 3600;
  await makeFlatcarImage({ path: newer, oemModifiedSeconds: inAnHour });
  await chmod(newer, 0o644);
  const paths = ['a.img', 'b.img'].map((name) => join(directory, name));
  for (const path of paths) {
    const { exitCode, stderr } = await installAsUser('-f', newer, '-d', path, '--size', '512MiB', '-i', config);
    equal(exitCode, 0, stderr);
  }
  const [first, second] = await Promise.all(paths.map(sha256));
  equal(second, first);
  await checkOem(paths[0] ?? '');
  for (const path of [...paths, newer]) await rm(path);
});

/** Compares the file system with what btrfs says of it: checksums, references, owners. */
async function checkOem(path: string): Promise<void> {
  await using disk = await open(path, 'r');
  const bytes = Buffer.alloc(128 * 1024 * 1024);
  await disk.read(bytes, 0, bytes.length, partitionOffsetBytes('OEM'));
  const copy = join(directory, 'oem');
  await writeFile(copy, bytes);
  const { stdout, stderr } = await execa('btrfs', ['check', '--check-data-csum', copy], { all: true });
  match(`${stdout}${stderr}`, /no error found/);
  const tree = await execa('btrfs', ['inspect-internal', 'dump-tree', '--tree', 'fs', copy]);
  ok(!/ uid (?!0 )/.test(tree.stdout));
  await rm(copy);
}

test('a file is made also while a loop device is mounted whose file the user may not see', async () => {
  await using device = await createLoopDevice({ sizeBytes: 256 * 1024 ** 2 }); // in a directory of root
  const root = join(directory, 'mounted');
  await mkdir(root);
  for (const make of ['mkfs.btrfs', 'mkfs.ext4']) {
    await execa(make, [make === 'mkfs.ext4' ? '-F' : '--force', device.path]);
    await execa('mount', [device.path, root]);
    try {
      const path = join(directory, 'a.img');
      const { exitCode, stderr } = await installAsUser('-d', path, '--size', '512MiB', '-i', config);
      equal(exitCode, 0, stderr);
      deepEqual(await readOemFile(path, 'config.ign'), await readFile(config));
      await rm(path);
    } finally {
      await execa('umount', [root]);
    }
  }
  await rmdir(root);
});

test('a file keeps the identifier of its OEM file system, and needs no --size if it exists', async () => {
  const path = join(directory, 'existing.img');
  await using file = await open(path, 'w');
  await file.truncate(imageBytes);
  await file.chown(user, user);
  const { exitCode, stderr, stdout } = await installAsUser('-d', path, '-i', config);
  equal(exitCode, 0, stderr);
  match(stdout, /Success! .* is installed on .*existing\.img/);
  const fsid = async (from: string) => {
    await using disk = await open(from, 'r');
    const bytes = Buffer.alloc(16);
    await disk.read(bytes, 0, 16, partitionOffsetBytes('OEM') + 64 * 1024 + 32);
    return bytes.toString('hex');
  };
  equal(await fsid(path), await fsid(image));
  await rm(path);
});

for (const [what, args, message] of [
  [
    '-c',
    ['-c', 'config.ign', '--size', '512MiB'],
    /cannot install to a file: -c needs a disk \(give the configuration with -i/,
  ],
  ['-n and -u', ['-n', '-u', '--size', '512MiB'], /cannot install to a file: -n and -u need a disk/],
  ['no size', [], /there is no such device \(.*give --size to make a file/],
  ['a size that is too small', ['--size', '1MiB'], /the image has at least \d+ bytes and the disk only 1048576/],
] as const) {
  test(`${what}: refused without root, and no file is made`, async () => {
    const path = join(directory, 'refused.img');
    const { exitCode, stderr } = await installAsUser('-d', path, ...args);
    equal(exitCode, 1);
    match(stderr, message);
    equal(await stat(path).catch(() => 'none'), 'none');
  });
}

test('no file is left where none of this size can be made', async () => {
  const path = join(directory, 'large.img');
  const program = [process.execPath, join(import.meta.dirname, '../../../executable/main.ts'), 'flatcar-install'];
  const args = ['--fsize=1048576', ...program, '-f', image, '-d', path, '--size', '512MiB'];
  const { exitCode, stderr } = await execa('prlimit', args, { reject: false });
  equal(exitCode, 1);
  match(stderr, /cannot install to .*large\.img: .*file too large.* \(give a file that can be written to with -d\)/i);
  equal(await stat(path).catch(() => 'none'), 'none');
});

test('the image itself, a file that is attached to a loop device, and --size with a disk are refused', async () => {
  const before = await sha256(image);
  const same = await execa(executable, ['-f', image, '-d', image], { reject: false });
  match(same.stderr, /cannot install to .*image\.bin: it is the image itself/);
  await using loop = await createLoopDevice({ sizeBytes: imageBytes });
  const { stdout: backing } = await execa('losetup', ['--noheadings', '--output', 'BACK-FILE', loop.path]);
  const attached = await execa(executable, ['-f', image, '-d', backing.trim()], { reject: false });
  match(attached.stderr, new RegExp(`it is attached to ${loop.path}`));
  const disk = await execa(executable, ['-f', image, '-d', loop.path, '--size', '512MiB'], { reject: false });
  match(disk.stderr, /cannot use --size: no file is given with -d/);
  for (const { exitCode } of [same, attached, disk]) equal(exitCode, 1);
  equal(await sha256(image), before);
});

test('a dry run makes no file, and says to which one it would install', async () => {
  const path = join(directory, 'dry.img');
  const { exitCode, stderr } = await installAsUser('-y', '-d', path, '--size', '512MiB', '-i', config);
  equal(exitCode, 0, stderr);
  match(stderr, /Would install to .*dry\.img/);
  equal(await stat(path).catch(() => 'none'), 'none');
});
