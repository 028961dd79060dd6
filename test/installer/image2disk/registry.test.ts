/** Disk images in a real registry, as `oras push` puts them there. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { image2disk } from '../../../installer/main.ts';
import { addLoopbackAddress, type LoopbackAddress } from '../../sandbox/added-address.ts';
import { makeArtifact } from '../../sandbox/artifact.ts';
import { createLoopDevice } from '../../sandbox/loop-device.ts';
import { type Registry, startRegistry } from '../../sandbox/registry.ts';

const mebibyte = 1024 * 1024;
const disk = Buffer.alloc(8 * mebibyte);
for (const start of [0, 5]) randomBytes(mebibyte).copy(disk, start * mebibyte);

/** Not an address of loopback for registry clients: certificates are verified. */
let remote: LoopbackAddress;
let registry: Registry;
before(async () => {
  remote = await addLoopbackAddress();
  registry = await startRegistry({ address: remote.address });
  await registry.push('test/debian:raw.gz', makeArtifact([{ title: 'debian.raw.gz', bytes: gzipSync(disk) }]));
  await registry.push(
    'test/two:raw',
    makeArtifact([
      { title: 'a.raw', bytes: disk },
      { title: 'b.raw', bytes: disk },
    ]),
  );
  await registry.push('test/container:1', makeArtifact([{ bytes: gzipSync('a') }, { bytes: gzipSync('b') }]));
});
after(async () => {
  await registry[Symbol.asyncDispose]();
  await remote[Symbol.asyncDispose]();
});

async function run(name: string, environment: Record<string, string>) {
  await using target = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  const out: string[] = [];
  const login = { REGISTRY_USERNAME: registry.username, REGISTRY_PASSWORD: registry.password };
  const settings = { IMG_URL: `${registry.host}/${name}`, DEST_DISK: target.path, COMPRESSED: 'true' };
  const exitCode = await image2disk(
    [],
    { ...settings, ...login, ...environment },
    { root: '/no-such-root', stdout: { write: (text) => out.push(text) } },
  );
  const lines: Record<string, string>[] = out.map((line) => JSON.parse(line));
  const found = (await readFile(target.path)).subarray(0, disk.length);
  return { exitCode, last: lines.at(-1)?.['err'] ?? '', isWritten: found.equals(disk), text: out.join('') };
}

test('image2disk writes the only layer of an artefact, without verifying the certificate', async () => {
  const { exitCode, isWritten, text } = await run('test/debian:raw.gz', { SKIP_VERIFY: 'true' });
  assert.equal(exitCode, 0, text);
  assert.ok(isWritten);
  assert.match(text, /Beginning write of image \[debian:raw\.gz\]/);
  assert.doesNotMatch(text, /WARN/);
});

const failures: readonly (readonly [name: string, environment: Record<string, string>, why: RegExp])[] = [
  ['test/debian:raw.gz', {}, /x509: unable to verify .*\(set SSL_CERT_FILE .* or SKIP_VERIFY=true\)/],
  [
    'test/debian:raw.gz',
    { SKIP_VERIFY: '1', REGISTRY_PASSWORD: 'wrong' },
    /\(give REGISTRY_USERNAME and REGISTRY_PASSWORD\)/,
  ],
  [
    'test/debian:raw.gz',
    { SKIP_VERIFY: '1', REGISTRY_USERNAME: '' },
    /\(give REGISTRY_USERNAME and REGISTRY_PASSWORD\)/,
  ],
  ['test/debian:other', { SKIP_VERIFY: '1' }, /\(check the name and the tag in IMG_URL\)/],
  ['test/two:raw', { SKIP_VERIFY: '1' }, /it has several files \(a\.raw, b\.raw\): push the disk image alone/],
  ['test/container:1', { SKIP_VERIFY: '1' }, /it has 2 layers, and none has the name of a file/],
  ['test/debian:RAW@sha256:12', { SKIP_VERIFY: '1' }, /its digest is malformed/],
];
for (const [name, environment, why] of failures) {
  test(`image2disk says why: ${name}, ${why.source}`, async () => {
    const { exitCode, last, isWritten } = await run(name, environment);
    assert.equal(exitCode, 1);
    assert.match(last, why);
    assert.ok(!isWritten);
  });
}
