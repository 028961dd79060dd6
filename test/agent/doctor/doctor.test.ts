/** `tink-agent doctor` as a program: real engines, registries and NATS, and fake tink servers. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { execa } from 'execa';
import { z } from 'zod';
import { examine } from '../../../agent/doctor/doctor.ts';
import { type Finding, findingsAsText, type Subject } from '../../../agent/doctor/finding.ts';
import { knownCertificates } from '../../../agent/known-certificates.ts';
import { parseArguments } from '../../../agent/settings/arguments.ts';
import { loadSettings } from '../../../agent/settings/config.ts';
import type { Clock } from '../../../clock/clock.ts';
import { systemClock } from '../../../clock/system.ts';
import { addLoopbackAddress } from '../../sandbox/added-address.ts';
import { enrol } from '../../sandbox/agent-under-test/enrol.ts';
import { runAgentProgram } from '../../sandbox/agent-under-test/run-agent-program.ts';
import { type SharedEngine, startSharedEngine } from '../../sandbox/agent-under-test/shared-engine.ts';
import { createCertificateAuthority } from '../../sandbox/certificates.ts';
import { startContainerd } from '../../sandbox/containerd.ts';
import { startNatsServer } from '../../sandbox/nats-server.ts';
import { startRegistry } from '../../sandbox/registry.ts';
import { SERVER_DIALECTS, startTinkServer, type TinkServer } from '../../sandbox/tink-server/server.ts';

let shared: SharedEngine;
let server: TinkServer;
let directory: string;
/** Of a machine on which all is well. */
let healthy: Readonly<Record<string, string>>;

before(async () => {
  [shared, server] = await Promise.all([startSharedEngine(), startTinkServer()]);
  directory = await mkdtemp(join(tmpdir(), 'nibs-doctor-'));
  healthy = environmentFor(server);
});

