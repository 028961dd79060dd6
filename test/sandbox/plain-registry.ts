import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDaemon } from './daemon.ts';
import type { Image } from './image.ts';
import { loopbackAddress } from './loopback-address.ts';

/**
 * A registry (Debian's docker-registry) without TLS and without passwords, as
 * `insecure_registries=` names them.
 */
export interface PlainRegistry extends AsyncDisposable {
  /** `address:port`, as it stands in front of an image's name. */
  readonly host: string;
  /**
   * Puts an image into it.
   * @param name repository and tag, for example `tools/busybox:1`
   * @returns the reference to pull it with
   */
  push(name: string, image: Image): Promise<string>;
}

export async function startPlainRegistry(): Promise<PlainRegistry> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-registry-'));
  const host = `${loopbackAddress()}:5000`;
  const configuration = {
    version: 0.1,
    storage: { filesystem: { rootdirectory: join(directory, 'storage') } },
    http: { addr: host },
  };
  await writeFile(join(directory, 'config.yml'), JSON.stringify(configuration));
  const daemon = await startDaemon({
    program: 'docker-registry',
    parameters: ['serve', join(directory, 'config.yml')],
    logPath: join(directory, 'registry.log'),
    ask: () => fetch(`http://${host}/v2/`),
  });
  return {
    host,
    async push(name, image) {
      const [repository, tag] = name.split(':');
      const base = `http://${host}/v2/${repository}`;
      for (const blob of [image.configuration, ...image.layers]) {
        const { headers } = await request(`${base}/blobs/uploads/`, 'POST');
        const place = new URL(headers.get('location') ?? assert.fail('the registry names no place for a blob'));
        place.searchParams.set('digest', `sha256:${createHash('sha256').update(blob).digest('hex')}`);
        await request(place, 'PUT', blob);
      }
      await request(`${base}/manifests/${tag}`, 'PUT', image.manifest, { 'content-type': image.mediaType });
      return `${host}/${name}`;
    },
    async [Symbol.asyncDispose]() {
      await daemon.end();
      await rm(directory, { recursive: true });
    },
  };
}

async function request(
  url: string | URL,
  method: string,
  body?: Buffer,
  headers: Record<string, string> = { 'content-type': 'application/octet-stream' },
): Promise<Response> {
  const response = await fetch(url, { method, headers, body: body === undefined ? null : new Uint8Array(body) });
  assert.ok(response.ok, `${method} ${url}: ${response.status} ${await response.text()}`);
  return response;
}
