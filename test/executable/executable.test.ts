import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { execa } from 'execa';
import { startTinkServer } from '../sandbox/tink-server/server.ts';

const root = join(import.meta.dirname, '../..');
const executable = join(root, `build/nibs-linux-${process.arch}`);

describe('the executable', () => {
  let directory: string;
  before(() => {
    assert.ok(existsSync(executable), `${executable} is missing; run \`make build\``);
    directory = mkdtempSync(join(tmpdir(), 'nibs-executable-'));
  });
  after(() => rmSync(directory, { recursive: true }));

  /** Runs it through a link, with nothing of this repository in the environment. */
  function run(name: string, ...args: string[]) {
    const link = join(directory, name);
    if (!existsSync(link)) symlinkSync(executable, link);
    return spawnSync(link, args, { encoding: 'utf8', cwd: '/', env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } });
  }

  for (const name of ['tink-agent', 'tink-worker', 'flatcar-install']) {
    test(`${name} --version says version, commit and Node`, () => {
      const { stdout, status } = run(name, '--version');
      const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
      assert.match(
        stdout,
        new RegExp(`^${name} \\(nibs\\) ${version}, commit [0-9a-f]{12}(-dirty)?, Node ${process.version}\\n$`),
      );
      assert.equal(status, 0);
    });

    test(`${name} --help prints its options`, () => {
      const { stdout, stderr, status } = run(name, '--help');
      assert.match(stdout, new RegExp(`^Usage: ${name}`));
      assert.equal(stderr, '');
      assert.equal(status, 0);
    });

    test(`${name} refuses an unknown option with a reason and without a stack trace`, () => {
      const { stderr, status } = run(name, '--no-such-option');
      assert.match(stderr, /no-such-option/);
      assert.doesNotMatch(stderr, /^ +at /m);
      assert.notEqual(status, 0);
    });
  }

  /** What it prints until it could not connect to a NATS server, where there is none. */
  async function withoutNats(variables: Readonly<Record<string, string>>) {
    const child = execa(
      executable,
      ['tink-agent', '--transport=nats', '--nats-server=127.0.0.1:1', '--id=one', `--state-directory=${directory}`],
      { all: true, buffer: false, reject: false, env: { NIBS_KERNEL_COMMAND_LINE: '/dev/null', ...variables } },
    );
    const lines: string[] = [];
    for await (const line of child.iterable({ from: 'all' })) {
      lines.push(line);
      if (line.includes('cannot connect to the NATS server')) child.kill('SIGTERM');
    }
    assert.equal((await child).exitCode, 0);
    return lines.join('\n');
  }

  test('has a package that is seldom needed, too: the client of NATS', async () => {
    assert.match(await withoutNats({}), /cannot connect to the NATS server 127\.0\.0\.1:1: connect ECONNREFUSED/);
  });

  test('prints nothing of connections for NODE_DEBUG', async () => {
    assert.doesNotMatch(await withoutNats({ NODE_DEBUG: 'net' }), /^NET \d+/m);
  });

  test('renders a template', () => {
    const template = join(directory, 'template.yaml');
    writeFileSync(template, 'name: {{ list "a" "b" | join "-" }}\ntasks: []\n');
    const { stderr, status } = run('tink-agent', '--transport=file', `--template=${template}`);
    assert.match(stderr, /template\.yaml:2:8: the template must have at least one task$/m);
    assert.equal(status, 2);
  });

  test("sends the machine's attributes to a current server", async () => {
    await using server = await startTinkServer({ dialect: 'current' });
    const asked = Promise.withResolvers<unknown>();
    using _ = server.subscribeToCalls((rpc, request) => {
      if (rpc === 'GetAction') asked.resolve(request);
    });
    const settings = [`--grpc-server=${server.authority}`, '--tinkerbell-tls=false', '--dialect=current', '--id=one'];
    const child = execa(executable, ['tink-agent', ...settings, `--state-directory=${directory}`], {
      ...{ all: true, reject: false, env: { NIBS_KERNEL_COMMAND_LINE: '/dev/null' } },
    });
    const request = await Promise.race([asked.promise, child.then(({ all }) => assert.fail(all))]);
    child.kill('SIGTERM');
    await child;
    assert.partialDeepStrictEqual(request, { agentAttributes: { cpu: { totalThreads: availableParallelism() } } });
  });

  /** Runs it with these variables: did it anything else than print its help? */
  function runWith(variables: Readonly<Record<string, string>>) {
    const scratch = mkdtempSync(join(directory, 'scratch-'));
    const env = { PATH: '/usr/bin:/bin', ...variables };
    const run = spawnSync(executable, ['tink-agent', '--help'], { encoding: 'utf8', cwd: scratch, env });
    return {
      status: run.status,
      stderr: run.stderr,
      isHelp: /^Usage: tink-agent/m.test(run.stdout),
      files: readdirSync(scratch),
    };
  }

  const effects: Readonly<Record<string, string>> = {
    NODE_OPTIONS: '--require ./code.cjs --inspect=127.0.0.1:0',
    NODE_EXTRA_CA_CERTS: '/etc/passwd',
    NODE_REDIRECT_WARNINGS: 'written',
    NODE_ICU_DATA: '/nowhere',
    NODE_DEBUG_NATIVE: 'mksnapshot,compile_cache',
    NODE_V8_COVERAGE: 'written',
    NODE_COMPILE_CACHE: 'written',
    NODE_REPL_EXTERNAL_MODULE: '/nowhere',
  };
  for (const [name, value] of Object.entries(effects)) {
    test(`is not changed by ${name}`, () => {
      assert.deepEqual(runWith({ [name]: value }), { status: 0, stderr: '', isHelp: true, files: [] });
    });
  }

  test('is sent to no proxy by NODE_USE_ENV_PROXY', () => {
    const run = runWith({ NODE_USE_ENV_PROXY: '1', HTTP_PROXY: 'no-proxy://x' });
    assert.deepEqual(run, { status: 0, stderr: '', isHelp: true, files: [] });
  });

  test('loads no library that OPENSSL_CONF leads to', () => {
    // What cannot be loaded is fatal.
    const configuration = join(directory, 'openssl.cnf');
    const library = join(directory, 'provider.so');
    writeFileSync(library, 'no library');
    const sections = ['nodejs_conf = all', '[all]', 'providers = some', '[some]', 'one = one', '[one]'];
    writeFileSync(configuration, [...sections, `module = ${library}`, 'activate = 1', ''].join('\n'));
    const run = runWith({ OPENSSL_CONF: configuration });
    assert.deepEqual(run, { status: 0, stderr: '', isHelp: true, files: [] });
  });

  test('takes the same name and arguments where it has to start without a variable', () => {
    run('flatcar-install', '--help');
    const [expected, actual] = [{}, { NODE_DEBUG: 'http' }].map((variables) => {
      const options = { encoding: 'utf8', cwd: '/', env: { PATH: '/usr/bin:/bin', ...variables } } as const;
      const { stderr, status } = spawnSync(join(directory, 'flatcar-install'), ['--no-such', 'two words'], options);
      return { stderr, status };
    });
    assert.match(expected?.stderr ?? '', /--no-such/);
    assert.deepEqual(actual, expected);
  });

  test('opens no debugger at SIGUSR1', async () => {
    const flags = ['--docker-host', '/nowhere.sock', '--state-directory', directory, '--status-address', 'off'];
    const server = ['--grpc-authority', '127.0.0.1:9', '--worker-id', 'w', '--tls=false'];
    const agent = execa(executable, ['tink-agent', ...server, ...flags], { reject: false, all: true });
    for await (const line of agent.iterable({ from: 'all' })) {
      if (!line.includes('the agent starts')) continue;
      agent.kill('SIGUSR1');
      agent.kill('SIGTERM');
    }
    const { all, exitCode } = await agent;
    assert.doesNotMatch(all, /Debugger listening/);
    assert.equal(exitCode, 0);
  });

  test('takes the name as its first argument under another name', () => {
    assert.match(run('nibs', 'flatcar-install', '--help').stdout, /^Usage: flatcar-install/);
    assert.match(run('nibs', 'nibs-report').stdout, /^=== \/proc\/cmdline$/m);
  });

  test('under another name and without an argument lists its names', () => {
    const { stderr, status } = run('nibs');
    assert.match(
      stderr,
      /tink-agent \| tink-worker \| flatcar-install \| image2disk \| qemuimg2disk \| oci2disk \| nibs-report/,
    );
    assert.equal(status, 1);
  });
});
