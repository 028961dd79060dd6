/** The agent as a program: against a fake server, with a real engine and a real registry. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { createProcessMachine, type ProcessMachine } from '../sandbox/agent-under-test/process-machine.ts';
import { runAgentProgram } from '../sandbox/agent-under-test/run-agent-program.ts';
import { type SharedEngine, startSharedEngine } from '../sandbox/agent-under-test/shared-engine.ts';
import { startConnectProxy } from '../sandbox/connect-proxy.ts';
import { pollUntil } from '../sandbox/poll-until.ts';

let shared: SharedEngine;

before(async () => {
  shared = await startSharedEngine();
});

after(() => shared?.[Symbol.asyncDispose]());

test('tink-worker runs a workflow from a registry with a password, and reboots the machine after the acknowledgement', async (test) => {
  const machine = await createProcessMachine(test, shared);
  const workflow = machine.createWorkflow([
    { name: 'first', script: 'echo hello from the action; echo first >> /shared/done; echo shared > /workflow/note' },
    { name: 'second', script: 'cat /workflow/note; echo second >> /shared/done' },
  ]);
  using _ = machine.server.subscribe(
    ({ status, actionName }) =>
      void writeFile(join(machine.directory, 'done'), `${actionName} ${status}\n`, { flag: 'a' }),
  );
  const agent = machine.start(['--finish=reboot']);
  await machine.reported(workflow, 'ACTION_SUCCESS', 'second');
  await pollUntil(async () => (await machine.done()).includes('reboot'), 'the reboot');
  assert.deepEqual(await machine.done(), [
    ...['first ACTION_IN_PROGRESS', 'first', 'first ACTION_SUCCESS'],
    ...['second ACTION_IN_PROGRESS', 'second', 'second ACTION_SUCCESS', 'reboot'],
  ]);
  const output = agent.output.join('\n');
  assert.match(output, /INFO {2}\[first\] hello from the action/);
  assert.match(output, /INFO {2}\[second\] shared/);
  assert.doesNotMatch(output, /canary/);
});

test('an agent works with settings of a broken boot script and a proxy without a scheme, and names what it does not use', async (test) => {
  const machine = await createProcessMachine(test, shared);
  const cmdline = join(machine.directory, 'cmdline');
  const usual = (await readFile(cmdline, 'utf8')).trim();
  const broken = `hw_addr=\${mac} tinkerbell_tls= tinkerbell_insecure_tls= nibs_finish=explode HTTP_PROXY=192.0.2.1:3218`;
  await writeFile(cmdline, `${usual} ${broken}\n`);
  const workflow = machine.createWorkflow([{ name: 'first', script: 'true' }]);
  const agent = machine.start();
  await machine.reported(workflow, 'ACTION_SUCCESS', 'first');
  const warnings = agent.output.filter((line) => /WARN/.test(line)).join('\n');
  assert.match(warnings, /boot-mac \(kernel command line, hw_addr\): the variable in it was not replaced by its value/);
  assert.match(warnings, /finish \(kernel command line, nibs_finish\): must be .*; used instead: none \(default\)/);
  assert.doesNotMatch(warnings, /proxy|tls/i);
});

test('an agent reaches a server that only the proxy of the kernel command line can reach', async (test) => {
  const machine = await createProcessMachine(test, shared);
  const [address = '', port] = machine.server.authority.split(':');
  await using proxy = await startConnectProxy({ hosts: { 'tinkerbell.example': address } });
  const cmdline = join(machine.directory, 'cmdline');
  const usual = (await readFile(cmdline, 'utf8')).trim();
  const hidden = `grpc_authority=tinkerbell.example:${port} tinkerbell_insecure_tls=true`;
  await writeFile(cmdline, `${usual} ${hidden} HTTPS_PROXY=${proxy.host} NO_PROXY=10.0.0.0/8,example.org\n`);
  const workflow = machine.createWorkflow([{ name: 'first', script: 'true' }]);
  machine.start();
  await machine.reported(workflow, 'ACTION_SUCCESS', 'first');
  assert.deepEqual([...new Set(proxy.tunnels)], [`tinkerbell.example:${port}`]);
});

test('an action that exits with 3 is FAILED, with the exit code and its last line, and the agent goes on', async (test) => {
  const machine = await createProcessMachine(test, shared);
  const workflow = machine.createWorkflow([
    { name: 'fails', script: 'echo no space left on /dev/sda >&2; exit 3' },
    { name: 'never', script: 'echo never >> /shared/done' },
  ]);
  const sent: string[] = [];
  const web = createServer(async (request, response) => {
    sent.push(`${request.method} ${request.url}\n${await text(request)}`);
    response.end();
  }).listen(0, '127.0.0.1');
  test.after(() => web.close());
  await once(web, 'listening');
  const { port } = web.address() as AddressInfo;
  const agent = machine.start(['--finish=reboot', `--report-url=http://127.0.0.1:${port}/report.txt`]);
  const message = await machine.reported(workflow, 'ACTION_FAILED', 'fails');
  assert.match(message, /3/);
  assert.match(message, /no space left on \/dev\/sda/);
  const next = machine.createWorkflow([{ name: 'later', script: 'true' }]);
  await machine.reported(next, 'ACTION_SUCCESS', 'later');
  assert.deepEqual(await machine.done().then((lines) => lines.filter((line) => line !== 'reboot')), []);
  assert.deepEqual(machine.events(workflow), ['fails ACTION_IN_PROGRESS', 'fails ACTION_FAILED']);
  await pollUntil(() => sent.length > 0, 'the report of the machine');
  assert.match(sent.join(), /^PUT \/report\.txt\n=== \/proc\/cmdline\n/);
  assert.equal(agent.process.exitCode, null);
});

test('an action that does not end in time is TIMEOUT, and its container is gone', async (test) => {
  const machine = await createProcessMachine(test, shared);
  const workflow = machine.createWorkflow([
    { name: 'hangs', script: 'trap "" TERM; echo started; while :; do sleep 1; done', timeoutSeconds: 2 },
  ]);
  machine.start();
  const message = await machine.reported(workflow, 'ACTION_TIMEOUT', 'hangs');
  assert.match(message, /2 s/);
  const filters = { label: [`nibs.workflow=${workflow}`] };
  const { docker } = shared.engine;
  const isGone = async () => (await docker.listContainers({ all: true, filters })).length === 0;
  await pollUntil(isGone, 'the removal of the container');
});

test('an image that cannot be pulled is FAILED, with the reason, and without the password', async (test) => {
  const machine = await createProcessMachine(test, shared);
  const workflow = machine.createWorkflow([{ name: 'missing', script: 'true', image: 'no-such-image:7' }]);
  const agent = machine.start();
  const message = await machine.reported(workflow, 'ACTION_FAILED', 'missing');
  assert.match(message, /no-such-image:7/);
  assert.match(message, /not found|unknown/i);
  assert.doesNotMatch(message + agent.output.join('\n'), /canary/);
});

describe('an agent that is killed while an action runs', () => {
  /**
   * Kills the agent and the container during an action, as a power cut does; starts another agent.
   */
  async function powerLoss(machine: ProcessMachine, flags: readonly string[]): Promise<string> {
    const workflow = machine.createWorkflow([
      { name: 'quick', script: 'echo quick >> /shared/done' },
      { name: 'long', script: 'echo long >> /shared/done; echo it runs; [ -e /shared/again ] || sleep 600' },
    ]);
    const agent = machine.start();
    await agent.logged(/\[long\] it runs/);
    await agent.end('SIGKILL');
    for (const { Id } of await shared.engine.docker.listContainers({
      filters: { label: [`nibs.workflow=${workflow}`] },
    })) {
      await shared.engine.docker.getContainer(Id).remove({ force: true });
    }
    await writeFile(join(machine.directory, 'again'), '');
    machine.start(flags);
    return workflow;
  }

  test('runs it again by default', async (test) => {
    const machine = await createProcessMachine(test, shared);
    const workflow = await powerLoss(machine, []);
    await machine.reported(workflow, 'ACTION_SUCCESS', 'long');
    assert.deepEqual(await machine.done(), ['quick', 'long', 'long']);
    assert.deepEqual(machine.events(workflow).slice(2), ['long ACTION_IN_PROGRESS', 'long ACTION_SUCCESS']);
  });

  test('reports it as failed, with the reason, with --interrupted=fail', async (test) => {
    const machine = await createProcessMachine(test, shared);
    const workflow = await powerLoss(machine, ['--interrupted=fail']);
    assert.match(await machine.reported(workflow, 'ACTION_FAILED', 'long'), /^interrupted: /);
    assert.deepEqual(await machine.done(), ['quick', 'long']);
  });

  test('waits for its container when that has survived, and does not run it twice', async (test) => {
    const machine = await createProcessMachine(test, shared);
    const workflow = machine.createWorkflow([
      {
        name: 'long',
        script: 'echo long >> /shared/done; echo it runs; until [ -e /shared/go ]; do sleep 0.1; done; echo over',
      },
    ]);
    const agent = machine.start();
    await agent.logged(/\[long\] it runs/);
    await agent.end('SIGKILL');
    const second = machine.start();
    await second.logged(/\[long\] action: waiting for the container/);
    await writeFile(join(machine.directory, 'go'), '');
    await machine.reported(workflow, 'ACTION_SUCCESS', 'long');
    assert.deepEqual(await machine.done(), ['long']);
  });
});