after(async () => {
  await server?.stop();
  await shared?.[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

function environmentFor(one: TinkServer): Readonly<Record<string, string>> {
  const { workerId, authority, certificateUrl, tls } = enrol(one);
  return {
    WORKER_ID: workerId,
    TINKERBELL_GRPC_AUTHORITY: authority,
    ...(certificateUrl !== undefined && { TINKERBELL_CERT_URL: certificateUrl }),
    ...(tls === false && { TINKERBELL_TLS: 'false' }),
    NIBS_STATE_DIRECTORY: join(directory, 'state'),
    NIBS_WORK_DIRECTORY: join(directory, 'worker'),
    DOCKER_HOST: shared.engine.host,
    DOCKER_REGISTRY: shared.registry.host,
    REGISTRY_USERNAME: shared.registry.username,
    REGISTRY_PASSWORD: shared.registry.password,
  };
}

const output = z.object({
  ok: z.boolean(),
  findings: z.array(
    z.object({
      subject: z.string(),
      severity: z.string(),
      target: z.string(),
      message: z.string(),
      advice: z.string(),
    }),
  ),
});

async function doctor(environment: Readonly<Record<string, string>>, flags: readonly string[] = []) {
  const { exitCode, stdout, stderr } = await runAgentProgram(['doctor', '--json', ...flags], environment);
  assert.equal(stderr, '');
  assert.doesNotMatch(stdout, /canary/);
  const { ok, findings } = output.parse(JSON.parse(stdout));
  assert.equal(exitCode, ok ? 0 : 1);
  const about = (subject: Subject) => findings.filter((one) => one.subject === subject);
  for (const { severity, advice, message } of findings)
    assert.ok(advice !== '' || !['error', 'warning'].includes(severity), `no advice: ${message}`);
  return { ok, findings, about };
}

/** The only finding of a subject that is an error. */
async function errorOf(subject: Subject, environment: Readonly<Record<string, string>>, flags?: readonly string[]) {
  const { ok, about } = await doctor(environment, flags);
  assert.equal(ok, false);
  const [error, ...more] = about(subject).filter(({ severity }) => severity === 'error');
  assert.deepEqual(more, []);
  return error ?? assert.fail(`no error about ${subject}`);
}

test('tink-agent doctor finds nothing wrong where nothing is, and asks the server for nothing', async () => {
  const calls: string[] = [];
  using _ = server.subscribeToCalls((rpc) => void calls.push(rpc));
  const mirror = `${shared.registry.host}/hub`;
  const environment = { ...healthy, NIBS_REGISTRY_MIRRORS: `docker.io=https://${mirror}/` };
  const { ok, findings, about } = await doctor(environment, ['--image', `${shared.registry.host}/busybox`]);
  assert.deepEqual(
    findings.filter(({ severity }) => severity !== 'ok' && severity !== 'warning'),
    [],
  );
  assert.equal(ok, true);
  assert.match(about('settings')[0]?.message ?? '', /^worker ce2e62ed-.*, server 127\./);
  assert.match(about('engine')[0]?.message ?? '', /^Docker \d+\.\S+ at unix:\/\/.*, storage driver overlay/);
  assert.deepEqual(
    about('registry').map(({ target, message }) => `${target}: ${message}`),
    [
      `${shared.registry.host}: the engine reaches it with the configured login`,
      `${mirror}: the engine reaches it with the configured login`,
      `${shared.registry.host}/busybox: the engine has pulled it`,
    ],
  );
  assert.match(about('server')[0]?.message ?? '', /^it answers, with protocol version v0\.1$/);
  assert.match(about('tls')[0]?.message ?? '', /^certificate of 127\..*, valid from \d{4}-\d\d-\d\d to /);
  assert.match(about('clock')[0]?.message ?? '', /^it agrees with http:\/\//);
  assert.match(about('disks')[0]?.message ?? '', / MB free$/);
  assert.deepEqual([...new Set(calls)], ['GetWorkflowContexts']);
});

test('tink-agent doctor prints a line for each finding, and what to do below it', async () => {
  const { exitCode, stdout } = await runAgentProgram(['doctor'], { ...healthy, DOCKER_HOST: '/no/docker.sock' });
  assert.equal(exitCode, 1);
  assert.match(
    stdout,
    /^error {6}engine {4}cannot reach the engine: .*ENOENT.*\n {21}to do: start the engine, or name its address with --docker-host \(now unix:.*\/no\/docker\.sock\)/m,
  );
  assert.match(stdout, /^unchecked {2}registry {2}the engine, which would reach it, does not answer$/m);
  assert.match(stdout, /\nerrors: 1, warnings: \d, not checked: 1$/);
});

for (const dialect of SERVER_DIALECTS) {
  test(`tink-agent doctor names the protocol version of the server: ${dialect}`, async (t) => {
    const one = await startTinkServer({ dialect });
    t.after(() => one.stop());
    const environment = environmentFor(one);
    const tls = one.tls && environment['TINKERBELL_CERT_URL'] === undefined;
    const { about } = await doctor({ ...environment, ...(tls && { TINKERBELL_INSECURE_TLS: 'true' }) });
    const [found] = about('server');
    // v0.7 and v0.8 send the same as v0.2.
    assert.equal(found?.message, `it answers, with protocol version ${dialect === 'v0.7' ? 'v0.2' : dialect}`);
    assert.equal(found.severity, 'ok');
  });
}

describe('tink-agent doctor says what is wrong with the settings', () => {
  test('a value that is not used', async () => {
    const { about } = await doctor({ ...healthy, NIBS_FINISH: 'explode' });
    assert.match(about('settings')[0]?.message ?? '', /^finish \(environment variable NIBS_FINISH\): must be one of/);
  });

  test('no server and no worker ID', async () => {
    const { ok, about } = await doctor({ DOCKER_HOST: shared.engine.host });
    assert.equal(ok, false);
    assert.deepEqual(
      about('settings').map(({ message, advice }) => `${message}: ${advice.slice(0, 12)}`),
      ['no server: give its hos', 'no worker ID: give worker_'],
    );
    assert.equal(about('server')[0]?.severity, 'unchecked');
  });

  test('a flag that does not exist: exit code 2', async () => {
    const { exitCode, stderr } = await runAgentProgram(['doctor', '--no-such-flag'], healthy);
    assert.equal(exitCode, 2);
    assert.match(stderr, /unknown option '--no-such-flag'/);
  });

  test('--json and --image belong to a command', async () => {
    for (const flag of ['--json', '--image=x']) {
      const { exitCode, stderr } = await runAgentProgram([flag], healthy);
      assert.deepEqual([exitCode, /is for the command/.test(stderr)], [2, true]);
    }
  });
});

describe('tink-agent doctor says what is wrong with disks', () => {
  test('a state directory that cannot be made', async () => {
    const { message, advice } = await errorOf('disks', { ...healthy, NIBS_STATE_DIRECTORY: '/dev/null/state' });
    assert.match(message, /^it cannot be written to: ENOTDIR/);
    assert.match(advice, /--state-directory/);
  });

  test('a state directory on a file system that is read-only, full, or in memory', async (t) => {
    const mounted = join(directory, 'mounted');
    await mkdir(mounted);
    const mount = (options: string) => execa('mount', ['-t', 'tmpfs', '-o', options, 'none', mounted]);
    const environment = { ...healthy, NIBS_STATE_DIRECTORY: join(mounted, 'state') };
    await mount('size=1m');
    t.after(() => execa('umount', [mounted]));
    const { about } = await doctor(environment);
    assert.match(
      about('disks')[0]?.message ?? '',
      /^in memory: it does not survive a restart of the machine, 1 MB free$/,
    );
    await writeFile(join(mounted, 'file'), Buffer.alloc(1024 ** 2));
    assert.equal((await errorOf('disks', environment)).message, 'its file system is full');
    await mount('remount,ro');
    assert.match((await errorOf('disks', environment)).message, /^it cannot be written to: EROFS/);
  });
});

describe('tink-agent doctor says what is wrong with a registry, as the engine sees it', () => {
  test('another password', async () => {
    const { message, advice } = await errorOf('registry', { ...healthy, REGISTRY_PASSWORD: 'canary-of-another' });
    assert.match(message, /^cannot pull .*nibs-doctor:no-such-image: .*(?:unauthorized|no basic auth)/);
    assert.match(advice, /refuses the credentials: check user name and password/);
  });

  test('no login where one is needed', async () => {
    const { REGISTRY_PASSWORD: _, ...withoutPassword } = healthy;
    const { ok, about } = await doctor(withoutPassword);
    assert.equal(ok, true, JSON.stringify(about('registry')));
    const [{ severity, message, advice } = assert.fail()] = about('registry');
    assert.deepEqual([severity, message], ['warning', 'it asks for a login, or hides that an image does not exist']);
    assert.match(advice, /registry_username=.*tink-agent doctor --image/);
  });

  test('a registry that does not answer', async () => {
    const { message, advice } = await errorOf('registry', { ...healthy, DOCKER_REGISTRY: '127.0.0.1:1' });
    assert.match(message, /connection refused/);
    assert.match(advice, /check the name or address of the registry/);
  });

  test('an image that the registry does not have', async () => {
    const { message } = await errorOf('registry', healthy, ['--image', `${shared.registry.host}/none:7`]);
    assert.match(message, /none:7: .*(?:not found|unknown)/);
  });

  test('an authority that the engine does not trust', async () => {
    await using address = await addLoopbackAddress();
    await using registry = await startRegistry({ address: address.address, anonymous: true });
    const { message, advice } = await errorOf('registry', { ...healthy, DOCKER_REGISTRY: registry.host });
    assert.match(message, /x509/);
    assert.match(advice, new RegExp(`authority at /etc/docker/certs.d/${registry.host}/ca.crt`));
  });

  test('a containerd without that registry', async () => {
    await using containerd = await startContainerd();
    const flags = ['--runtime', 'containerd', '--containerd-socket', containerd.socketPath];
    const { ok, about } = await doctor(healthy, flags);
    assert.equal(ok, true);
    assert.match(about('engine')[0]?.message ?? '', /^containerd \S+ at .*, namespace tinkerbell$/);
    assert.equal(about('registry')[0]?.message, 'the engine reaches it with the configured login');
    const refused = await errorOf('registry', { ...healthy, REGISTRY_PASSWORD: 'canary-of-another' }, flags);
    assert.match(refused.advice, /check user name and password/);
    await containerd.stop();
    assert.match((await errorOf('engine', healthy, flags)).advice, /^start containerd/);
  });
});

describe('tink-agent doctor says what is wrong with the server', () => {
  test('nothing listens', async () => {
    const { message, advice } = await errorOf('server', { ...healthy, TINKERBELL_GRPC_AUTHORITY: '127.0.0.1:1' });
    assert.match(message, /^cannot call GetWorkflowContexts at 127\.0\.0\.1:1: .*ECONNREFUSED/s);
    assert.match(advice, /is the server running, and reachable/);
  });

  test('it has no TLS', async (t) => {
    const one = await startTinkServer({ dialect: 'current', tls: false });
    t.after(() => one.stop());
    const { advice } = await errorOf('server', { ...environmentFor(one), TINKERBELL_TLS: '' });
    assert.equal(advice, 'the server does not speak TLS: set tinkerbell_tls=false');
  });

  test('it has TLS, and plaintext is set', async () => {
    const { TINKERBELL_CERT_URL: _, ...rest } = healthy;
    const { advice } = await errorOf('server', { ...rest, TINKERBELL_TLS: 'false' });
    assert.equal(advice, 'the server speaks TLS: set tinkerbell_tls=true');
  });

  test('its certificate is signed by an authority that is not known', async () => {
    const { TINKERBELL_CERT_URL: _, ...rest } = healthy;
    const { advice } = await errorOf('server', rest);
    assert.match(advice, /the server's certificate is not trusted/);
  });

  test('its certificate is another one than at the first time, which stays as it is', async () => {
    const state = join(directory, 'known');
    const known = (await createCertificateAuthority()).certificate;
    const memory = knownCertificates(state, healthy['TINKERBELL_GRPC_AUTHORITY'] ?? '');
    await memory.write(known);
    const { message, advice } = await errorOf('server', { ...healthy, NIBS_STATE_DIRECTORY: state });
    assert.match(message, /it has changed: its SHA-256 fingerprint was/);
    assert.match(advice, /nibs_certificate_change=accept/);
    assert.equal(await memory.read(), known);
  });

  test('its certificate ends soon, has ended, or is not valid yet', async (t) => {
    const authority = await createCertificateAuthority();
    const day = 86_400_000;
    for (const [from, until, severity, message] of [
      [-9 * day, 5.5 * day, 'warning', /: 5 days left$/],
      [-9 * day, -day, 'error', /: it has ended, now is /],
      [9 * day, 99 * day, 'error', /: not valid yet, now is /],
    ] as const) {
      const times = { validFrom: new Date(Date.now() + from), validUntil: new Date(Date.now() + until) };
      const address = '127.0.0.1';
      const leaf = await authority.issue([address], times);
      const certificate = { ...leaf, bundle: leaf.certificate + authority.certificate };
      const one = await startTinkServer({ address, certificate });
      t.after(() => one.stop());
      const { about } = await doctor(environmentFor(one));
      const [found] = about('tls');
      assert.equal(found?.severity, severity);
      assert.match(found.message, message);
    }
  });

  test('it speaks another protocol version than the one that is set', async () => {
    const { message } = await errorOf('server', healthy, ['--dialect=v0.9']);
    assert.equal(message, 'it speaks protocol version v0.1, but --dialect is v0.9');
  });

  test('it is a NATS server, which answers or does not, or refuses the password', async () => {
    await using nats = await startNatsServer('authorization { user: agent, password: "canary-of-nats" }');
    const flags = ['--transport', 'nats'];
    const at = (login: string) => ({ ...healthy, NIBS_NATS_SERVER: `nats://${login}@${nats.host}` });
    const { ok, about } = await doctor(at('agent:canary-of-nats'), flags);
    assert.equal(ok, true);
    assert.equal(about('server')[0]?.message, 'it takes the subscription of this worker');
    assert.equal(about('tls')[0]?.severity, 'warning');
    assert.match((await errorOf('server', at('agent:canary-other'), flags)).message, /authorization/i);
    await nats.stop();
    assert.match((await errorOf('server', at('agent:canary-of-nats'), flags)).message, /ECONNREFUSED/);
  });
});

describe('tink-agent doctor compares the clock with the web servers of the machine', () => {
  /** A clock that is ahead. */
  const ahead = (seconds: number): Clock => ({
    ...systemClock,
    now: () => new Date(Date.now() + seconds * 1000),
  });

  async function clockFinding(clock: Clock, environment = healthy): Promise<Finding> {
    const loaded = await loadSettings(parseArguments([]), { NIBS_KERNEL_COMMAND_LINE: '/dev/null', ...environment });
    const certificates = (authority: string) => knownCertificates(directory, authority);
    const findings = await examine(loaded, { clock, certificates }, new AbortController().signal);
    return findings.find(({ subject }) => subject === 'clock') ?? assert.fail(findingsAsText(findings));
  }

  test('it is ahead by a day, or behind by two minutes', async () => {
    const { severity, message, advice } = await clockFinding(ahead(86_400));
    assert.equal(severity, 'error');
    assert.match(message, /^it shows .*Z, 8640\d s ahead of http:/);
    assert.match(advice, /DHCP option 42 or ntp_servers=/);
    const behind = await clockFinding(ahead(-120));
    assert.equal(behind.severity, 'warning');
    assert.match(behind.message, /, 1(?:19|20|21) s behind http:/);
  });

  test('a registry with its own authority tells the time, too', async () => {
    const { TINKERBELL_CERT_URL: _, ...rest } = healthy;
    assert.equal((await clockFinding(systemClock, rest)).message, `it agrees with https://${shared.registry.host}`);
  });

  test('no web server is known', async () => {
    const { TINKERBELL_CERT_URL: _, DOCKER_REGISTRY: _2, ...rest } = healthy;
    const { severity, message } = await clockFinding(systemClock, rest);
    assert.equal(severity, 'unchecked');
    assert.match(message, /the configuration names no web server$/);
  });
});

test('tink-agent explain shows each setting with its value, its source, what it overrides, and no secret', async () => {
  const file = join(directory, 'config.yaml');
  await writeFile(file, 'log-level: debug\nfinish: reboot\n');
  const environment = { NIBS_LOG_LEVEL: 'trace', REGISTRY_PASSWORD: 'canary', HTTP_PROXY: 'http://bob:canary@proxy:1' };
  const flags = [`--config=${file}`, '--log-level=warn'];
  const { exitCode, stdout } = await runAgentProgram(['explain', ...flags], environment);
  assert.equal(exitCode, 0);
  assert.doesNotMatch(stdout, /canary/);
  assert.match(
    stdout,
    new RegExp(
      `^log-level = warn\n    from: flag --log-level\n    overrides: environment variable NIBS_LOG_LEVEL\n    overrides: log-level in the file ${file}\n    Minimum level`,
      'm',
    ),
  );
  assert.match(stdout, /^worker-id = \(not set\)\n {4}from: default\n/m);
  assert.match(stdout, /^registry-password = \*\*\*\n {4}from: environment variable REGISTRY_PASSWORD$/m);
  const { stdout: json } = await runAgentProgram(['explain', 'finish', 'log-level', '--json', ...flags], environment);
  const { settings } = z
    .object({ settings: z.array(z.object({ name: z.string(), value: z.string(), overridden: z.array(z.string()) })) })
    .parse(JSON.parse(json));
  assert.deepEqual(
    settings.map(({ name, value, overridden }) => `${name} ${value} ${overridden.length}`),
    ['finish reboot 0', 'log-level warn 2'],
  );
  const unknown = await runAgentProgram(['explain', 'no-such'], environment);
  assert.deepEqual([unknown.exitCode, unknown.stderr], [2, 'tink-agent: there is no setting no-such: see --help']);
});
