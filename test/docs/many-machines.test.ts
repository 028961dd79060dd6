/**
 * The caches of docs/many-machines.md with the configuration of docs/caches: Debian's nginx and
 * docker-registry, in front of a registry with a password and a web server with ranges. What goes
 * over the wire from the origins is counted, for one machine and for fifty at the same time.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { pack } from 'tar-stream';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { startDaemon } from '../sandbox/daemon.ts';
import { makeImage } from '../sandbox/image.ts';
import { loopbackAddress } from '../sandbox/loopback-address.ts';
import { startRegistry } from '../sandbox/registry.ts';
import { root } from './pages.ts';

const machines = 50;
const mebibyte = 1024 * 1024;
const actionBytes = 12 * mebibyte;

/** Passes connections to a server, and counts the bytes that come from it. */
async function startCounter(t: TestContext, address: string, host: string, port: number) {
  let bytes = 0;
  const server = createServer((client) => {
    const origin = connect(port, host);
    origin.on('data', (chunk) => {
      bytes += chunk.length;
    });
    for (const [from, to] of [
      [client, origin],
      [origin, client],
    ] as const) {
      from.pipe(to);
      from.on('error', () => to.destroy()).on('close', () => to.destroy());
    }
  });
  server.listen(0, address);
  await once(server, 'listening');
  t.after(() => server.close());
  return {
    port: (server.address() as AddressInfo).port,
    /** Since the last call. */
    take() {
      const taken = bytes;
      bytes = 0;
      return taken;
    },
  };
}

async function scratch(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-caches-'));
  // Workers of nginx are another user.
  await chmod(directory, 0o755);
  t.after(() => rm(directory, { recursive: true }));
  return directory;
}

async function startNginx(t: TestContext, directory: string, configuration: string, url: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  const file = join(directory, 'nginx.conf');
  await writeFile(file, configuration);
  const daemon = await startDaemon({
    program: 'nginx',
    parameters: ['-c', file, '-e', join(directory, 'error.log'), '-g', 'daemon off;'],
    logPath: join(directory, 'nginx.log'),
    ask: () => fetch(url),
  });
  t.after(() => daemon.end());
}

/** The configuration of the page, for addresses and directories of the test. */
async function cacheConfiguration(directory: string, changes: Readonly<Record<string, string>>): Promise<string> {
  let text = await readFile(join(root, 'docs/caches/nginx.conf'), 'utf8');
  const all = { '/run/nginx.pid': `${directory}/pid`, '/var/cache/nginx/nibs': `${directory}/cache`, ...changes };
  for (const [from, to] of Object.entries(all)) {
    assert.ok(text.includes(from), from);
    text = text.replaceAll(from, to);
  }
  return text;
}

/** What a machine reads, by its digest. */
async function download(url: string, headers: Readonly<Record<string, string>> = {}): Promise<string> {
  const response = await fetch(url, { headers });
  assert.equal(response.status, 200, `${url}: ${response.status}`);
  const hash = createHash('sha256');
  for await (const chunk of response.body ?? []) hash.update(chunk);
  return hash.digest('hex');
}

const times = <Result>(count: number, work: () => Promise<Result>) =>
  Promise.all(Array.from({ length: count }, () => work()));

/** Equal within two percent. */
function assertSame(one: number, many: number, leastBytes: number): void {
  assert.ok(one >= leastBytes, `${one} bytes from the origin for one machine, of ${leastBytes}`);
  assert.ok(Math.abs(many - one) / one < 0.02, `${one} bytes from the origin for one machine, ${many} for many`);
}

test('an image of an operating system comes from its origin once, for one machine and for fifty', async (t) => {
  const directory = await scratch(t);
  const [origin, cache] = [loopbackAddress(), loopbackAddress()];
  const files = join(directory, 'files/amd64-usr');
  for (const name of ['one', 'many', 'current']) await mkdir(join(files, name), { recursive: true });
  const image = randomBytes(20 * mebibyte + 12_345);
  const digest = createHash('sha256').update(image).digest('hex');
  for (const name of ['one', 'many']) await writeFile(join(files, name, 'image.bin.bz2'), image);
  await writeFile(join(files, 'current/version.txt'), 'FLATCAR_VERSION=1.2.3\n');
  await startNginx(
    t,
    join(directory, 'origin'),
    `pid ${directory}/origin.pid; events {} http { access_log off; server { listen ${origin}:8080; root ${directory}/files; } }`,
    `http://${origin}:8080/`,
  );
  const counter = await startCounter(t, cache, origin, 8080);
  const configuration = await cacheConfiguration(directory, {
    'https://stable.release.flatcar-linux.net': `http://${cache}:${counter.port}`,
    'proxy_cache_valid 200 1m': 'proxy_cache_valid 200 1d', // this test may take longer than a minute
    'listen 8080': `listen ${cache}:8080`,
    'listen 127.0.0.1:5002': `listen ${cache}:5002`,
    'https://registry.example': `http://${cache}:1`,
  });
  await startNginx(
    t,
    join(directory, 'cache-server'),
    configuration,
    `http://${cache}:8080/stable/current/version.txt`,
  );
  counter.take();

  const url = (name: string) => `http://${cache}:8080/stable/${name}/image.bin.bz2`;
  assert.equal(await download(url('one')), digest);
  const one = counter.take();
  const digests = await times(machines, () => download(url('many')));
  const many = counter.take();
  assert.deepEqual([...new Set(digests)], [digest]);
  assertSame(one, many, image.length);
  t.diagnostic(`operating system image of ${image.length} bytes: ${one} for 1 machine, ${many} for ${machines}`);

  const rest = await fetch(url('many'), { headers: { range: `bytes=${10 * mebibyte + 7}-` } });
  assert.equal(rest.status, 206);
  assert.deepEqual(Buffer.from(await rest.arrayBuffer()), image.subarray(10 * mebibyte + 7));
  const version = await (await fetch(`http://${cache}:8080/stable/current/version.txt`)).text();
  assert.equal(version, 'FLATCAR_VERSION=1.2.3\n');
  assert.equal(counter.take(), 0, 'what is resumed, and the version, come from the cache');
});

