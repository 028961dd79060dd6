import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDownloadClient } from '../../installer/fetch/client.ts';
import { preferMirrorOf, type Release, releaseFiles, resolveRelease } from '../../installer/release.ts';
import { startMirror } from '../sandbox/mirror.ts';

const stable: Release = { channel: 'stable', board: 'amd64-usr', version: '4152.2.1', oem: '' };
const never = new AbortController().signal;

test('releaseFiles() finds image and signature on the release server', () => {
  const { images, signatures } = releaseFiles(stable);
  const expected = 'https://stable.release.flatcar-linux.net/amd64-usr/4152.2.1/flatcar_production_image.bin.bz2';
  assert.deepEqual([images.map(String), signatures.map(String)], [[expected], [`${expected}.sig`]]);
});

test('releaseFiles() knows boards, OEM images and the names of LTS streams', () => {
  const { images } = releaseFiles({ channel: 'lts', board: 'arm64-usr', version: 'current-2024', oem: 'ami' });
  assert.equal(
    images.join(),
    'https://lts.release.flatcar-linux.net/arm64-usr/current-2024/flatcar_production_ami_image.bin.bz2',
  );
});

test('releaseFiles() takes mirrors in place of host and board', () => {
  const { images } = releaseFiles({ ...stable, baseUrls: ['http://mirror:8080/flatcar', 'https://other'] });
  assert.deepEqual(images.map(String), [
    'http://mirror:8080/flatcar/4152.2.1/flatcar_production_image.bin.bz2',
    'https://other/4152.2.1/flatcar_production_image.bin.bz2',
  ]);
});

test('preferMirrorOf() puts the mirror of a file first and leaves the others in order', () => {
  const release = { ...stable, baseUrls: ['http://a', 'http://b', 'http://c'] };
  const [, second] = releaseFiles(release).images;
  assert.deepEqual(preferMirrorOf(second ?? assert.fail(), release).baseUrls, ['http://b', 'http://a', 'http://c']);
  assert.equal(preferMirrorOf(new URL('http://elsewhere/'), stable), stable);
});

test('releaseFiles() refuses what is no URL', () => {
  for (const baseUrl of ['ftp://mirror', 'http://', 'file:///images']) {
    assert.throws(
      () => releaseFiles({ ...stable, baseUrls: [baseUrl] }),
      /it is not an HTTP URL \(check -b, -C, -B and -V\)/,
    );
  }
  assert.throws(() => releaseFiles({ ...stable, channel: 'sta ble' }), /it is not an HTTP URL/);
});

for (const [text, version] of [
  ['FLATCAR_BUILD=4152\nFLATCAR_VERSION=4152.2.1\nFLATCAR_VERSION_ID=4152.2.1\n', '4152.2.1'],
  ['FLATCAR_VERSION_ID=1\nFLATCAR_VERSION="4152.2.1+build"\r\n', '4152.2.1+build'],
] as const) {
  test(`resolveRelease() reads ${version} from version.txt`, async () => {
    await using mirror = await startMirror();
    mirror.put('/current/version.txt', Buffer.from(text));
    using client = createDownloadClient();
    const release = await resolveRelease({ ...stable, version: 'current', baseUrls: [mirror.url] }, client, never);
    assert.deepEqual(release, { ...stable, version, baseUrls: [mirror.url] });
  });
}

test('resolveRelease() leaves every other version as it is, without asking', async () => {
  using client = createDownloadClient();
  for (const version of ['4152.2.1', 'current-2024']) {
    assert.deepEqual(await resolveRelease({ ...stable, version }, client, never), { ...stable, version });
  }
});

test('resolveRelease() asks the next mirror where one does not know its current version', async () => {
  await using without = await startMirror();
  await using mirror = await startMirror();
  mirror.put('/current/version.txt', Buffer.from('FLATCAR_VERSION=4152.2.1\n'));
  using client = createDownloadClient();
  const baseUrls = [without.url, mirror.url];
  assert.equal((await resolveRelease({ ...stable, version: 'current', baseUrls }, client, never)).version, '4152.2.1');
});

for (const hostile of [
  '../1.0.0',
  '%2e%2e/1.0.0',
  '1.0.0/../2',
  '4152.2.1\u001b[2J',
  '1',
  '1.0.0 x',
  `1.0.0+${'a'.repeat(90)}`,
]) {
  test(`resolveRelease() refuses ${JSON.stringify(hostile).slice(0, 30)} as a version, and does not print it as it is`, async () => {
    await using mirror = await startMirror();
    mirror.put('/current/version.txt', Buffer.from(`FLATCAR_VERSION=${hostile}\n`));
    using client = createDownloadClient();
    const resolved = resolveRelease({ ...stable, version: 'current', baseUrls: [mirror.url] }, client, never);
    await assert.rejects(resolved, (error: Error) => {
      assert.match(error.message, /FLATCAR_VERSION in it is not a version/);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: what must not be there
      assert.doesNotMatch(error.message, /[\u0000-\u001f\u007f-\u009f]/);
      return true;
    });
    assert.equal(mirror.requests.length, 1);
  });
}
