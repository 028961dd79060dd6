/** The requests for images, and what answers mean. images.test.ts pulls with the real engine. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http, { type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { createDockerEngine } from '../../../../agent/runtime/docker/engine.ts';
import type { PullProgress } from '../../../../agent/runtime/engine.ts';
import { EngineError } from '../../../../agent/runtime/engine-error.ts';
import { PullError } from '../../../../agent/runtime/pull-error.ts';
import type { RegistryLogin } from '../../../../registry/login.ts';

interface Answer {
  readonly status?: number;
  /** A response that is cut off has no end. */
  readonly lines: readonly object[] | 'cut off';
}

let answer: Answer = { lines: [] };
let headers: IncomingHttpHeaders = {};
const server = http.createServer((request, response) => {
  ({ headers } = request);
  request.resume();
  response.writeHead(answer.status ?? 200, { 'content-type': 'application/json' });
  if (answer.lines !== 'cut off') response.end(answer.lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  else response.write('{"status":"Pulling"}\n', () => response.destroy());
});
before(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
after(() => {
  server.close();
  server.closeAllConnections();
});

async function pull(given: Answer, image: string, login?: RegistryLogin): Promise<readonly PullProgress[]> {
  answer = given;
  const engine = createDockerEngine(`tcp://127.0.0.1:${(server.address() as AddressInfo).port}`);
  await using _ = engine;
  return await Array.fromAsync(await engine.pullImage(image, login, new AbortController().signal));
}

const registryImage = 'registry.example:5000/team/image:1';
const hubImage = 'docker.io/library/image:1';
const login = { username: 'me', password: 's3cret' };

for (const [what, image, given, expected] of [
  ['a password to its registry', registryImage, login, { ...login, serveraddress: 'registry.example:5000' }],
  [
    'a password to Docker Hub by its old address',
    hubImage,
    login,
    { ...login, serveraddress: 'https://index.docker.io/v1/' },
  ],
  [
    'a token instead of a password',
    registryImage,
    { identityToken: 't0ken' },
    { identitytoken: 't0ken', serveraddress: 'registry.example:5000' },
  ],
] as const) {
  test(`pullImage() sends ${what}`, async () => {
    await pull({ lines: [{ status: 'Pull complete', id: 'layer' }] }, image, given);
    const sent = Buffer.from(String(headers['x-registry-auth']), 'base64').toString();
    assert.deepEqual(JSON.parse(sent), expected);
  });
}

test('pullImage() sends no credentials where there are none', async () => {
  await pull({ lines: [] }, registryImage);
  assert.equal(Buffer.from(String(headers['x-registry-auth']), 'base64').toString(), '{}');
});

for (const [error, reason] of [
  ['manifest for image:1 not found: manifest unknown', 'not-found'],
  ['unauthorized: authentication required', 'unauthorized'],
  ['failed to register layer: archive/tar: invalid tar header', 'unusable-image'],
  ['toomanyrequests: rate limit', 'temporary'],
] as const) {
  test(`pullImage() fails with an error that comes amid the answer: ${reason}`, async () => {
    await assert.rejects(
      pull({ lines: [{ status: 'Pulling from team/image' }, { error }] }, registryImage),
      (failure) => failure instanceof PullError && failure.reason === reason && failure.message.includes(error),
    );
  });
}

for (const [status, reason] of [
  [404, 'not-found'],
  [400, 'unusable-image'],
  [500, 'temporary'],
] as const) {
  test(`pullImage() fails with status ${status} of an engine whose words are not known: ${reason}`, async () => {
    await assert.rejects(
      pull({ status, lines: [{ message: 'so it is' }] }, registryImage),
      (failure) => failure instanceof PullError && failure.reason === reason,
    );
  });
}

test('pullImage() takes status 503 for an engine that is away, and an answer that is cut off for a passing failure', async () => {
  await assert.rejects(
    pull({ status: 503, lines: [{ message: 'starting' }] }, registryImage),
    (failure) => failure instanceof EngineError && failure.reason === 'unavailable',
  );
  await assert.rejects(
    pull({ lines: 'cut off' }, registryImage),
    (failure) => failure instanceof PullError && failure.reason === 'temporary',
  );
});