test('an agent that is killed between the end of an action and its report: the next one reports it and does not run the action again', async (test) => {
  const machine = await createProcessMachine(test, shared);
  const workflow = machine.createWorkflow([{ name: 'once', script: 'echo once >> /shared/done' }]);
  // The server takes no report of an end, until the agent is dead.
  machine.server.interfere = (rpc, request) =>
    rpc === 'ReportActionStatus' && JSON.stringify(request).includes('inished') ? { kind: 'lose request' } : undefined;
  const agent = machine.start();
  await agent.logged(/\[once\] the action ended: SUCCESS/);
  await agent.logged(/cannot report the end of an action/);
  await agent.end('SIGKILL');
  machine.server.interfere = undefined;
  machine.start();
  await machine.reported(workflow, 'ACTION_SUCCESS', 'once');
  assert.deepEqual(await machine.done(), ['once']);
  assert.deepEqual(machine.events(workflow), ['once ACTION_IN_PROGRESS', 'once ACTION_SUCCESS']);
});

test('SIGTERM stops the action and its container and ends the agent with 0; what was begun is not forgotten', async (test) => {
  const machine = await createProcessMachine(test, shared);
  const workflow = machine.createWorkflow([
    { name: 'long', script: 'echo it runs; [ -e /shared/again ] || sleep 600' },
  ]);
  const agent = machine.start();
  await agent.logged(/\[long\] it runs/);
  assert.equal(await agent.end('SIGTERM'), 0);
  assert.match(agent.output.at(-1) ?? '', /the agent stops: it received SIGTERM/);
  assert.deepEqual(
    await shared.engine.docker.listContainers({ all: true, filters: { label: [`nibs.workflow=${workflow}`] } }),
    [],
  );
  assert.deepEqual(machine.events(workflow), ['long ACTION_IN_PROGRESS']);
  await writeFile(join(machine.directory, 'again'), '');
  machine.start();
  await machine.reported(workflow, 'ACTION_SUCCESS', 'long');
});

