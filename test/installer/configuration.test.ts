import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readConfiguration } from '../../installer/configuration.ts';
import { createDownloadClient, type DownloadClient } from '../../installer/fetch/client.ts';
import type { ConfigurationPlan } from '../../installer/plan.ts';
import { createReport } from '../../installer/progress.ts';
import { createCertificateAuthority } from '../sandbox/certificates.ts';
import { VirtualClock } from '../sandbox/virtual-clock.ts';

const config = Buffer.from('{"ignition":{"version":"3.3.0"}}');
const never = new AbortController().signal;
const report = createReport({
  style: 'lines',
  verbose: false,
  output: { write: () => {} },
  clock: new VirtualClock(),
});

let directory: string;
let plain: http.Server;
let secure: https.Server;
let client: DownloadClient;

const urlOf = (server: http.Server | https.Server, path: string) =>
  new URL(`${server === secure ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}${path}`);

/**
 * `/a.ign` is the config, `/not` is something else, and every other path leads to the other
 * server's config.
 */
function answer(request: http.IncomingMessage, response: http.ServerResponse): void {
  if (request.url === '/a.ign') response.end(config);
  else if (request.url === '/not') response.end('#cloud-config\n');
  else response.writeHead(302, { location: urlOf(request.url === '/to-plain' ? plain : secure, '/a.ign').href }).end();
}

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-configuration-'));
  const authority = await createCertificateAuthority();
  await writeFile(join(directory, 'ca.pem'), authority.certificate);
  // Read once in the life of a process, when the first secure connection is made.
  process.env['SSL_CERT_FILE'] = join(directory, 'ca.pem');
  const { certificate: cert, key } = await authority.issue(['127.0.0.1']);
  plain = http.createServer(answer);
  secure = https.createServer({ cert, key }, answer);
  for (const server of [plain, secure]) await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  client = createDownloadClient({ tries: 1 });
});
after(async () => {
  client[Symbol.dispose]();
  for (const server of [plain, secure]) server.close().closeAllConnections();
  await rm(directory, { recursive: true });
});

async function readIgnition(ignitionUrl: URL, hashed?: 'sha256' | 'sha512', bytes: Uint8Array = config) {
  const hash = hashed && { algorithm: hashed, digest: createHash(hashed).update(bytes).digest('hex') };
  const plan: ConfigurationPlan = { ignitionUrl, ignitionHash: hash, copyNetwork: false, uefiEntry: false };
  return (await readConfiguration(plan, client, report, never)).ignition;
}

test('readConfiguration() downloads an Ignition config over https, also where it was redirected there', async () => {
  for (const url of [urlOf(secure, '/a.ign'), urlOf(secure, '/to-secure')])
    assert.ok(config.equals((await readIgnition(url))?.bytes ?? assert.fail()));
});

test('readConfiguration() refuses a config without hash that passed through a connection without TLS', async () => {
  for (const url of [urlOf(secure, '/to-plain'), urlOf(plain, '/to-secure'), urlOf(plain, '/a.ign')]) {
    await assert.rejects(
      readIgnition(url),
      /cannot download the Ignition config http\S+: a redirect leads through plain HTTP/,
    );
  }
});

test('readConfiguration() takes a config from anywhere when it has the hash that was given', async () => {
  for (const hash of ['sha256', 'sha512'] as const) {
    for (const url of [urlOf(plain, '/a.ign'), urlOf(secure, '/to-plain')])
      assert.ok(config.equals((await readIgnition(url, hash))?.bytes ?? assert.fail()));
    await assert.rejects(
      readIgnition(urlOf(secure, '/a.ign'), hash, Buffer.from('another')),
      new RegExp(`cannot use the Ignition config https\\S+: its hash is ${hash}-\\w+, but --ignition-hash is ${hash}-`),
    );
  }
});

test('readConfiguration() checks a downloaded config as it checks a file', async () => {
  await assert.rejects(
    readIgnition(urlOf(secure, '/not')),
    /cannot use https\S+: it is a cloud-config.*give it with -c/,
  );
});

test('readConfiguration() holds a file to its hash too', async () => {
  const ignition = join(directory, 'a.ign');
  await writeFile(ignition, config);
  const plan = (text: string): ConfigurationPlan => ({
    ignition,
    ignitionHash: { algorithm: 'sha256', digest: createHash('sha256').update(text).digest('hex') },
    copyNetwork: false,
    uefiEntry: false,
  });
  assert.ok((await readConfiguration(plan(config.toString()), undefined, report, never)).ignition !== undefined);
  await assert.rejects(readConfiguration(plan('other'), undefined, report, never), /its hash is sha256-/);
});
