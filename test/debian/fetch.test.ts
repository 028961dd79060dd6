import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { debianArchive } from '../../debian/archive.ts';
import { fetchPackages } from '../../debian/fetch.ts';

test('fetchPackages() uses a file of the cache only if its content is that of the lock file', async (test) => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-debs-'));
  test.after(() => rm(directory, { recursive: true }));
  const content = Buffer.from('a package');
  const sha256 = createHash('sha256').update(content).digest('hex');
  const one = {
    name: 'kmod',
    version: '1',
    architecture: 'amd64',
    sizeBytes: 9,
    sha256,
    path: 'pool/k',
    maintainer: '',
  };
  const archive = { ...debianArchive, mirrors: async () => [] };
  const file = join(directory, `${sha256}.deb`);
  await writeFile(file, content);
  assert.equal((await fetchPackages([one], directory, archive)).files.get('kmod'), file);
  await writeFile(file, 'a packagf');
  const { files, missing } = await fetchPackages([one], directory, archive);
  assert.deepEqual([files.size, missing.map(({ name }) => name)], [0, ['kmod']]);
  assert.deepEqual(await readdir(directory), []);
});
