/** The agent as a process of its own: against the played server, with a real engine and a real registry. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startConnectProxy } from '../sandbox/connect-proxy.ts';
import { ended, eventsOf, type Hall, makeSite, program, type Site, startHall, until } from './site.ts';

let hall: Hall;

before(async () => {
  hall = await startHall();
});

after(() => hall?.[Symbol.asyncDispose]());

test('tink-worker runs a workflow from a registry with a password, and restarts the machine after the acknowledgement', {
  timeout: 120_000,
}, async (test) => {
  const site = await makeSite(test, hall);
  const workflow = site.createWorkflow([
    { name: 'first', script: 'echo hello from the action; echo first >> /site/done; echo shared > /workflow/note' },
    { name: 'second', script: 'cat /workflow/note; echo second >> /site/done' },
  ]);
  using _ = site.server.subscribe(
    ({ status, actionName }) =>
      void writeFile(join(site.directory, 'done'), `${actionName} ${status}\n`, { flag: 'a' }),
  );
  const agent = site.start(['--finish=reboot']);
  await ended(site, workflow, 'ACTION_SUCCESS', 'second');
  await until(async () => (await site.done()).includes('reboot'));
  assert.deepEqual(await site.done(), [
    ...['first ACTION_IN_PROGRESS', 'first', 'first ACTION_SUCCESS'],
    ...['second ACTION_IN_PROGRESS', 'second', 'second ACTION_SUCCESS', 'reboot'],
  ]);
  const output = agent.output.join('\n');
  assert.match(output, /INFO {2}\[first\] hello from the action/);
  assert.match(output, /INFO {2}\[second\] shared/);
  assert.doesNotMatch(output, /canary/);
});

test('an agent works with settings of a broken boot script and a proxy without a scheme, and names what it does not use', {
  timeout: 120_000,
}, async (test) => {
  const site = await makeSite(test, hall);
  const cmdline = join(site.directory, 'cmdline');
  const usual = (await readFile(cmdline, 'utf8')).trim();
  const broken = `hw_addr=\${mac} tinkerbell_tls= tinkerbell_insecure_tls= nibs_finish=explode HTTP_PROXY=192.0.2.1:3218`;
  await writeFile(cmdline, `${usual} ${broken}\n`);
  const workflow = site.createWorkflow([{ name: 'first', script: 'true' }]);
  const agent = site.start();
  await ended(site, workflow, 'ACTION_SUCCESS', 'first');
  const warnings = agent.output.filter((line) => /WARN/.test(line)).join('\n');
  assert.match(warnings, /boot-mac \(kernel command line, hw_addr\): the variable in it was not replaced by its value/);
  assert.match(warnings, /finish \(kernel command line, nibs_finish\): must be .*; used instead: none \(default\)/);
  assert.doesNotMatch(warnings, /proxy|tls/i);
});

test('an agent reaches a server that only the proxy of the kernel command line can reach', {
  timeout: 120_000,
}, async (test) => {
  const site = await makeSite(test, hall);
  const [address = '', port] = site.server.authority.split(':');
  await using proxy = await startConnectProxy({ hosts: { 'tinkerbell.example': address } });
  const cmdline = join(site.directory, 'cmdline');
  const usual = (await readFile(cmdline, 'utf8')).trim();
  const hidden = `grpc_authority=tinkerbell.example:${port} tinkerbell_insecure_tls=true`;
  await writeFile(cmdline, `${usual} ${hidden} HTTPS_PROXY=${proxy.host} NO_PROXY=10.0.0.0/8,example.org\n`);
  const workflow = site.createWorkflow([{ name: 'first', script: 'true' }]);
  site.start();
  await ended(site, workflow, 'ACTION_SUCCESS', 'first');
  assert.deepEqual([...new Set(proxy.tunnels)], [`tinkerbell.example:${port}`]);
});

test('an action that exits with 3 is FAILED, with the exit code and its last words, and the agent stays', {
  timeout: 120_000,
}, async (test) => {
  const site = await makeSite(test, hall);
  const workflow = site.createWorkflow([
    { name: 'fails', script: 'echo no space left on /dev/sda >&2; exit 3' },
    { name: 'never', script: 'echo never >> /site/done' },
  ]);
  const agent = site.start(['--finish=reboot']);
  const message = await ended(site, workflow, 'ACTION_FAILED', 'fails');
  assert.match(message, /3/);
  assert.match(message, /no space left on \/dev\/sda/);
  const next = site.createWorkflow([{ name: 'later', script: 'true' }]);
  await ended(site, next, 'ACTION_SUCCESS', 'later');
  assert.deepEqual(await site.done().then((lines) => lines.filter((line) => line !== 'reboot')), []);
  assert.deepEqual(eventsOf(site, workflow), ['fails ACTION_IN_PROGRESS', 'fails ACTION_FAILED']);
  assert.equal(agent.process.exitCode, null);
});

test('an action that does not end in time is TIMEOUT, and its container is gone', {
  timeout: 120_000,
}, async (test) => {
  const site = await makeSite(test, hall);
  const workflow = site.createWorkflow([
    { name: 'hangs', script: 'trap "" TERM; echo started; while :; do sleep 1; done', timeoutSeconds: 2 },
  ]);
  site.start();
  const message = await ended(site, workflow, 'ACTION_TIMEOUT', 'hangs');
  assert.match(message, /2 s/);
  const filters = { label: [`nibs.workflow=${workflow}`] };
  await until(async () => (await hall.engine.docker.listContainers({ all: true, filters })).length === 0);
});

test('an image that cannot be pulled is FAILED, with the reason, and without the password', {
  timeout: 120_000,
}, async (test) => {
  const site = await makeSite(test, hall);
  const workflow = site.createWorkflow([{ name: 'missing', script: 'true', image: 'no-such-image:7' }]);
  const agent = site.start();
  const message = await ended(site, workflow, 'ACTION_FAILED', 'missing');
  assert.match(message, /no-such-image:7/);
  assert.match(message, /not found|unknown/i);
  assert.doesNotMatch(message + agent.output.join('\n'), /canary/);
});

describe('an agent that is killed while an action runs', () => {
  /** Kills the agent in the middle of its action and the container with it, as when the machine loses its power; starts another agent. */
  async function powerLoss(site: Site, flags: readonly string[]): Promise<string> {
    const workflow = site.createWorkflow([
      { name: 'quick', script: 'echo quick >> /site/done' },
      { name: 'long', script: 'echo long >> /site/done; echo it runs; [ -e /site/again ] || sleep 600' },
    ]);
    const agent = site.start();
    await agent.said(/\[long\] it runs/);
    await agent.end('SIGKILL');
    for (const { Id } of await hall.engine.docker.listContainers({
      filters: { label: [`nibs.workflow=${workflow}`] },
    })) {
      await hall.engine.docker.getContainer(Id).remove({ force: true });
    }
    await writeFile(join(site.directory, 'again'), '');
    site.start(flags);
    return workflow;
  }

  test('runs it again by default', { timeout: 120_000 }, async (test) => {
    const site = await makeSite(test, hall);
    const workflow = await powerLoss(site, []);
    await ended(site, workflow, 'ACTION_SUCCESS', 'long');
    assert.deepEqual(await site.done(), ['quick', 'long', 'long']);
    assert.deepEqual(eventsOf(site, workflow).slice(2), ['long ACTION_IN_PROGRESS', 'long ACTION_SUCCESS']);
  });

  test('reports it as failed, with the reason, when told to', { timeout: 120_000 }, async (test) => {
    const site = await makeSite(test, hall);
    const workflow = await powerLoss(site, ['--interrupted=fail']);
    assert.match(await ended(site, workflow, 'ACTION_FAILED', 'long'), /^interrupted: /);
    assert.deepEqual(await site.done(), ['quick', 'long']);
  });

  test('waits for its container when that has survived, and does not run it twice', {
    timeout: 120_000,
  }, async (test) => {
    const site = await makeSite(test, hall);
    const workflow = site.createWorkflow([
      {
        name: 'long',
        script: 'echo long >> /site/done; echo it runs; until [ -e /site/go ]; do sleep 0.1; done; echo over',
      },
    ]);
    const agent = site.start();
    await agent.said(/\[long\] it runs/);
    await agent.end('SIGKILL');
    const second = site.start();
    await second.said(/\[long\] action: waiting for the container/);
    await writeFile(join(site.directory, 'go'), '');
    await ended(site, workflow, 'ACTION_SUCCESS', 'long');
    assert.deepEqual(await site.done(), ['long']);
  });
});

