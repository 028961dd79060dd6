/** Templates run from a file: the agent as a process, with an engine of its own. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { z } from 'zod';
import { agentCommand } from '../../../sandbox/agent-under-test/agent-command.ts';
import { startAgentProcess } from '../../../sandbox/agent-under-test/agent-process.ts';
import { runAgentProgram } from '../../../sandbox/agent-under-test/run-agent-program.ts';
import { type SharedEngine, startSharedEngine } from '../../../sandbox/agent-under-test/shared-engine.ts';
import { busyboxImage } from '../../../sandbox/busybox-image.ts';
import { seedHardware, seedIgnition, seedTemplate } from '../../../sandbox/seed.ts';

const machine = { id: 'ce2e62ed-826f-4485-a39f-a82bb74338e2', mac: '08:00:27:00:00:01', address: '192.168.1.5' };

/** In place of the installer of the image: prints its parameters and what it finds. */
const installer = `#!/bin/sh
echo "flatcar-install $*"
ls /statedir
`;

let shared: SharedEngine;
let directory: string;
before(async () => {
  shared = await startSharedEngine();
  directory = await mkdtemp(join(tmpdir(), 'nibs-file-'));
  await shared.registry.push(
    'flatcar-install:latest',
    await busyboxImage({}, { 'usr/local/bin/flatcar-install': installer }),
  );
});
after(async () => {
  await shared[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

interface Ran {
  readonly exitCode: number | undefined;
  readonly events: readonly Readonly<Record<string, unknown>>[];
  readonly stdout: string;
  readonly stderr: string;
}

/** The flags for a template with the engine and the registry of the tests. */
function flagsFor(template: string, ...flags: readonly string[]): string[] {
  const { engine, registry } = shared;
  return [
    ...['--transport', 'file', '--template', template, ...flags],
    ...['--docker-host', engine.host, '--work-directory', join(directory, 'worker'), '--privileged=false'],
    ...['--docker-registry', registry.host, '-u', registry.username, '-p', registry.password],
  ];
}

async function run(template: string, ...flags: readonly string[]): Promise<Ran> {
  const { exitCode, stdout, stderr } = await runAgentProgram(flagsFor(template, ...flags));
  const events = stdout.split('\n').filter((line) => line !== '');
  return { exitCode, stdout, stderr, events: events.map((line) => z.looseObject({}).parse(JSON.parse(line))) };
}

async function write(name: string, content: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, content);
  return path;
}

/** A template of one task with these actions, whose images are all the one there is. */
function templateOf(...actions: readonly string[]): string {
  const head = 'name: bench\nglobal_timeout: 600\ntasks:\n- name: task\n  worker: me\n  actions:\n';
  return head + actions.map((action) => `  - {image: flatcar-install, ${action}}\n`).join('');
}

/** Runs until SIGTERM, which process 1 obeys only if it listens for it. */
const patient = 'command: [sh, -c, "trap exit TERM; sleep 600 & wait"]';

/** The events without what differs from run to run. */
function summary({ events }: Ran): string[] {
  return events.map(({ event, action, verdict }) => [event, action, verdict].filter(Boolean).join(' '));
}

test('the template of the post runs to its end without a server', async () => {
  const state = join(directory, 'statedir');
  const ignition = seedIgnition('ssh-ed25519 AAAA core');
  const text = seedTemplate(ignition, 'a key', 'http://mirror').replace('/statedir:/statedir', `${state}:/statedir`);
  const template = await write('flatcar.yaml', text);
  const ran = await run(template, '--set', `machine1=${machine.mac}`);
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.deepEqual(summary(ran), [
    'workflow-started',
    ...['dump-ignition', 'dump-signing-key', 'flatcar-install'].flatMap((name) => [
      `action-started ${name}`,
      `action-ended ${name} SUCCESS`,
    ]),
    'workflow-ended SUCCESS',
  ]);
  assert.deepEqual([...new Set(ran.events.map(({ workflow }) => workflow))].length, 1);
  assert.equal(await readFile(join(state, 'ignition.json'), 'utf8'), ignition);
  assert.match(ran.stderr, /flatcar-install -s -i \/statedir\/ignition\.json -b http:\/\/mirror/);
  assert.match(ran.stderr, /flatcar\.yaml:11:9: the action has no \\"timeout\\"/);
});

test('hardware fills in the template, and secrets are in no output', async () => {
  const text = templateOf(
    'name: show, timeout: 60, command: [sh, -c, "echo {{ (index .Hardware.Interfaces 0).DHCP.IP.Address }} {{.password}} $TOKEN; exit 3"], environment: {TOKEN: kahn-secret}',
  );
  const hardware = await write('hardware.json', JSON.stringify(seedHardware(machine, '192.168.1.1')));
  const flags = ['--hardware', hardware, '--set', 'password=canary-secret'];
  const ran = await run(await write('hardware.yaml', text), ...flags);
  assert.equal(ran.exitCode, 1);
  assert.match(
    String(ran.events.find(({ event }) => event === 'action-ended')?.['message']),
    /192\.168\.1\.5 \*\*\* \*\*\*/,
  );
  assert.match(ran.stderr, /192\.168\.1\.5 \*\*\*/);
  assert.doesNotMatch(ran.stdout + ran.stderr, /canary|kahn/);
});

test('a failure and a timeout end the workflow after their reactions, with exit code 1', async () => {
  const failing = templateOf(
    'name: fails, timeout: 60, command: ["false"], on-failure: [echo, sorry]',
    'name: never, timeout: 60',
  );
  const failed = await run(await write('fails.yaml', failing));
  assert.equal(failed.exitCode, 1);
  assert.deepEqual(summary(failed), [
    ...['workflow-started', 'action-started fails', 'action-ended fails FAILED', 'workflow-ended FAILED'],
  ]);
  assert.match(failed.stderr, /sorry/);

  const hanging = templateOf(`name: hangs, timeout: 1, ${patient}, on-timeout: [echo, too late]`);
  const timedOut = await run(await write('hangs.yaml', hanging));
  assert.equal(timedOut.exitCode, 1);
  assert.deepEqual(summary(timedOut).slice(2), ['action-ended hangs TIMEOUT', 'workflow-ended TIMEOUT']);
  assert.match(timedOut.stderr, /too late/);
});

test('only the tasks of the given worker run; the others are named', async () => {
  const text = `${templateOf('name: first, timeout: 9, command: ["true"]')}- {name: other, worker: you, actions: [{name: second, image: none}]}\n`;
  const template = await write('two.yaml', text);
  const ran = await run(template, '--id', 'me');
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.deepEqual(
    ran.events
      .filter(({ event }) => event === 'task-skipped')
      .map(({ task, worker, reason }) => ({ task, worker, reason })),
    [{ task: 'other', worker: 'you', reason: 'this is worker me' }],
  );
  assert.ok(!summary(ran).some((event) => event.includes('second')));
  const stranger = await run(template, '--id', 'them');
  assert.deepEqual([stranger.exitCode, stranger.stdout], [2, '']);
  assert.match(stranger.stderr, /no task of the template is for worker them, only for me, you/);
});

test('after global_timeout no action begins', async () => {
  const text = templateOf('name: slow, timeout: 60, command: [sleep, "2"]', 'name: never, timeout: 60');
  const ran = await run(await write('global.yaml', text.replace('600', '1')));
  assert.equal(ran.exitCode, 1);
  assert.deepEqual(summary(ran).slice(2), ['action-ended slow SUCCESS', 'workflow-ended TIMEOUT']);
});

test('a request to stop ends the action and says so', async () => {
  const template = await write('stop.yaml', templateOf(`name: long, timeout: 600, ${patient}`));
  await using agent = startAgentProcess({ command: agentCommand('tink-agent'), flags: flagsFor(template) });
  await agent.logged(/container started/);
  assert.equal(await agent.end('SIGTERM'), 1);
  assert.match(agent.output.join('\n'), /"event":"workflow-ended","verdict":"STOPPED"/);
  assert.deepEqual(await shared.engine.docker.listContainers({ all: true }), []);
});

test('a template that cannot be used is refused with its places before anything runs', async () => {
  const template = await write('bad.yaml', 'name: x\ntasks:\n- name: "{{ .a }}"\n  worker: {{ .unknown }}\n');
  const ran = await run(template, '--set', 'a=b=c');
  assert.deepEqual([ran.exitCode, ran.stdout], [2, '']);
  assert.equal(
    ran.stderr,
    `tink-agent: ${template}:4:14: .unknown: map has no entry for key "unknown" (give it with --set unknown=…)`,
  );
  const missing = await run(join(directory, 'missing.yaml'));
  assert.equal(missing.exitCode, 2);
  assert.match(missing.stderr, /cannot read the template .*missing\.yaml: ENOENT/);
  const secret = await run(
    await write('image.yaml', templateOf('name: a, image: "{{.token}}"').replace('image: flatcar-install, ', '')),
    '--set',
    'token=Canary-Secret',
  );
  assert.equal(secret.exitCode, 2);
  assert.doesNotMatch(secret.stderr, /Canary/);
});
