import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { z } from 'zod';
import { readLockFile } from '../debian/lock-file.ts';
import { checkNode } from '../executable/node-base.ts';

const npmLock = z.object({
  packages: z.record(z.string(), z.object({ integrity: z.string().optional(), resolved: z.string().optional() })),
});

test('every npm package has its hash in the lock file, and none another source than the registry', async () => {
  const { packages } = npmLock.parse(JSON.parse(await readFile('package-lock.json', 'utf8')));
  const entries = Object.entries(packages).filter(([path]) => path !== '');
  assert.ok(entries.length > 200);
  const without = entries.filter(([, { integrity = '' }]) => !/^sha512-[\w+/]{86}==$/.test(integrity));
  assert.deepEqual(
    without.map(([path]) => path),
    [],
  );
  assert.deepEqual(
    entries.filter(([, { resolved }]) => resolved !== undefined).map(([path]) => path),
    [],
  );
});

for (const path of ['initramfs/packages.lock.json', 'test/sandbox/packages.lock.json']) {
  test(`every Debian package has its hash in ${path}`, async () => {
    const { architectures } = (await readLockFile(path)) ?? assert.fail('there is none');
    const packages = Object.values(architectures).flatMap((one) => one?.packages ?? []);
    assert.ok(packages.length > 0);
    for (const one of packages) assert.match(one.sha256, /^[0-9a-f]{64}$/);
  });
}

test('the Node that runs this is the published one, and another program is refused', async () => {
  await checkNode(process.execPath, process.arch);
  await assert.rejects(checkNode('package.json', process.arch), /is not the published Node for/);
});