test('an agent that is killed between the end of an action and its report: the next one reports it and does not run the action again', {
  timeout: 120_000,
}, async (test) => {
  const site = await makeSite(test, hall);
  const workflow = site.createWorkflow([{ name: 'once', script: 'echo once >> /site/done' }]);
  // The server takes no report of an end, until the agent is dead.
  site.server.interfere = (rpc, request) =>
    rpc === 'ReportActionStatus' && JSON.stringify(request).includes('inished') ? { kind: 'lose request' } : undefined;
  const agent = site.start();
  await agent.said(/\[once\] the action ended: SUCCESS/);
  await agent.said(/cannot report the end of an action/);
  await agent.end('SIGKILL');
  site.server.interfere = undefined;
  site.start();
  await ended(site, workflow, 'ACTION_SUCCESS', 'once');
  assert.deepEqual(await site.done(), ['once']);
  assert.deepEqual(eventsOf(site, workflow), ['once ACTION_IN_PROGRESS', 'once ACTION_SUCCESS']);
});

test('SIGTERM stops the action and its container and ends the agent with 0; what was begun is not forgotten', {
  timeout: 120_000,
}, async (test) => {
  const site = await makeSite(test, hall);
  const workflow = site.createWorkflow([{ name: 'long', script: 'echo it runs; [ -e /site/again ] || sleep 600' }]);
  const agent = site.start();
  await agent.said(/\[long\] it runs/);
  assert.equal(await agent.end('SIGTERM'), 0);
  assert.match(agent.output.at(-1) ?? '', /the agent stops: it received SIGTERM/);
  assert.deepEqual(
    await hall.engine.docker.listContainers({ all: true, filters: { label: [`nibs.workflow=${workflow}`] } }),
    [],
  );
  assert.deepEqual(eventsOf(site, workflow), ['long ACTION_IN_PROGRESS']);
  await writeFile(join(site.directory, 'again'), '');
  site.start();
  await ended(site, workflow, 'ACTION_SUCCESS', 'long');
});