describe('the command line', () => {
  test('--help explains every setting', async () => {
    const { exitCode, stdout } = await runAgentProgram(['--help']);
    assert.equal(exitCode, 0);
    assert.match(stdout, /^Usage: tink-agent \[flags\]/);
    assert.match(stdout, /--interrupted <rerun\|fail>/);
  });

  test('--print-config shows what is in force, without secrets', async () => {
    const { exitCode, stdout } = await runAgentProgram(['--id=w', '-grpc-server', 'h:1', '--print-config'], {
      REGISTRY_PASSWORD: 'canary',
      HTTP_PROXY: 'http://bob:canary@proxy:3128',
      HTTPS_PROXY: 'http://canary@proxy:3128',
      DOCKER_HOST: 'tcp://bob:canary@engine:2375',
      TINKERBELL_CERT_URL: 'http://server/cert?token=canary',
      NIBS_REPORT_URL: 'https://bob:canary@server/',
      NIBS_TLS: 'http://bob:can/ary@x/y', // invalid
      NIBS_INTERRUPTED: 'password=canary', // invalid
    });
    assert.equal(exitCode, 0);
    assert.doesNotMatch(stdout, /can\/ary/);
    assert.match(stdout, /^https-proxy = http:\/\/\*\*\*@proxy:3128/m);
    assert.match(stdout, /^worker-id = w {2}# flag --id$/m);
    assert.doesNotMatch(stdout, /canary/);
  });

  test('a wrong flag ends with 2 and one line for each problem', async () => {
    const { exitCode, stderr } = await runAgentProgram(['--finish=never', '--tinkerbell-tls=maybe']);
    assert.equal(exitCode, 2);
    assert.deepEqual(stderr.split('\n'), [
      'tink-agent: tls (flag --tinkerbell-tls): must be true or false; it is "maybe"',
      'tink-agent: finish (flag --finish): must be one of none, reboot, poweroff, kexec; it is "never"',
    ]);
  });

  test('a machine without a worker ID ends with 2, and with what is wrong with the settings', async () => {
    const { exitCode, stderr } = await runAgentProgram([], { NIBS_BOOT_MAC: 'eth0', AGENT_GRPC_SERVER: 'h' });
    assert.equal(exitCode, 2);
    assert.match(stderr, /^tink-agent: boot-mac \(environment variable NIBS_BOOT_MAC\): must be a MAC address.*\n/);
    assert.match(stderr, /\ntink-agent: no worker ID: give worker_id=/);
  });

  test('a state directory that cannot be used ends with 1 and says so', async () => {
    const { exitCode, stderr } = await runAgentProgram([
      '--id=w',
      '--grpc-server=h:1',
      '--state-directory=/dev/null/state',
    ]);
    assert.equal(exitCode, 1);
    assert.match(stderr, /^tink-agent: cannot open the journal \/dev\/null\/state\/journal.jsonl: ENOTDIR/);
  });
});
