/**
 * Secrets are planted wherever they may enter the agent, and searched in all that leaves it: log,
 * syslog, status pages and reports. The runtime of this test prints all that an engine and an
 * action may print.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import type { Action } from '../../agent/action/action.ts';
import { createRedactor, type Redactor } from '../../agent/log/redact.ts';
import type { Runtime } from '../../agent/runtime/runtime.ts';
import { parseArguments } from '../../agent/settings/arguments.ts';
import { loadConfig } from '../../agent/settings/config.ts';
import { startTelemetry, type Telemetry } from '../../agent/telemetry.ts';
import { systemClock } from '../../clock/system.ts';
import { AgentMachine } from '../sandbox/agent-under-test/agent-machine.ts';
import { enrol } from '../sandbox/agent-under-test/enrol.ts';
import { SyslogServer } from '../sandbox/syslog-server.ts';
import { MACHINE_ONE } from '../sandbox/tink-server/example.ts';
import { startTinkServer } from '../sandbox/tink-server/server.ts';

const canaries = {
  registryPassword: 'canary-of-the-registry-"\\-1',
  token: 'canary-of-the-token-ghp_2',
  key: 'canary-of-the-key-3',
  userData: 'canary-of-the-user-data-4',
};

/** Credentials that the agent never learned, in the forms of headers, URLs and options. */
const unlearned = [
  `Authorization: Basic ${Buffer.from('bob:canary-of-another-5').toString('base64')}`,
  'got 401 for Bearer canary-of-a-bearer-6',
  'GET /v2/token?token=canary-of-a-query-7&scope=x',
  'run --password=canary-of-an-option-8',
  '{"password":"canary-of-a-field-9"}',
  'clone https://canary-of-a-user-10@host/x',
];

const template = `version: "0.1"
name: canary
global_timeout: 600
tasks:
  - name: task
    worker: "{{.one}}"
    environment:
      API_TOKEN: ${canaries.token}
      USER_DATA: "#cloud-config\\n${canaries.userData}"
      SSH_PRIVATE_KEY: ${canaries.key}
    actions:
      - name: quiet
        image: installer
        timeout: 60
      - name: loud
        image: installer
        timeout: 60
`;

/** Passes on every secret in every way in which an engine, a registry or an action may. */
function createLoudRuntime({ onRuntimeEvent, log }: Telemetry, { redact }: Redactor): Runtime {
  const shout = Object.values(canaries).join(' ');
  return {
    async run(action: Action) {
      const startedAt = new Date();
      const tell = onRuntimeEvent;
      await tell({ kind: 'pulling', action, image: `user:${canaries.registryPassword}@registry/installer` });
      await tell({ kind: 'warning', action, message: redact(`login failed: ${shout}`) });
      await tell({ kind: 'started', action, role: 'action', container: 'c0ffee', adopted: false });
      const encoded = Object.values(canaries).flatMap((secret) => [
        `refused: Basic ${Buffer.from(`bob:${secret}`).toString('base64')}`,
        ...['', 'x', 'xy'].map((before) => Buffer.from(before + secret).toString('base64url')),
        Buffer.from(secret).toString('hex').toUpperCase(),
        JSON.stringify({ secret: `/${secret}` }).replaceAll('/', '\\/'),
        [...secret].map((character) => `\\u00${character.charCodeAt(0).toString(16)}`).join(''),
      ]);
      for (const unknown of unlearned) log.warn({ detail: unknown }, unknown);
      for (const cut of [1, 9, 17]) encoded.push(`${'.'.repeat(16 * 1024 - cut)}${shout}`);
      for (const line of [
        ...encoded,
        shout,
        JSON.stringify(canaries),
        encodeURIComponent(shout),
        `x${'.'.repeat(8000)}${shout}`,
      ]) {
        await tell({ kind: 'output', action, role: 'action', stream: 'stderr', line, continues: false });
      }
      log.warn({ action: action.name, detail: { shout } }, 'a library says too much');
      log.error(new Error(shout, { cause: new Error(shout) }));
      const verdict = action.name === 'loud' ? 'FAILED' : 'SUCCESS';
      return { verdict, message: `exit code 1: ${shout}`, startedAt, endedAt: new Date() };
    },
    resume: async () => undefined,
    discard: async () => {},
    release: async () => {},
  };
}

