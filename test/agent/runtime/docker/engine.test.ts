import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import http, { type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { ContainerSpec } from '../../../../agent/runtime/container-spec.ts';
import { createDockerEngine } from '../../../../agent/runtime/docker/engine.ts';
import type { Engine } from '../../../../agent/runtime/engine.ts';

const spec: ContainerSpec = {
  ...{ name: 'name', image: 'image:1', command: [], environment: [], labels: {}, volumes: [], mounts: [] },
  ...{ entrypoint: undefined, pidMode: undefined, network: 'none', privileges: 'privileged' },
};

type Requests = readonly (readonly [
  name: string,
  send: (engine: Engine, signal: AbortSignal) => Promise<unknown>,
  path: string,
])[];

/** Each method, and the request that is aborted. */
const requests: Requests = [
  ['ping', (engine, signal) => engine.ping(signal), 'GET /_ping'],
  ['listContainers', (engine, signal) => engine.listContainers([], signal), 'GET /containers/json'],
  [
    'createContainer, when it reads the log driver',
    (engine, signal) => engine.createContainer(spec, signal),
    'GET /info',
  ],
  ['createContainer', (engine, signal) => engine.createContainer(spec, signal), 'POST /containers/create'],
  ['inspectContainer', (engine, signal) => engine.inspectContainer('id', signal), 'GET /containers/id/json'],
  ['startContainer', (engine, signal) => engine.startContainer('id', signal), 'POST /containers/id/start'],
  ['attach', (engine, signal) => engine.attach('id', signal), 'POST /containers/id/attach'],
  ['followLog', (engine, signal) => engine.followLog('id', new Date(), signal), 'GET /containers/id/logs'],
  ['waitForExit', (engine, signal) => engine.waitForExit('id', signal), 'POST /containers/id/wait'],
  ['stopContainer', (engine, signal) => engine.stopContainer('id', 1, signal), 'POST /containers/id/stop'],
  ['removeContainer', (engine, signal) => engine.removeContainer('id', signal), 'DELETE /containers/id'],
  ['events', async (engine, signal) => engine.events?.({ container: 'id', kind: 'exited' }, signal), 'GET /events'],
  [
    'hasImage',
    (engine, signal) => engine.hasImage('docker.io/library/image:1', signal),
    'GET /images/docker.io/library/image:1/json',
  ],
  [
    'pullImage',
    (engine, signal) => engine.pullImage('docker.io/library/image:1', undefined, signal),
    'POST /images/create',
  ],
  ['loadImages', (engine, signal) => engine.loadImages(import.meta.filename, signal), 'POST /images/load'],
  ['hasDefaultNetwork', (engine, signal) => engine.hasDefaultNetwork(signal), 'GET /networks'],
];

/** Answers `GET /info` where that is not what is awaited, and nothing else. */
const server = http.createServer((request, response) => {
  const path = `${request.method} ${request.url?.replace(/\?.*/, '')}`;
  server.emit('sent', request.url);
  if (path === 'GET /info' && awaited !== path) response.setHeader('content-type', 'application/json').end('{}');
  else server.emit('held', path, response);
});
let awaited = '';
let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-engine-'));
  server.listen(join(directory, 'socket'));
  await once(server, 'listening');
});
after(async () => {
  server.close();
  server.closeAllConnections();
  await rm(directory, { recursive: true });
});

/**
 * Resolves when an HTTP client of this process has the head of an answer and has called its
 * listeners.
 */
async function untilResponse(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  subscribe('http.client.response.finish', resolve);
  await promise;
  unsubscribe('http.client.response.finish', resolve);
  await setImmediate();
}

/** Reads all of an answer. */
async function drain(answer: AsyncIterable<unknown> | undefined): Promise<void> {
  assert.ok(answer);
  for await (const _ of answer);
}

/** Each method whose answer is read in parts. */
const streams: Requests = [
  ['attach', async (engine, signal) => drain(await engine.attach('id', signal)), 'POST /containers/id/attach'],
  [
    'followLog',
    async (engine, signal) => drain(await engine.followLog('id', new Date(), signal)),
    'GET /containers/id/logs',
  ],
  ['waitForExit', (engine, signal) => engine.waitForExit('id', signal), 'POST /containers/id/wait'],
  [
    'events',
    async (engine, signal) => drain(await engine.events?.({ container: 'id', kind: 'exited' }, signal)),
    'GET /events',
  ],
  [
    'pullImage',
    async (engine, signal) => drain(await engine.pullImage('docker.io/library/image:1', undefined, signal)),
    'POST /images/create',
  ],
  ['loadImages', (engine, signal) => engine.loadImages(import.meta.filename, signal), 'POST /images/load'],
];

for (const [name, request, path] of streams) {
  test(`${name} ends with the reason of its signal amid the answer`, async () => {
    await using engine = createDockerEngine(join(directory, 'socket'));
    const stop = new AbortController();
    const held = once(server, 'held') as Promise<[string, ServerResponse]>;
    const reason = new Error('not wanted any more');
    const rejected = assert.rejects(request(engine, stop.signal), reason);
    const [sent, response] = await held;
    assert.equal(sent, path);
    const closed = once(response, 'close');
    const begun = untilResponse();
    response.writeHead(200).write(' ');
    await begun;
    stop.abort(reason);
    await rejected;
    await closed;
  });
}

for (const [name, request, path] of requests) {
  test(`${name} ends at once with the reason of its signal`, async () => {
    await using engine = createDockerEngine(join(directory, 'socket'));
    const stop = new AbortController();
    awaited = path;
    const held = once(server, 'held') as Promise<[string, ServerResponse]>;
    const reason = new Error('not wanted any more');
    const rejected = assert.rejects(request(engine, stop.signal), reason);
    const [sent, response] = await held;
    assert.equal(sent, path);
    stop.abort(reason);
    await setImmediate();
    // An answer, so that a request that ignores the signal ends too, and is found.
    response.writeHead(500).end();
    await rejected;
  });
}

test('attach asks for no standard input: Podman passes the body of the request on as that', async () => {
  await using engine = createDockerEngine(join(directory, 'socket'));
  const sent = once(server, 'sent') as Promise<[string]>;
  const held = once(server, 'held') as Promise<[string, ServerResponse]>;
  const attached = engine.attach('id', new AbortController().signal);
  const [url] = await sent;
  (await held)[1].writeHead(200).end();
  await drain(await attached);
  const { searchParams } = new URL(url, 'http://engine');
  assert.deepEqual(
    ['stdin', 'stdout', 'stderr', 'stream'].map((name) => searchParams.get(name)),
    ['false', 'true', 'true', 'true'],
  );
});
