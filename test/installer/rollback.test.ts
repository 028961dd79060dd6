/** A mirror that serves an old image, whose signature is good, under the name of a new one. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { makeFakeTools } from '../sandbox/fake-tools.ts';
import { makeFlatcarImage } from '../sandbox/flatcar-layout.ts';
import { createLoopDevice } from '../sandbox/loop-device.ts';
import { startMirror } from '../sandbox/mirror.ts';
import { compress } from '../sandbox/signed-release.ts';
import { createGpg, type Gpg } from '../sandbox/signing.ts';
import { runInstaller, startInstaller } from './run.ts';

const version = '1.0.0';

let directory: string;
let gpg: Gpg;
let keyPath: string;
let subkey: string;
let imageBytes: number;
let compressed: Buffer;
let signature: Buffer;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-rollback-'));
  gpg = await createGpg();
  const primary = await gpg.createPrimary('release');
  subkey = await gpg.addSubkey(primary);
  keyPath = join(directory, 'key.asc');
  await writeFile(keyPath, await gpg.exportKeys(primary));
  const path = join(directory, 'usr.bin');
  const usrFiles = { 'share/flatcar/release': `FLATCAR_RELEASE_VERSION=${version}\nFLATCAR_RELEASE_BOARD=amd64-usr\n` };
  imageBytes = await makeFlatcarImage({ path, usrFiles });
  compressed = await compress(path);
  signature = await gpg.sign(compressed, [subkey]);
});
after(async () => {
  await gpg[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

async function install(asked: string, ...args: string[]) {
  await using mirror = await startMirror();
  const image = `/${asked}/flatcar_production_image.bin.bz2`;
  mirror.put(image, compressed);
  mirror.put(`${image}.sig`, signature);
  await using disk = await createLoopDevice({ sizeBytes: imageBytes });
  const key = ['-k', keyPath, '--tries', '1'];
  const ran = await runInstaller(directory, ['-d', disk.path, '-b', mirror.url, '-V', asked, ...key, ...args]);
  const start = (await readFile(disk.path)).subarray(0, 1024 * 1024);
  return { ...ran, isBootable: start.some((byte) => byte !== 0), requests: mirror.requests.length };
}

test('flatcar-install reads the version of a compressed btrfs, with the kernel and without its driver', async () => {
  const path = join(directory, 'btrfs.bin');
  // Large enough to be compressed, and not kept in the tree of the file system.
  const release = `FLATCAR_RELEASE_VERSION=${version}\n${'# as long as a block of data\n'.repeat(1000)}`;
  const usrFiles = { 'share/flatcar/release': release };
  const sizes = { 'USR-A': 128 };
  const sizeBytes = await makeFlatcarImage({ path, usrFiles, usrFilesystem: 'btrfs', sizes });
  const image = await compress(path);
  const signed = await gpg.sign(image, [subkey]);
  await using mirror = await startMirror();
  const name = `/${version}/flatcar_production_image.bin.bz2`;
  mirror.put(name, image);
  mirror.put(`${name}.sig`, signed);
  await using withoutDriver = await makeFakeTools({ mount: 'case "$*" in *ro,*) exit 32;; esac; exec mount "$@"' });
  for (const env of [{}, { PATH: withoutDriver.path }]) {
    await using disk = await createLoopDevice({ sizeBytes });
    const args = ['-d', disk.path, '-b', mirror.url, '-V', version, '-k', keyPath, '--tries', '1'];
    const ran = await startInstaller(args, env);
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.match(ran.stdout, /^Success! Flatcar Container Linux stable 1\.0\.0 is installed on /);
  }
});

test('flatcar-install names the version that the image itself has, and the date of its signature', async () => {
  const ran = await install(version, '--not-older-than', version);
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.match(ran.stdout, /^Success! Flatcar Container Linux stable 1\.0\.0 is installed on /);
  assert.match(ran.stderr, /^Good signature by \w+ \(primary key \w+\), made at \d{4}-\d\d-\d\dT[\d:.]+Z$/m);
});

test('flatcar-install refuses an image of another version than was asked for; the disk does not boot', async () => {
  const ran = await install('9.9.9');
  assert.equal(ran.exitCode, 1);
  assert.match(ran.stderr, /cannot install the image of 9\.9\.9: the server sent version 1\.0\.0 in its place/m);
  assert.equal(ran.isBootable, false);
});

test('flatcar-install --not-older-than refuses an older version on the disk, and an older signature before it writes', async () => {
  const older = await install(version, '--not-older-than', '1.0.1');
  assert.match(older.stderr, /cannot install the image of 1\.0\.0: it is version 1\.0\.0, older than 1\.0\.1/m);
  assert.equal(older.isBootable, false);
  const early = await install(version, '--not-older-than', '2999-01-01');
  assert.match(early.stderr, /^Error: cannot install \S+: it was signed at .*, before 2999-01-01T00:00:00\.000Z/m);
  assert.doesNotMatch(early.stderr, /Writing/);
});

test('flatcar-install --not-older-than with a version refuses where no file of the disk can be read, before it writes', async () => {
  const fails = 'echo no >&2; exit 1';
  await using tools = await makeFakeTools({ mount: fails, btrfs: fails });
  await using mirror = await startMirror();
  await using disk = await createLoopDevice({ sizeBytes: imageBytes });
  const args = ['-d', disk.path, '-b', mirror.url, '-V', version, '-k', keyPath, '--not-older-than', version];
  const ran = await startInstaller(args, { PATH: tools.path });
  assert.equal(ran.exitCode, 1);
  assert.match(
    ran.stderr,
    /^Error: cannot compare the version of the image: its files cannot be mounted: .*: no \(give a date with/m,
  );
  assert.deepEqual(mirror.requests, []);
});
