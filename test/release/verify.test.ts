/** What `make verify-release` refuses, on small releases; release.test.ts verifies a real one. */
import { deepEqual, equal, match, rejects } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempDisposable, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { provenance, provenancePath } from '../../release/provenance.ts';
import { verifyChecksums } from '../../release/verify/checksums.ts';
import { verifyDescriptions } from '../../release/verify/descriptions.ts';
import { billPath, sbom } from '../../sbom/sbom.ts';

const source = { version: '1.2.3', commit: '0123456789ab', fullCommit: '0'.repeat(40), timeSeconds: 0 };
const hash = (algorithm: string, bytes: string) => createHash(algorithm).update(bytes).digest('hex');

async function addProduct(directory: string, name: string, content: string, version = '1.2.3'): Promise<void> {
  const digests = { sha256: hash('sha256', content), sha1: hash('sha1', content) };
  const bill = sbom({ name, files: [{ name, ...digests }], timeSeconds: 0 });
  const options = { source, parameters: { version, parts: [] }, builder: 'urn:test', repository: 'urn:test' };
  await writeFile(join(directory, name), content);
  await writeFile(join(directory, billPath(name)), bill);
  await writeFile(
    join(directory, provenancePath(name)),
    await provenance({ name, sha256: digests.sha256 }, bill, options),
  );
}

/** The executables alone, which are of no part. */
async function makeRelease() {
  const directory = await mkdtempDisposable(join(tmpdir(), 'nibs-release-'));
  for (const name of ['nibs-linux-x64', 'nibs-linux-arm64'])
    await addProduct(directory.path, name, `content of ${name}`);
  return directory;
}

async function sumsOf(directory: string): Promise<string> {
  const lines = (await readdir(directory)).map(async (name) => {
    return `${hash('sha256', await readFile(join(directory, name), 'utf8'))}  ${name}\n`;
  });
  return (await Promise.all(lines)).join('');
}

async function verify(directory: string, sums?: string) {
  const checksums = await verifyChecksums(sums ?? (await sumsOf(directory)), directory, await readdir(directory));
  return await verifyDescriptions(directory, checksums);
}

test('a release whose files, bills of materials and provenances agree is accepted', async () => {
  await using release = await makeRelease();
  const { products, version, commit } = await verify(release.path);
  deepEqual([...products].sort(), ['nibs-linux-arm64', 'nibs-linux-x64']);
  deepEqual([version, commit], ['1.2.3', '0123456789ab']);
});

test('a changed, a missing and an additional file are refused by SHA256SUMS', async () => {
  await using release = await makeRelease();
  const sums = await sumsOf(release.path);
  const path = join(release.path, 'nibs-linux-x64');
  await writeFile(path, 'another');
  await rejects(verify(release.path, sums), /nibs-linux-x64: its checksum is not that in SHA256SUMS/);
  await rm(path);
  await rejects(verify(release.path, sums), /nibs-linux-x64: SHA256SUMS names it, and it is missing/);
  await writeFile(path, 'content of nibs-linux-x64');
  await writeFile(join(release.path, 'stray'), '');
  await rejects(verify(release.path, sums), /stray: SHA256SUMS does not name it/);
});

test('SHA256SUMS must not name files outside of the release', async () => {
  await using release = await makeRelease();
  const outside = `${'0'.repeat(64)}  ../outside\n`;
  await rejects(verify(release.path, `${await sumsOf(release.path)}${outside}`), /SHA256SUMS: it has the line/);
});

for (const [what, change, message] of [
  [
    'without a bill of materials',
    (path: string) => rm(billPath(path)),
    /nibs-linux-x64: no bill of materials names it/,
  ],
  [
    'whose bill of materials has another digest',
    (path: string) => writeFile(path, 'another'),
    /nibs-linux-x64: its bill of materials has another SHA256/,
  ],
  ['without a provenance', (path: string) => rm(provenancePath(path)), /nibs-linux-x64: it has no provenance/],
  [
    'with the provenance of another file',
    (path: string) => rename(provenancePath(path.replace('x64', 'arm64')), provenancePath(path)),
    /its provenance is that of another file|it has no provenance/,
  ],
  [
    'of another release',
    (path: string) => addProduct(path.replace('/nibs-linux-x64', ''), 'nibs-linux-x64', 'content', '1.2.4'),
    /its files are of several releases/,
  ],
  [
    'that is missing altogether',
    async (path: string) => {
      for (const one of [path, billPath(path), provenancePath(path)]) await rm(one);
    },
    /a file of the part executables is missing: \^nibs-linux-x64\$/,
  ],
] as const) {
  test(`a product ${what} is refused, even with a good SHA256SUMS`, async () => {
    await using release = await makeRelease();
    await change(join(release.path, 'nibs-linux-x64'));
    await rejects(verify(release.path), message);
  });
}

test('provenance() names the commit, the lock files, and packages with the checksums of their lock file', async () => {
  const bill = sbom({
    name: 'a',
    files: [],
    packages: [
      {
        name: 'libc6',
        version: '2.41-12',
        architecture: 'amd64',
        sizeBytes: 1,
        sha256: 'a'.repeat(64),
        path: 'pool/libc6.deb',
        maintainer: 'A <a@example.org>',
      },
    ],
    npmPackages: [{ name: 'zod', version: await versionOfZod(), license: 'MIT' }],
    timeSeconds: 0,
  });
  const options = {
    source,
    parameters: { version: '1.2.3', parts: [] },
    builder: 'urn:b',
    repository: 'https://r.example',
  };
  const { predicate, subject } = JSON.parse(await provenance({ name: 'a', sha256: 'b'.repeat(64) }, bill, options));
  deepEqual(subject, [{ name: 'a', digest: { sha256: 'b'.repeat(64) } }]);
  const [commit, npmLock, debianLock, libc, zod, ...others] = predicate.buildDefinition.resolvedDependencies;
  deepEqual(others, []);
  equal(commit.uri, `git+https://r.example@${'0'.repeat(40)}`);
  deepEqual([npmLock.uri, debianLock.uri], ['file:package-lock.json', 'file:initramfs/packages.lock.json']);
  equal(npmLock.digest.sha256, hash('sha256', await readFile('package-lock.json', 'utf8')));
  deepEqual(libc.digest, { sha256: 'a'.repeat(64) });
  match(zod.uri, /^pkg:npm\/zod@/);
  match(zod.digest.sha512, /^[0-9a-f]{128}$/);
  equal(predicate.runDetails.builder.id, 'urn:b');
});

async function versionOfZod(): Promise<string> {
  return JSON.parse(await readFile('package-lock.json', 'utf8')).packages['node_modules/zod'].version;
}