const manifestSchema = z.object({
  config: z.object({ digest: z.string() }),
  layers: z.array(z.object({ digest: z.string() })),
});

/**
 * Asks again as engines do: docker-registry sometimes answers 500 while it takes a blob from its
 * origin for another machine.
 */
async function downloadBlob(url: string): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await download(url);
    } catch (error) {
      if (attempt === 5) throw error;
    }
  }
}

/** Asks as an engine does: HEAD and GET of the manifest, then configuration and layers. */
async function pullAsEngine(registry: string, name: string, accept: string): Promise<string[]> {
  const url = `http://${registry}/v2/${name}`;
  assert.equal((await fetch(`http://${registry}/v2/`)).status, 200);
  assert.equal((await fetch(`${url}/manifests/latest`, { method: 'HEAD', headers: { accept } })).status, 200);
  const response = await fetch(`${url}/manifests/latest`, { headers: { accept } });
  const { config, layers } = manifestSchema.parse(await response.json());
  const blobs = [config, ...layers].map(({ digest }) => digest);
  const read = await Promise.all(blobs.map((digest) => downloadBlob(`${url}/blobs/${digest}`)));
  assert.deepEqual(
    read,
    blobs.map((digest) => digest.replace('sha256:', '')),
  );
  return read;
}

async function noiseImage(bytes: number) {
  const archive = pack();
  const content = buffer(archive);
  archive.entry({ name: 'noise' }, randomBytes(bytes));
  archive.finalize();
  return await makeImage([await content], { Cmd: ['/bin/sh'] });
}

test('an image of an action comes from its registry once, for one machine and for fifty', async (t) => {
  const directory = await scratch(t);
  const cache = loopbackAddress();
  await using registry = await startRegistry({ names: ['registry.example'] });
  const [one, many] = await Promise.all([noiseImage(actionBytes), noiseImage(actionBytes)]);
  await registry.push('actions/one', one);
  await registry.push('actions/many', many);
  const [originHost = ''] = registry.host.split(':');
  const counter = await startCounter(t, cache, originHost, registry.port);

  const proxy = parse(await readFile(join(root, 'docs/caches/registry.yml'), 'utf8'));
  proxy.storage.filesystem.rootdirectory = join(directory, 'registry');
  proxy.http.addr = `${cache}:5000`;
  proxy.proxy.remoteurl = `http://${cache}:5002`;
  await writeFile(join(directory, 'registry.yml'), stringify(proxy));
  await writeFile(join(directory, 'ca.pem'), registry.authority.certificate);
  const login = Buffer.from(`${registry.username}:${registry.password}`).toString('base64');
  const configuration = await cacheConfiguration(directory, {
    'listen 8080': `listen ${cache}:8080`,
    '127.0.0.1:5002': `${cache}:5002`,
    'proxy_cache_valid 200 10s': 'proxy_cache_valid 200 1d', // this test may take longer than that
    'cHVsbGVyOnNlY3JldA==': login,
    'https://stable.release.flatcar-linux.net': `http://${cache}:1`,
    'https://registry.example': `https://${cache}:${counter.port}`,
    '/etc/ssl/certs/ca-certificates.crt': join(directory, 'ca.pem'),
  });
  await startNginx(t, join(directory, 'cache-server'), configuration, `http://${cache}:5002/v2/`);
  const daemon = await startDaemon({
    program: 'docker-registry',
    parameters: ['serve', join(directory, 'registry.yml')],
    logPath: join(directory, 'registry.log'),
    ask: () => fetch(`http://${cache}:5000/v2/`),
  });
  t.after(() => daemon.end());
  counter.take();

  await pullAsEngine(`${cache}:5000`, 'actions/one', one.mediaType);
  const forOne = counter.take();
  await times(machines, () => pullAsEngine(`${cache}:5000`, 'actions/many', many.mediaType));
  const forMany = counter.take();
  assertSame(forOne, forMany, actionBytes);
  t.diagnostic(`action image of ${actionBytes} bytes: ${forOne} for 1 machine, ${forMany} for ${machines}`);
});
