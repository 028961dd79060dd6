import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { statfs } from 'node:fs/promises';
import { type IncomingMessage, request, type Server } from 'node:http';
import { hostname, totalmem } from 'node:os';
import { test } from 'node:test';
import { createRedactor } from '../../../agent/log/redact.ts';
import type { ActionName } from '../../../agent/runtime/event.ts';
import { createStatusBoard } from '../../../agent/status/board.ts';
import { createMetrics } from '../../../agent/status/metrics.ts';
import { startStatusServer } from '../../../agent/status/server.ts';

const action: ActionName = { workflowId: 'ns/w1', taskName: 'task', name: 'install', id: '1' };

async function startStatus() {
  const redactor = createRedactor();
  const { redact } = redactor;
  let dialect: string | undefined;
  const board = createStatusBoard({
    machine: '08:00:27:00:00:01',
    hostName: 'machine',
    server: '192.168.1.1:42113',
    version: '1.2.3',
    dialect: () => dialect,
    redact,
  });
  const metrics = createMetrics({ build: { version: '1.2.3', commit: 'abc' }, dialect: () => dialect });
  const server = await startStatusServer({ host: '127.0.0.1', port: 0, board, metrics, redact });
  return {
    board,
    metrics,
    redactor,
    speak(name: string) {
      dialect = name;
    },
    /** Settings of both. */
    tell(...events: (Parameters<typeof board.observe>[0] | Parameters<typeof board.observeRuntime>[0])[]) {
      for (const event of events) {
        if ('container' in event || 'stream' in event || /^pull|^warning|^engine/.test(event.kind)) {
          board.observeRuntime(event as Parameters<typeof board.observeRuntime>[0]);
          metrics.observeRuntime(event as Parameters<typeof board.observeRuntime>[0]);
        } else {
          board.observe(event as Parameters<typeof board.observe>[0]);
          metrics.observe(event as Parameters<typeof board.observe>[0]);
        }
      }
    },
    async get(path: string, method = 'GET') {
      const response = await fetch(`http://127.0.0.1:${server.port}${path}`, { method });
      return { code: response.status, type: response.headers.get('content-type'), text: await response.text() };
    },
    /** Of a request with this header Host, which fetch() does not let its caller set. */
    async codeFor(host: string, path: string) {
      const asked = request({ host: '127.0.0.1', port: server.port, path, headers: { host } }).end();
      const [response] = (await once(asked, 'response')) as [IncomingMessage];
      response.resume();
      return response.statusCode;
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

test('/healthz says that the agent runs', async () => {
  await using status = await startStatus();
  const { code, text } = await status.get('/healthz');
  assert.deepEqual([code, text], [200, 'ok\n']);
});

test('/status tells who the machine is and what it does, from the first question to the acknowledged end', async () => {
  await using status = await startStatus();
  const get = async () => JSON.parse((await status.get('/status')).text);

  const { machine, server, state } = await get();
  assert.deepEqual([machine, server, state], ['08:00:27:00:00:01', '192.168.1.1:42113', 'connecting']);

  status.speak('v0.9');
  status.tell({ kind: 'asked', answer: 'idle', reason: 'the server has no workflow' });
  assert.deepEqual([(await get()).state, (await get()).reason], ['idle', 'the server has no workflow']);
  assert.equal((await get()).dialect, 'v0.9');

  status.tell(
    { kind: 'asked', answer: 'action', reason: '' },
    { kind: 'begun', action, image: 'installer', at: new Date() },
    { kind: 'pulling', action, image: 'registry/installer:latest' },
    { kind: 'pull-progress', action, image: 'registry/installer:latest', doneBytes: 10, totalBytes: 20 },
  );
  const working = await get();
  assert.equal(working.workflow, 'ns/w1');
  assert.deepEqual(working.action.progress, { doneBytes: 10, totalBytes: 20 });
  assert.equal(working.action.phase, 'pulling');

  status.tell({ kind: 'started', action, role: 'action', container: 'c', adopted: false });
  assert.equal((await get()).action.phase, 'running');

  status.tell(
    { kind: 'ended', action, verdict: 'FAILED', message: 'exit code 3', seconds: 1.5 },
    { kind: 'acknowledged', action, seconds: 0.01, done: false },
    { kind: 'asked', answer: 'idle', reason: 'the workflow has failed' },
  );
  const { lastAction, lastErrors, action: none } = await get();
  assert.equal(none, undefined);
  assert.deepEqual(lastAction, { name: 'install', verdict: 'FAILED', seconds: 1.5 });
  assert.equal(lastErrors[0].message, 'install: FAILED: exit code 3');

  status.tell({ kind: 'trouble', message: 'cannot ask the server for work: connection refused' });
  assert.equal((await get()).state, 'connecting');
});

test('/metrics counts', async () => {
  await using status = await startStatus();
  status.tell(
    { kind: 'asked', answer: 'idle', reason: 'x' },
    { kind: 'asked', answer: 'idle', reason: 'x' },
    { kind: 'asked', answer: 'action', reason: '' },
    { kind: 'begun', action, image: 'i', at: new Date() },
    { kind: 'pulling', action, image: 'i' },
    { kind: 'pull-progress', action, image: 'i', doneBytes: 10, totalBytes: 20 },
    { kind: 'pull-progress', action, image: 'i', doneBytes: 20, totalBytes: 20 },
    { kind: 'ended', action, verdict: 'SUCCESS', message: '', seconds: 2 },
    { kind: 'acknowledged', action, seconds: 0.01, done: true },
  );
  const before = await status.get('/metrics');
  assert.match(before.type ?? '', /^text\/plain; version=0\.0\.4/);
  for (const line of [
    'nibs_build_info{version="1.2.3",commit="abc"} 1',
    'nibs_polls_total{answer="idle"} 2',
    'nibs_polls_total{answer="action"} 1',
    'nibs_actions_total{verdict="SUCCESS"} 1',
    'nibs_action_duration_seconds_sum 2',
    'nibs_pull_bytes_total 20',
    'nibs_report_latency_seconds_bucket{le="0.02"} 1',
    'nibs_last_error_timestamp_seconds 0',
  ]) {
    assert.ok(before.text.includes(`${line}\n`), `${line}\n\n${before.text}`);
  }
  assert.doesNotMatch(before.text, /nibs_dialect_info\{/);

  status.speak('v0.2');
  status.tell({ kind: 'trouble', message: 'no' });
  const { text } = await status.get('/metrics');
  assert.match(text, /^nibs_dialect_info\{dialect="v0.2"\} 1$/m);
  assert.match(text, /^nibs_errors_total 1$/m);
  assert.match(text, /^nibs_last_error_timestamp_seconds 1[\d.]{9,}$/m);
});

test('/metrics shows used and available memory of the machine, and no temperature where there is no sensor', async () => {
  await using status = await startStatus();
  const { text } = await status.get('/metrics');
  const [, available] = /^nibs_machine_memory_available_bytes ([\d.e+]+)$/m.exec(text) ?? [];
  assert.ok(Number(available) > 0 && Number(available) < totalmem(), text);
  const [, used] = /^nibs_machine_memory_used_bytes ([\d.e+]+)$/m.exec(text) ?? [];
  assert.ok(Number(used) > 0 && Number(used) < totalmem(), text);
  const [, celsius = '20'] = /^nibs_machine_temperature_celsius\{sensor="cpu"\} (.*)$/m.exec(text) ?? [];
  assert.ok(Number(celsius) > 0 && Number(celsius) < 120, text);
});

test('/metrics has the room in each file system, in bytes', async () => {
  await using status = await startStatus();
  const { bavail, bsize } = await statfs('/');
  const { text } = await status.get('/metrics');
  const [, available] = /^nibs_machine_filesystem_available_bytes\{mountpoint="\/"\} ([\d.e+]+)$/m.exec(text) ?? [];
  // Other tests write meanwhile.
  assert.ok(Math.abs(Number(available) / (bavail * bsize) - 1) < 0.2, `${available} of ${bavail * bsize}`);
});

test('a connection that cannot be accepted does not end the agent, which answers the next one', async () => {
  await using status = await startStatus();
  const servers: Server[] = [];
  const remember = (message: unknown) => void servers.push((message as { readonly server: Server }).server);
  subscribe('http.server.request.start', remember);
  await status.get('/healthz');
  unsubscribe('http.server.request.start', remember);
  const [server = assert.fail()] = servers;
  // What Node emits where accept(2) fails.
  server.emit('error', Object.assign(new Error('accept EMFILE'), { code: 'EMFILE', syscall: 'accept' }));
  assert.equal((await status.get('/healthz')).code, 200);
});

test('secrets are on no page', async () => {
  await using status = await startStatus();
  status.redactor.learn('hunter22');
  status.tell(
    { kind: 'asked', answer: 'idle', reason: 'hunter22' },
    { kind: 'begun', action: { ...action, name: 'hunter22' }, image: 'user:hunter22@registry', at: new Date() },
    { kind: 'ended', action, verdict: 'FAILED', message: 'hunter22', seconds: 1 },
    { kind: 'trouble', message: 'login with hunter22' },
  );
  const pages = await Promise.all(['/status', '/metrics', '/healthz', '/hunter22'].map((path) => status.get(path)));
  for (const { text } of pages) assert.doesNotMatch(text, /hunter22/);
});

test('a request that names another host is refused, as of a web page whose name was pointed here', async () => {
  await using status = await startStatus();
  for (const host of [
    'attacker.example',
    'attacker.example:80',
    '127.0.0.1.attacker.example',
    'localhost.attacker.example',
  ])
    for (const path of ['/status', '/metrics', '/healthz']) assert.equal(await status.codeFor(host, path), 421, host);
  for (const host of ['127.0.0.1', '127.0.0.1:9100', '[::1]:9100', '[fe80::1]', 'localhost', 'LOCALHOST:1', hostname()])
    assert.equal(await status.codeFor(host, '/status'), 200, host);
});

test('nothing else is there, and nothing can be changed', async () => {
  await using status = await startStatus();
  assert.equal((await status.get('/')).code, 404);
  assert.equal((await status.get('/status', 'POST')).code, 405);
});
