import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { hostArchitecture } from '../../debian/architecture.ts';
import { layOutSite, readSiteSource, type SiteSource } from '../../initramfs/site.ts';
import { readSite } from '../../installer/site.ts';
import { createCertificateAuthority } from '../sandbox/certificates.ts';
import { createGpg } from '../sandbox/signing.ts';

const nothing: SiteSource = { mirrors: [], authorities: undefined, key: undefined };

let directory: string;
let source: SiteSource & { readonly authorities: string; readonly key: string };
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-site-'));
  const [authorities, key, privateKey] = ['ca.pem', 'key.asc', 'private.asc'].map((name) => join(directory, name));
  if (authorities === undefined || key === undefined || privateKey === undefined) assert.fail();
  await using gpg = await createGpg();
  const primary = await gpg.createPrimary('site');
  await writeFile(key, await gpg.exportKeys(primary));
  await writeFile(privateKey, await gpg.exportPrivateKey(primary));
  await writeFile(authorities, (await createCertificateAuthority()).certificate);
  await writeFile(join(directory, 'text'), 'hello\n');
  source = { mirrors: ['https://one.example/flatcar', 'http://two.example'], authorities, key };
});
after(() => rm(directory, { recursive: true }));

async function layOut(given: SiteSource): Promise<string> {
  const tree = await mkdtemp(join(directory, 'tree-'));
  await layOutSite(await readSiteSource(given), tree);
  return tree;
}

test('layOutSite() puts mirrors, authorities and key where the installer reads them', async () => {
  const tree = await layOut(source);
  const authorities = [await readFile(source.authorities, 'utf8')];
  const keyFile = join(tree, 'etc/flatcar-install/signing-key.asc');
  assert.deepEqual(await readSite(tree), { baseUrls: source.mirrors, keyFile, authorities, waitSeconds: 0 });
  assert.deepEqual(await readFile(keyFile), await readFile(source.key));
});

test('layOutSite() lays out only what is given', async () => {
  assert.equal((await readSiteSource(nothing)).size, 0);
  const tree = await layOut({ ...nothing, mirrors: ['http://one.example'] });
  assert.deepEqual(await readdir(join(tree, 'etc/flatcar-install')), ['mirrors']);
});

for (const [what, given, message] of [
  [
    'a mirror that is no URL',
    { mirrors: ['one.example'] },
    /^cannot use the mirror one\.example: it is not an HTTP URL/,
  ],
  ['a CA that is not there', { authorities: 'no-such.pem' }, /^cannot use \S+no-such\.pem: ENOENT: .*\(give CA= /],
  [
    'a CA that is no certificate',
    { authorities: 'text' },
    /text: it contains no certificate in PEM format \(give CA= /,
  ],
  ['a KEY that is no key', { key: 'text' }, /text: .+ \(give KEY= a file with OpenPGP public keys/],
  ['a CA in place of the key', { key: 'ca.pem' }, /ca\.pem: .+ \(give KEY= /],
  ['a private key', { key: 'private.asc' }, /it contains a private key, which must not be in an image \(give KEY= /],
] as const) {
  test(`readSiteSource() refuses ${what}`, async () => {
    const path = (name: string | undefined) => (name === undefined ? undefined : join(directory, name));
    const { mirrors = [], authorities, key }: Partial<SiteSource> = given;
    await assert.rejects(layOut({ mirrors, authorities: path(authorities), key: path(key) }), { message });
  });
}

test('a mistake ends the build of the image with one line', async () => {
  const script = join(import.meta.dirname, '../../initramfs/action-image.ts');
  const { stderr, exitCode } = await execa(process.execPath, [script, '--key', 'no-such.asc'], { reject: false });
  assert.equal(exitCode, 1);
  assert.match(stderr, /^error: cannot use no-such\.asc: ENOENT[^\n]*$/);
});

test('make images hands MIRROR, CA and KEY to the image of the actions', async () => {
  const variables = ['MIRROR=https://one.example https://two.example', 'CA=ca.pem', 'KEY=key.asc'];
  const { stdout } = await execa('make', ['--dry-run', '--always-make', 'images', ...variables], {
    cwd: join(import.meta.dirname, '../..'),
  });
  const expected = '--mirror https://one.example --mirror https://two.example --ca ca.pem --key key.asc';
  assert.ok(stdout.includes(`initramfs/action-image.ts --arch ${hostArchitecture.name} ${expected}\n`), stdout);
});