describe('the command line', () => {
  async function run(flags: readonly string[], environment: Readonly<Record<string, string>> = {}) {
    const child = spawn(process.execPath, [program, 'tink-agent', ...flags], {
      env: { NIBS_KERNEL_COMMAND_LINE: '/dev/null', ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [out, error, [code]] = await Promise.all([
      child.stdout.toArray(),
      child.stderr.toArray(),
      once(child, 'exit'),
    ]);
    return { code, out: Buffer.concat(out).toString(), error: Buffer.concat(error).toString() };
  }

  test('--help explains every setting', async () => {
    const { code, out } = await run(['--help']);
    assert.equal(code, 0);
    assert.match(out, /^Usage: tink-agent \[flags\]/);
    assert.match(out, /--interrupted <rerun\|fail>/);
  });

  test('--print-config shows what is in force, without secrets', async () => {
    const { code, out } = await run(['--id=w', '-grpc-server', 'h:1', '--print-config'], {
      REGISTRY_PASSWORD: 'canary',
    });
    assert.equal(code, 0);
    assert.match(out, /^worker-id = w {2}# flag --id$/m);
    assert.doesNotMatch(out, /canary/);
  });

  test('a wrong flag ends with 2 and one line for each problem', async () => {
    const { code, error } = await run(['--finish=never', '--tinkerbell-tls=maybe']);
    assert.equal(code, 2);
    assert.deepEqual(error.split('\n'), [
      'tink-agent: tls (flag --tinkerbell-tls): must be true or false; it is "maybe"',
      'tink-agent: finish (flag --finish): must be one of none, reboot, poweroff, kexec; it is "never"',
      '',
    ]);
  });

  test('a machine without a worker id ends with 2, with what was wrong in what it was given', async () => {
    const { code, error } = await run([], { NIBS_BOOT_MAC: 'eth0', AGENT_GRPC_SERVER: 'h' });
    assert.equal(code, 2);
    assert.match(error, /^tink-agent: boot-mac \(environment variable NIBS_BOOT_MAC\): must be a MAC address.*\n/);
    assert.match(error, /\ntink-agent: no worker ID: give worker_id=/);
  });

  test('a state directory that cannot be used ends with 1 and says so', async () => {
    const { code, error } = await run(['--id=w', '--grpc-server=h:1', '--state-directory=/dev/null/state']);
    assert.equal(code, 1);
    assert.match(error, /^tink-agent: cannot open the journal \/dev\/null\/state\/journal.jsonl: ENOTDIR/);
  });
});