/** What a reader gets who tries Base64, hexadecimal digits and escapes. */
function decodings(text: string): string {
  const runs = [...text.matchAll(/[\w+/-]{8,}/g)].map(([run]) => run);
  const base64 = runs.flatMap((run) =>
    [0, 1, 2, 3].map((skip) => Buffer.from(run.slice(skip), 'base64').toString('latin1')),
  );
  const hex = runs.filter((run) => /^[\da-f]+$/i.test(run)).map((run) => Buffer.from(run, 'hex').toString('latin1'));
  const escapes = text.replace(/\\+u00(..)/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
  return [...base64, ...hex, escapes].join('\n');
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  assert.ok(address !== null && typeof address === 'object');
  return address.port;
}

test('no secret leaves the agent, wherever it comes from', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-canary-'));
  t.after(() => rm(directory, { recursive: true }));
  await using syslog = new SyslogServer('tcp');
  await syslog.start();
  const server = await startTinkServer();
  t.after(() => server.stop());
  const worker = enrol(server);
  const workflow = server.createWorkflow(server.createTemplate('canary', template), { one: MACHINE_ONE.mac });

  await writeFile(join(directory, 'cmdline'), '');
  const port = await freePort();
  const flags = {
    id: worker.workerId,
    'grpc-server': server.authority,
    'status-address': `127.0.0.1:${port}`,
    'syslog-host': '127.0.0.1',
    'syslog-port': String(syslog.port),
    'syslog-protocol': 'tcp',
    'log-level': 'trace',
    'retry-interval': '50ms',
    'state-directory': directory,
    'registry-password': canaries.registryPassword,
    'kernel-command-line': join(directory, 'cmdline'),
  };
  const { config } = await loadConfig(
    parseArguments(Object.entries(flags).map(([name, value]) => `--${name}=${value}`)),
    {},
  );
  assert.ok(config.transport !== 'file');

  const redactor = createRedactor();
  redactor.learn(canaries.registryPassword);
  const log: string[] = [];
  const pages: string[] = [];
  {
    const build = { version: 'test', commit: 'none', node: process.version };
    const stream = new PassThrough().on('data', (lines) => log.push(String(lines)));
    await using telemetry = await startTelemetry(config, {
      build,
      clock: systemClock,
      format: 'text',
      redactor,
      stream,
    });
    const { interrupted, finish, pollSeconds, maxBackoffSeconds } = config;
    await using machine = AgentMachine.forServer(
      { ...worker, onDialect: telemetry.onDialect },
      {
        ...{
          directory,
          redactor,
          log: telemetry.log,
          observe: telemetry.observe,
          interrupted,
          finish,
          pollSeconds,
          maxBackoffSeconds,
        },
        runtime: () => createLoudRuntime(telemetry, redactor),
      },
    );
    await machine.start();
    await server.waitFor(workflow, (events) => events.some(({ progress }) => progress === 'FAILED'));
    for (const page of ['status', 'metrics', 'healthz']) {
      pages.push(await (await fetch(`http://127.0.0.1:${port}/${page}`)).text());
    }
    await machine.stop();
  }
  await syslog.until((messages) => messages.some((message) => message.includes('the agent stops')));

  const reports = await server.waitFor(workflow, () => true);
  const outputs = {
    log: log.join(''),
    syslog: syslog.messages.join('\n'),
    pages: pages.join('\n'),
    reports: JSON.stringify(reports),
  };
  assert.match(outputs.log, /the server answers \(memoryUsedKiB=\d+\)/);
  for (const [name, text] of Object.entries(outputs)) {
    assert.match(text, /\*\*\*/, `nothing was masked in ${name}, so nothing was tried`);
    assert.doesNotMatch(decodings(text), /canary-of/, name);
    for (const form of ['canary-of', encodeURIComponent(canaries.registryPassword)]) {
      const at = text.indexOf(form);
      assert.ok(at < 0, `${name}: …${text.slice(Math.max(0, at - 200), at + 100)}…`);
    }
  }
});
