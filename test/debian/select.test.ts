import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readLockFile } from '../../debian/lock-file.ts';
import type { PackageSet } from '../../debian/package.ts';
import { type SelectionOptions, selectPackages } from '../../debian/select.ts';
import { updateLockFile } from '../../debian/update.ts';
import { startDebianArchive, type TestArchive } from '../sandbox/debian-archive.ts';

const system: PackageSet = { name: 'system', packages: ['kmod'], dependencies: 'all' };

const library = { name: 'libkmod2', version: '34-1' };
const kmod = { name: 'kmod', version: '34-1', depends: 'libkmod2' };
const others = [{ name: 'unrelated', version: '1' }];

let debian: TestArchive;
let lockFile: string;

before(async () => {
  debian = await startDebianArchive();
  await debian.publish([library, kmod, ...others]);
  lockFile = join(debian.cache, '../packages.lock.json');
  await updateLockFile(lockFile, { amd64: [system] }, debian);
});

after(() => debian[Symbol.asyncDispose]());

/** @param cache subdirectory: each test fetches anew */
function options(cache: string): SelectionOptions {
  return { lockFile, architecture: 'amd64', archive: debian.archive, cache: join(debian.cache, cache) };
}

test('selectPackages() fetches the locked versions of a package and of what it needs', async () => {
  await debian.publish([library, kmod, ...others]);
  const { packages, files, replaced } = await selectPackages(system, options('locked'));
  deepEqual(replaced, []);
  deepEqual(packages, (await readLockFile(lockFile))?.architectures.amd64?.packages);
  deepEqual([...files.keys()], ['kmod', 'libkmod2']);
  equal(await readFile(files.get('kmod') ?? '', 'utf8'), 'contents of kmod 34-1\n');
});

test('selectPackages() fetches packages alone whose dependencies nothing needs', async () => {
  await debian.publish([library, kmod, ...others]);
  const alone: PackageSet = { name: 'alone', packages: ['kmod'], dependencies: 'none' };
  const ofTest = join(debian.cache, '../alone.lock.json');
  await updateLockFile(ofTest, { amd64: [alone] }, debian);
  const { files } = await selectPackages(alone, { ...options('alone'), lockFile: ofTest });
  deepEqual([...files.keys()], ['kmod']);
});

test('selectPackages() takes what one mirror lacks from the next', async () => {
  await debian.publish([library, kmod]);
  const mirrors = () => Promise.resolve([`${debian.url}/empty`, debian.url]);
  const { files } = await selectPackages(system, { ...options('next'), archive: { ...debian.archive, mirrors } });
  equal(files.size, 2);
});

test('selectPackages() takes current versions of the whole set if one is on no mirror, and names each', async () => {
  await debian.publish([
    library,
    { ...kmod, version: '34-2', depends: 'libkmod2, libzstd1' },
    { name: 'libzstd1', version: '1' },
  ]);
  const messages: string[] = [];
  const { packages, replaced } = await selectPackages(system, {
    ...options('current'),
    onReplaced: (message) => messages.push(message),
  });
  deepEqual(
    packages.map(({ name, version }) => `${name} ${version}`),
    ['kmod 34-2', 'libkmod2 34-1', 'libzstd1 1'],
  );
  deepEqual(replaced, [
    { name: 'kmod', locked: '34-1', used: '34-2' },
    { name: 'libzstd1', locked: undefined, used: '1' },
  ]);
  equal(messages.length, 1);
  match(messages.join(), /^warning: no mirror has the locked kmod 34-1 \(http:\S+\/debian: 404 Not Found\)\. /);
  match(messages.join(), /kmod 34-1 → 34-2, libzstd1 not there → 1 \(make update updates the file\)$/);
});

test('selectPackages() refuses a package whose content is not what was locked, and does not keep it', async () => {
  await debian.publish([library, kmod]);
  debian.tamperWithPackage('kmod');
  await rejects(selectPackages(system, options('tampered')), {
    message: `no mirror of Debian has kmod 34-1 (${debian.url}: Hash Sum mismatch)`,
  });
  equal((await readdir(join(debian.cache, 'tampered/packages'))).length, 1);
});

test('selectPackages() refuses package lists that are not what was signed', async () => {
  await debian.publish([library, { ...kmod, version: '34-2' }]);
  debian.tamperWithLists();
  await rejects(
    selectPackages(system, options('tampered-lists')),
    /^Error: no mirror has the locked kmod 34-1 \(.*\), and no package lists of Debian trixie: http:\S+: .*Hash Sum mismatch/,
  );
});

test('selectPackages() refuses package lists that another key has signed', async () => {
  await debian.publish([library, { ...kmod, version: '34-2' }]);
  await debian.signWithAnotherKey();
  await rejects(
    selectPackages(system, options('another-key')),
    /^Error: no mirror has the locked .*, and no package lists of Debian trixie: http:\S+: .*(NO_PUBKEY|Missing key)/,
  );
});

test('selectPackages() refuses a set that the lock file does not have', async () => {
  await rejects(
    selectPackages({ ...system, packages: ['kmod', 'unrelated'] }, options('none')),
    /packages\.lock\.json does not have the packages of system for amd64 \(run make update\)/,
  );
});

test('readLockFile() names a file with the conflict markers of a merge', async () => {
  const path = join(debian.cache, '../conflict.lock.json');
  await writeFile(path, `<<<<<<< HEAD\n${await readFile(lockFile, 'utf8')}`);
  await rejects(readLockFile(path), /conflict\.lock\.json is no list of packages \(run make update\)$/);
});

test('updateLockFile() names what it changes', async () => {
  const path = join(debian.cache, '../updated.lock.json');
  const update = () => updateLockFile(path, { amd64: [system] }, debian);
  await debian.publish([library, kmod, ...others]);
  match((await update()).join(), /updated\.lock\.json: new$/);
  match((await update()).join(), /updated\.lock\.json: no change$/);

  await debian.publish([
    { ...kmod, version: '35-1', depends: 'libzstd1' },
    { name: 'libzstd1', version: '1' },
    ...others,
  ]);
  const changes = (await update()).map((line) => line.replace(/^.*updated\.lock\.json: /, ''));
  deepEqual(changes, ['amd64: kmod 34-1 → 35-1', 'amd64: libkmod2 34-1 → not there', 'amd64: libzstd1 not there → 1']);
  const locked = (await readLockFile(path))?.architectures.amd64;
  deepEqual(locked?.sets['system']?.packages, ['kmod', 'libzstd1']);
  ok(locked?.packages.every(({ sha256 }) => sha256 !== ''));
});
