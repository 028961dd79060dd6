/**
 * Site defaults in the action image: the installer uses them where the command line does not name
 * others.
 */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { main } from '../../installer/main.ts';
import { parseOptions } from '../../installer/options.ts';
import { makePlan, settingsOf } from '../../installer/plan.ts';
import { noSite, parseMirrors, readSite, type SiteDefaults, siteFiles } from '../../installer/site.ts';
import { type CertificateAuthority, createCertificateAuthority } from '../sandbox/certificates.ts';
import { type Mirror, startMirror } from '../sandbox/mirror.ts';
import {
  imageFile,
  makeSignedRelease,
  publish,
  releaseVersion,
  type SignedRelease,
} from '../sandbox/signed-release.ts';

const defaults = { board: 'amd64-usr', channel: 'stable', version: 'current', oem: '' };

let release: SignedRelease;
let mirror: Mirror;
let authority: CertificateAuthority;
let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-site-'));
  [release, mirror, authority] = await Promise.all([makeSignedRelease(), startMirror(), createCertificateAuthority()]);
  publish(mirror, release);
});
after(async () => {
  await mirror[Symbol.asyncDispose]();
  await release[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

let roots = 0;
async function makeRoot(files: Readonly<Record<string, string | Buffer>>): Promise<string> {
  const root = join(directory, `root-${roots++}`);
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }
  return root;
}

const [mirrors, key, authorities] = [
  'etc/flatcar-install/mirrors',
  'etc/flatcar-install/signing-key.asc',
  'etc/flatcar-install/authorities.pem',
];

async function download(root: string, ...args: string[]) {
  const [stdout, stderr]: [string[], string[]] = [[], []];
  const workingDirectory = await mkdtemp(join(directory, 'download-'));
  const system = {
    root,
    workingDirectory,
    stdout: { write: (text: string) => stdout.push(text) },
    stderr: { write: (text: string) => stderr.push(text) },
  };
  const exitCode = await main(['-D', '--tries', '1', ...args], {}, system);
  return { exitCode, stdout: stdout.join(''), stderr: stderr.join('') };
}

test('readSite() finds nothing on a system without site defaults', async () => {
  assert.deepEqual(await readSite(join(directory, 'no-such-root')), noSite);
});

test('readSite() does not do without a key that is there and cannot be read', async () => {
  const root = await mkdtemp(join(directory, 'root-'));
  await mkdir(join(root, siteFiles.key), { recursive: true });
  await assert.rejects(readSite(root), /cannot read .*signing-key\.asc: EISDIR/);
});

test('readSite() reads mirrors, one a line, and the authorities one by one', async () => {
  const other = await createCertificateAuthority('other');
  const root = await makeRoot({
    [mirrors]: '# ours\n  https://one.example/flatcar \n\nhttp://two.example\n',
    [authorities]: `ours:\n${authority.certificate}\ntheirs:\n${other.certificate}`,
    [key]: 'a key',
  });
  assert.deepEqual(await readSite(root), {
    baseUrls: ['https://one.example/flatcar', 'http://two.example'],
    keyFile: join(root, key),
    authorities: [authority.certificate, other.certificate],
    waitSeconds: 0,
  });
  assert.deepEqual(parseMirrors(''), []);
});

for (const [what, content, message] of [
  [
    'no certificate',
    'hello\n',
    /use the certificate authorities in \S+authorities\.pem: it contains no certificate in PEM format \(/,
  ],
  [
    'a broken certificate',
    '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
    /authorities\.pem: certificate 1 in it cannot be read: /,
  ],
] as const) {
  test(`readSite() refuses ${what} as an authority`, async () => {
    await assert.rejects(readSite(await makeRoot({ [authorities]: content })), message);
  });
}

test('readSite() reads how long to wait for a disk, and --wait overrides it', async () => {
  const read = await readSite(await makeRoot({ 'etc/flatcar-install/wait-seconds': '30\n' }));
  assert.equal(read.waitSeconds, 30);
  assert.equal(planOf().target?.waitSeconds, 30);
  assert.equal(planOf('--wait', '5').target?.waitSeconds, 5);
  await assert.rejects(
    readSite(await makeRoot({ 'etc/flatcar-install/wait-seconds': 'long' })),
    /wait-seconds: it has no number of seconds/,
  );
});

const site: SiteDefaults = {
  baseUrls: ['https://one.example/flatcar', 'https://two.example/'],
  keyFile: '/etc/flatcar-install/signing-key.asc',
  authorities: [],
  waitSeconds: 30,
};

function planOf(...args: string[]) {
  const parsed = parseOptions(['-s', ...args], defaults, site);
  return parsed.kind === 'options' ? makePlan(parsed.options, defaults, site) : assert.fail(JSON.stringify(parsed));
}

test('makePlan() takes mirrors and keys of the site where the command line names none, and shows them', () => {
  const plan = planOf();
  assert.deepEqual(plan.release.baseUrls, ['https://one.example/flatcar', 'https://two.example']);
  const { BASEURL, KEYFILE } = settingsOf(plan);
  assert.equal(BASEURL, 'https://one.example/flatcar https://two.example');
  assert.equal(KEYFILE, site.keyFile);
});

test('makePlan() lets -b and -k win over the site', () => {
  const plan = planOf('-b', 'http://mine', '-k', 'mine.asc');
  assert.deepEqual(plan.release.baseUrls, ['http://mine']);
  assert.equal(plan.keyFile, 'mine.asc');
  assert.equal(plan.siteKeyFile, undefined);
  assert.equal(planOf('-b', '').release.baseUrls, undefined, 'an empty -b is the release server');
});

test('parseOptions() shows in its help what the site has', () => {
  const help = parseOptions(['-h'], defaults, site);
  const text = help.kind === 'text' ? help.text.replaceAll(/\s+/g, ' ') : assert.fail();
  assert.match(text, /\(site default: https:\/\/one\.example\/flatcar, https:\/\/two\.example\/\)/);
  assert.match(text, /instead of Flatcar's \(site default: \/etc\/flatcar-install\/signing-key\.asc\)/);
  assert.doesNotMatch(JSON.stringify(parseOptions(['-h'], defaults)), /site default/);
});

test('an image of a site installs from its mirror what is signed by its key, without -b and without -k', async () => {
  const root = await makeRoot({ [mirrors]: `${mirror.url}\n`, [key]: await readFile(release.keyPath) });
  const ran = await download(root);
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.match(ran.stderr, new RegExp(`Good signature by ${release.subkey} `));
  const paths = mirror.requests.map(({ path }) => path);
  assert.deepEqual(paths, ['/current/version.txt', imageFile, `${imageFile}.sig`], 'no key is asked for');
});

test('a key of the site counts in place of the pinned one, and not for another fingerprint', async () => {
  const withoutKey = await makeRoot({ [mirrors]: mirror.url });
  assert.match((await download(withoutKey)).stderr, /Error: cannot trust the signature /);
  const withKey = await makeRoot({ [mirrors]: mirror.url, [key]: await readFile(release.keyPath) });
  const pinned = await download(withKey, '--key-fingerprint', release.primary);
  assert.equal(pinned.exitCode, 0, pinned.stderr);
  const elsewhere = await download(withKey, '--key-fingerprint', 'F88CFEDEFF29A5B4D9523864E25D9AED0593B34A');
  assert.match(elsewhere.stderr, /signing-key\.asc: it has no key with the fingerprint F88CFEDE/);
});

test('an authority of the site is trusted for downloads', async () => {
  const { certificate: cert, key: serverKey } = await authority.issue(['127.0.0.1']);
  const server = createServer({ cert, key: serverKey }, (request, response) => {
    const { pathname } = new URL(request.url ?? '', 'https://mirror');
    const files: Record<string, Buffer> = {
      '/current/version.txt': Buffer.from(`FLATCAR_VERSION=${releaseVersion}\n`),
      [imageFile]: release.compressed,
      [`${imageFile}.sig`]: release.signature,
    };
    response.writeHead(files[pathname] === undefined ? 404 : 200).end(files[pathname]);
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  const url = `https://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
  try {
    const files = { [mirrors]: url, [key]: await readFile(release.keyPath) };
    const trusting = await download(await makeRoot({ ...files, [authorities]: authority.certificate }));
    assert.equal(trusting.exitCode, 0, trusting.stderr);
    const distrusting = await download(await makeRoot(files));
    assert.match(distrusting.stderr, /set SSL_CERT_FILE to a file with the certificate authority to trust/);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
