import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parseArguments } from '../../../agent/settings/arguments.ts';
import { ConfigError, describeConfig, loadConfig } from '../../../agent/settings/config.ts';
import { type Config, schema } from '../../../agent/settings/settings.ts';
import { RegistryAccounts } from '../../../agent/settings/values.ts';

interface Sources {
  readonly flags?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly kernel?: string;
  readonly file?: string;
}

/** What every configuration needs. */
const least = 'grpc_authority=192.168.1.1:42113 worker_id=w1';

let directory: string;
let files = 0;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-config-'));
});

after(() => rm(directory, { recursive: true }));

async function write(content: string): Promise<string> {
  files += 1;
  const file = join(directory, String(files));
  await writeFile(file, content);
  return file;
}

async function load({ flags = [], environment = {}, kernel = least, file }: Sources) {
  const config = file === undefined ? [] : ['--config', await write(file)];
  const kernelFile = await write(kernel);
  return loadConfig(parseArguments([...config, ...flags]), { ...environment, NIBS_KERNEL_COMMAND_LINE: kernelFile });
}

async function configOf(sources: Sources) {
  return (await load(sources)).config;
}

async function problemsOf(sources: Sources): Promise<string> {
  const error = await load(sources).then(
    () => assert.fail('the configuration was accepted'),
    (error: unknown) => error,
  );
  assert.ok(error instanceof ConfigError, String(error));
  return error.message;
}

describe('the order of sources', () => {
  const file = 'docker-registry: file';
  const kernel = `${least} docker_registry=kernel`;
  const environment = { DOCKER_REGISTRY: 'environment' };
  const flags = ['--docker-registry', 'flag'];

  for (const [winner, sources] of Object.entries({
    file: { file },
    kernel: { file, kernel },
    environment: { file, kernel, environment },
    flag: { file, kernel, environment, flags },
  })) {
    test(`loadConfig() takes the value of the ${winner} when it is the last of them`, async () => {
      assert.equal((await configOf(sources)).dockerRegistry, winner);
    });
  }

  test('loadConfig() takes defaults for what no source gives', async () => {
    const config = await configOf({});
    assert.equal(config.dockerRegistry, undefined);
    assert.equal(config.pollSeconds, 3);
    assert.equal(config.finish, 'none');
    assert.equal(config.interrupted, 'rerun');
    assert.equal(config.privileged, true);
  });

  for (const [what, sources] of Object.entries({
    'kernel parameter': { file, kernel: `${least} docker_registry=` },
    'kernel parameter in quotes': { file, kernel: `${least} docker_registry=""` },
    'environment variable': { file, environment: { DOCKER_REGISTRY: '' } },
    'environment variable of spaces': { file, environment: { DOCKER_REGISTRY: '  ' } },
    flag: { file, flags: ['--docker-registry='] },
    'value of a flag': { file, flags: ['--docker-registry', ''] },
    'value of the file': { file: 'docker-registry: ""\nregistry-name: file' },
  })) {
    test(`loadConfig() takes an empty ${what} as not given`, async () => {
      const { config, warnings } = await load(sources);
      assert.equal(config.dockerRegistry, 'file');
      assert.deepEqual(warnings, []);
    });
  }

  for (const [parameter, expected] of [
    ['tinkerbell_insecure_tls', true],
    ['tinkerbell_insecure_tls=', false],
    ['tinkerbell_insecure_tls=true', true],
    ['tinkerbell-insecure-tls=1', true],
    ['tinkerbell_insecure_tls=true tinkerbell_insecure_tls=', false],
    ['tinkerbell_insecure_tls=true tinkerbell-insecure-tls=false', false],
    ['tinkerbell_insecure_tls="yes"', true],
  ] as const) {
    test(`loadConfig() reads ${parameter} as ${expected}`, async () => {
      const { config, warnings } = await load({ kernel: `${least} ${parameter}` });
      assert.equal(config.insecureTls, expected);
      assert.deepEqual(warnings, []);
    });
  }

  test('loadConfig() does not take an empty switch for one that is on, in no source', async () => {
    for (const sources of [
      { kernel: `${least} tinkerbell_tls= tinkerbell_insecure_tls= registry_username=` },
      { environment: { TINKERBELL_TLS: '', TINKERBELL_INSECURE_TLS: '', REGISTRY_USERNAME: '' } },
      { flags: ['--tinkerbell-tls=', '--tinkerbell-insecure-tls=', '--registry-username='] },
      { file: 'tinkerbell-tls: ""\ntinkerbell-insecure-tls:\nregistry-username: ""\n' },
    ]) {
      const { config, warnings } = await load(sources);
      assert.deepEqual([config.tls, config.insecureTls, config.registryUsername], [undefined, false, undefined]);
      assert.deepEqual(warnings, []);
    }
  });
});

describe('names that other programs gave to settings', () => {
  test('loadConfig() reads the environment in which OSIE starts tink-worker', async () => {
    const config = await configOf({
      kernel: '',
      environment: {
        container_uuid: 'x',
        WORKER_ID: 'ce2e62ed-826f-4485-a39f-a82bb74338e2',
        DOCKER_REGISTRY: '192.168.1.1',
        TINKERBELL_GRPC_AUTHORITY: '192.168.1.1:42113',
        TINKERBELL_CERT_URL: 'http://192.168.1.1:42114/cert',
        REGISTRY_USERNAME: 'admin',
        REGISTRY_PASSWORD: 's3cret',
      },
    });
    assert.equal(config.workerId, 'ce2e62ed-826f-4485-a39f-a82bb74338e2');
    assert.equal(config.dockerRegistry, '192.168.1.1');
    assert.equal(config.grpcAuthority, '192.168.1.1:42113');
    assert.equal(config.certUrl, 'http://192.168.1.1:42114/cert');
    assert.equal(config.registryUsername, 'admin');
    assert.equal(config.registryPassword?.reveal(), 's3cret');
  });

  test('loadConfig() reads the environment in which HookOS starts tink-worker', async () => {
    const config = await configOf({
      kernel: '',
      environment: {
        DOCKER_REGISTRY: '',
        REGISTRY_USERNAME: '',
        REGISTRY_PASSWORD: '',
        TINKERBELL_GRPC_AUTHORITY: '10.1.1.1:42113',
        TINKERBELL_TLS: 'false',
        TINKERBELL_INSECURE_TLS: 'true',
        WORKER_ID: '08:00:27:00:00:01',
        ID: '08:00:27:00:00:02',
        HTTP_PROXY: 'http://proxy:3128',
        HTTPS_PROXY: '',
        NO_PROXY: '10.0.0.0/8',
        MAX_RETRY: '3',
        RETRY_INTERVAL: '1m30s',
        CAPTURE_ACTION_LOGS: '0',
        WORKER_LOG_LEVEL: 'warning',
      },
    });
    assert.equal(config.workerId, '08:00:27:00:00:01', 'WORKER_ID wins over ID');
    assert.equal(config.tls, false);
    assert.equal(config.insecureTls, true);
    assert.equal(config.httpProxy?.url.reveal(), 'http://proxy:3128/');
    assert.equal(config.proxyBypass, '10.0.0.0/8');
    assert.equal(config.pollSeconds, 90);
    assert.equal(config.captureActionLogs, false);
    assert.equal(config.logLevel, 'warn');
  });

  test('loadConfig() reads the flags with which CaptainOS starts tink-agent, those without effect here included', async () => {
    const config = await configOf({
      kernel: '',
      flags: [
        ...[
          '-transport',
          'grpc',
          '-grpc-server',
          '10.1.1.1:42113',
          '-grpc-tls=false',
          '-grpc-insecure-tls=true',
          '-id',
          'm1',
        ],
        ...['-registry-name', 'registry.example', '-registry-user', 'u', '-registry-pass', '-dash', '-log-level', '1'],
        ...[
          '-runtime',
          'containerd',
          '-containerd-socket',
          '/run/captain/containerd.sock',
          '-containerd-namespace=captain',
          '-containerd-data-root=/var/lib/captain',
          '-containerd-registry-config-path=/etc/captain/certs.d',
          '-attribute-detection=false',
          '-docker-socket',
          '/run/docker.sock',
        ],
      ],
    });
    assert.equal(config.grpcAuthority, '10.1.1.1:42113');
    assert.equal(config.tls, false);
    assert.equal(config.insecureTls, true);
    assert.equal(config.workerId, 'm1');
    assert.equal(config.dockerRegistry, 'registry.example');
    assert.equal(config.registryUsername, 'u');
    assert.equal(config.registryPassword?.reveal(), '-dash');
    assert.equal(config.logLevel, 'debug');
    assert.equal(config.dockerHost, 'unix:///run/docker.sock');
    assert.equal(config.runtime, 'containerd');
    assert.equal(config.containerdSocket, '/run/captain/containerd.sock');
    assert.equal(config.containerdNamespace, 'captain');
    assert.equal(config.containerdDataRoot, '/var/lib/captain');
    assert.equal(config.containerdRegistryConfigPath, '/etc/captain/certs.d');
  });

  test('loadConfig() reads the flags of tink-agent for NATS, and shows no password', async () => {
    const server = 'nats://agent:canary%2F1@10.1.1.1:4222';
    const flags = ['-transport', 'nats', '-id', 'm1', '-nats-stream', 's', '-nats-events=e', '-nats-actions', 'a'];
    const loaded = await load({ kernel: '', flags: [...flags, '-nats-server', server] });
    const { config } = loaded;
    assert.equal(config.natsServer?.url.reveal(), server);
    assert.deepEqual(config.natsServer.secrets(), ['canary%2F1', 'canary/1']);
    assert.deepEqual([config.natsStream, config.natsEvents, config.natsActions], ['s', 'e', 'a']);
    assert.match(describeConfig(loaded), /^nats-server = 10\.1\.1\.1:4222 /m);
    assert.doesNotMatch(describeConfig(loaded), /canary/);
    assert.match(
      await problemsOf({ kernel: 'worker_id=m1', flags: ['-transport', 'nats'] }),
      /^no server: .*--nats-server/,
    );
  });

  test('loadConfig() reads the flags of tink-worker, short ones too', async () => {
    const config = await configOf({
      kernel: '',
      flags: [
        '-i',
        'w',
        '-r',
        'registry',
        '-u',
        'u',
        '-p',
        'pass',
        '--tinkerbell-grpc-authority=h:1',
        '--max-retry',
        '5',
        '--tinkerbell-tls',
      ],
    });
    assert.equal(config.workerId, 'w');
    assert.equal(config.dockerRegistry, 'registry');
    assert.equal(config.tls, true);
  });

  test('loadConfig() reads kernel parameters of ours and ignores those of others', async () => {
    const config = await configOf({
      kernel: `${least} nibs_finish=reboot nibs_interrupted=fail nibs_sysrq nibs_privileged=false syslog_host=10.0.0.1 nibs_shell facility= vlan_id=7`,
    });
    assert.equal(config.finish, 'reboot');
    assert.equal(config.interrupted, 'fail');
    assert.equal(config.sysrq, true);
    assert.equal(config.privileged, false);
  });

  test('loadConfig() reads the command line of another kernel within quotes', async () => {
    const config = await configOf({
      kernel: `console=tty0 ${least} nibs_finish=kexec nibs_kexec_kernel=/boot/vmlinuz nibs_kexec_initramfs=/a.img,/b.img nibs_kexec_cmdline="root=LABEL=ROOT console=ttyS0" quiet`,
    });
    assert.equal(config.finish, 'kexec');
    assert.equal(config.kexecKernel, '/boot/vmlinuz');
    assert.deepEqual(config.kexecInitramfs, ['/a.img', '/b.img']);
    assert.equal(config.kexecCmdline, 'root=LABEL=ROOT console=ttyS0');
  });
});

describe('credentials of several registries', () => {
  const reveal = ({ registries = new RegistryAccounts() }: Config) =>
    [...registries].map(([host, { username, password }]) => [host, username, password.reveal()]);
  const two = [
    ['one:5000', 'u1', 'p:1='],
    ['two.example', 'u2', 'p2'],
  ];

  test('loadConfig() reads them from a file as a mapping', async () => {
    const registries = {
      'one:5000': { username: 'u1', password: 'p:1=' },
      'two.example': { username: 'u2', password: 'p2' },
    };
    assert.deepEqual(reveal(await configOf({ kernel: least, file: JSON.stringify({ registries }) })), two);
  });

  test('loadConfig() reads them from flags, the environment and the kernel command line', async () => {
    const [first, second] = ['one:5000=u1:p:1=', 'two.example=u2:p2'];
    assert.deepEqual(
      reveal(await configOf({ kernel: least, flags: [`--registries=${first}`, '--registry-credentials', second] })),
      two,
    );
    assert.deepEqual(
      reveal(await configOf({ kernel: least, environment: { NIBS_REGISTRIES: `${first} ${second}` } })),
      two,
    );
    assert.deepEqual(reveal(await configOf({ kernel: `${least} nibs_registries="${first} ${second}"` })), two);
  });

  for (const [what, file] of [
    ['a missing password', '{"registries": {"one": {"username": "canary"}}}'],
    ['a password that is no text', '{"registries": {"one": {"username": "u", "password": 4711}}}'],
    ['something unknown', '{"registries": {"one": {"username": "u", "password": "canary", "user": "canary"}}}'],
    ['a path', '{"registries": {"one/path": {"username": "u", "password": "canary"}}}'],
    ['a text of another form', '{"registries": "canary"}'],
  ] as const) {
    test(`loadConfig() does not use ${what}, and shows no secret`, async () => {
      const { config, warnings } = await load({ kernel: least, file });
      assert.equal(config.registries, undefined);
      assert.match(
        warnings.join('\n'),
        /^registries \(registries in the file .*\): must be .*; it is \*\*\*; used instead: \(not set\) \(default\)$/,
      );
      assert.doesNotMatch(warnings.join('\n'), /canary|4711/);
    });
  }
});

describe('the worker id', () => {
  const server = 'grpc_authority=192.168.1.1:42113';

  for (const parameter of [
    'hw_addr=08:00:27:00:00:0A',
    'packet_bootdev_mac=08:00:27:00:00:0a',
    'BOOTIF=01-08-00-27-00-00-0a',
    'BOOTIF=08-00-27-00-00-0A',
  ]) {
    test(`loadConfig() falls back to ${parameter}`, async () => {
      assert.equal((await configOf({ kernel: `${server} ${parameter}` })).workerId, '08:00:27:00:00:0a');
    });
  }

  test('loadConfig() prefers a worker id to the MAC address', async () => {
    assert.equal((await configOf({ kernel: `${server} worker_id=w1 hw_addr=08:00:27:00:00:01` })).workerId, 'w1');
  });

  test('loadConfig() says how to give the worker id and the server when they are missing', async () => {
    const problems = await problemsOf({ kernel: '' });
    assert.match(problems, /^no server: .*grpc_authority=.*TINKERBELL_GRPC_AUTHORITY/m);
    assert.match(problems, /^no worker ID: .*worker_id=.*WORKER_ID/m);
  });
});

describe('values that cannot be', () => {
  /** With what is used instead. */
  const borne: readonly [Sources, RegExp][] = [
    [
      { kernel: least, environment: { TINKERBELL_GRPC_AUTHORITY: 'no where' } },
      /^grpc-authority \(environment variable TINKERBELL_GRPC_AUTHORITY\): must be host:port.*; it is "no where"; used instead: 192\.168\.1\.1:42113 \(kernel command line, grpc_authority\)$/,
    ],
    [
      { kernel: `${least} grpc_cert_url=ftp://192.168.1.1/cert` },
      /^cert-url \(kernel command line, grpc_cert_url\): must be a URL.*; used instead: \(not set\) \(default\)$/,
    ],
    [
      { environment: { TINKERBELL_TLS: 'maybe' } },
      /^tls \(environment variable TINKERBELL_TLS\): must be true or false; it is "maybe"; used instead: \(not set\) \(default\)$/,
    ],
    [
      { environment: { RETRY_INTERVAL: '0', NIBS_POLL_INTERVAL: 'soon' }, kernel: `${least} nibs_poll_interval=7` },
      /^poll-interval \(environment variable NIBS_POLL_INTERVAL\): must be a duration.*; used instead: 7 \(kernel command line, nibs_poll_interval\)\npoll-interval \(environment variable RETRY_INTERVAL\): must be more than 0; it is "0"; used instead: 7 /,
    ],
    [
      { kernel: `${least} nibs_finish=explode` },
      /^finish \(kernel command line, nibs_finish\): must be one of none, reboot, poweroff, kexec; it is "explode"; used instead: none \(default\)$/,
    ],
    [
      { kernel: `${least} nibs_kexec_kernel=boot/vmlinuz` },
      /^kexec-kernel \(kernel command line, nibs_kexec_kernel\): must be a path from the root/,
    ],
    [{ file: '{"interrupted": "panic"}' }, /^interrupted \(interrupted in the file .*\): must be one of rerun, fail/],
    [{ kernel: `${least} BOOTIF=eth0` }, /^boot-mac \(kernel command line, BOOTIF\): must be a MAC address/],
    [
      { environment: { DOCKER_HOST: 'ssh://elsewhere' } },
      /^docker-host \(environment variable DOCKER_HOST\): must be unix:.*; used instead: unix:\/\/\/var\/run\/docker\.sock \(default\)$/,
    ],
    [
      { environment: { WORKER_LOG_LEVEL: 'loud' } },
      /^log-level \(environment variable WORKER_LOG_LEVEL\): must be one of fatal/,
    ],
    [
      { kernel: `${least} HTTP_PROXY=socks4://me:canary@proxy:1080` },
      /^http-proxy \(kernel command line, HTTP_PROXY\): must be .*; proxies that speak socks4 are not supported; it is "socks4:\/\/\*\*\*@proxy:1080"; nothing that would go through it is connected to$/,
    ],
    [
      { kernel: `${least} nibs_registry_mirrors=10.0.0.1:5000` },
      /^registry-mirrors \(kernel command line, nibs_registry_mirrors\): must be REGISTRY=MIRROR/,
    ],
    [
      { environment: { NIBS_NATS_SERVER: 'nats://me:canary@ host' } },
      /^nats-server \(environment variable NIBS_NATS_SERVER\): must be .*; it is \*\*\*; used instead: \(not set\)/,
    ],
    [
      { environment: { NIBS_NATS_SERVER: 'http://me:canary@host:4222' } },
      /^nats-server \(environment variable NIBS_NATS_SERVER\): must be .*, tls:\/\/ for TLS; other protocols are not supported; it is \*\*\*/,
    ],
    [{ file: 'colour: blue' }, /^configuration file .*: there is no setting colour \(see --help\); it is ignored$/],
    [
      { environment: { NIBS_CONFIG: '/nonexistent/nibs.yaml' } },
      /^cannot read the configuration file \/nonexistent\/nibs.yaml: ENOENT.*; it is ignored$/,
    ],
    [
      { kernel: `${least} nibs_config=/nonexistent/nibs.yaml` },
      /^cannot read the configuration file \/nonexistent\/nibs.yaml: ENOENT.*; it is ignored$/,
    ],
  ];
  for (const [sources, expected] of borne) {
    test(`loadConfig() names ${JSON.stringify(sources)} and goes on`, async () => {
      const loaded = await load(sources);
      assert.match(loaded.warnings.join('\n'), expected);
      assert.doesNotMatch(loaded.warnings.join('\n'), /canary/);
      for (const warning of loaded.warnings) assert.ok(describeConfig(loaded).includes(`# warning: ${warning}\n`));
    });
  }

  const refused: readonly [Sources, RegExp][] = [
    [{ flags: ['-retry-interval', 'soon'] }, /^poll-interval \(flag -retry-interval\): must be a duration/],
    [{ flags: ['--poll-interval=0'] }, /^poll-interval \(flag --poll-interval\): must be more than 0/],
    [{ flags: ['--id', `\${mac}`] }, /^worker-id \(flag --id\): the variable in it was not replaced by its value/],
    [{ file: '- a\n- b' }, /cannot read the configuration file .*must be a mapping of settings/],
    [{ file: '{"id": ' }, /cannot read the configuration file/],
    [
      { flags: ['--config', '/nonexistent/nibs.yaml'] },
      /cannot read the configuration file \/nonexistent\/nibs.yaml: ENOENT/,
    ],
    [
      { flags: ['--kernel-command-line', '/nonexistent/cmdline'] },
      /cannot read the kernel command line from \/nonexistent\/cmdline: ENOENT/,
    ],
  ];
  for (const [sources, expected] of refused) {
    test(`loadConfig() refuses ${JSON.stringify(sources)}, which a person typed`, async () => {
      assert.match(await problemsOf(sources), expected);
    });
  }

  test('loadConfig() names all flags at once', async () => {
    const problems = await problemsOf({ flags: ['--tinkerbell-tls=x', '--finish=y'] });
    assert.equal(problems.split('\n').length, 2);
  });

  test('loadConfig() goes on without a kernel command line that only the environment names', async () => {
    const environment = { NIBS_KERNEL_COMMAND_LINE: '/nonexistent/cmdline', ID: 'w1', AGENT_GRPC_SERVER: 'h' };
    const { config, warnings } = await loadConfig(parseArguments([]), environment, directory);
    assert.equal(config.workerId, 'w1');
    assert.match(
      warnings.join(),
      /^cannot read the kernel command line from \/nonexistent\/cmdline: .*; it is ignored$/,
    );
  });

  test('loadConfig() goes on with a broken /etc/tinkerbell/tink-worker.yaml', async () => {
    const place = join(directory, 'broken');
    await mkdir(place);
    await writeFile(join(place, 'tink-worker.yaml'), 'a: [');
    const given = { NIBS_KERNEL_COMMAND_LINE: await write(least) };
    const { config, warnings } = await loadConfig(parseArguments([]), given, place);
    assert.equal(config.workerId, 'w1');
    assert.match(warnings.join(), /^cannot read the configuration file .*; it is ignored$/);
  });

  test('loadConfig() says that a setting was given, but wrong, where it cannot do without', async () => {
    const problems = await problemsOf({ kernel: `grpc_authority=\${server} hw_addr=eth0` });
    assert.match(problems, /^boot-mac \(kernel command line, hw_addr\): must be a MAC address/m);
    assert.match(problems, /^grpc-authority \(.*\): the variable in it was not replaced/m);
    assert.match(problems, /^no server:/m);
  });

  test('parseArguments() refuses an unknown flag and offers the one that was meant', () => {
    assert.throws(() => parseArguments(['-finsh=reboot']), /unknown option '--finsh'[\s\S]*--finish/);
  });

  test('parseArguments() refuses a flag without its value, and words that are no flag', () => {
    assert.throws(() => parseArguments(['--id']), /argument missing/);
    assert.throws(() => parseArguments(['please']), /too many arguments/);
  });
});

describe('variables that a boot script has not replaced', () => {
  test(`loadConfig() takes hw_addr=\${mac} as not given where the worker id is known otherwise`, async () => {
    const { config, warnings } = await load({ kernel: `${least} hw_addr=\${mac} docker_registry=\${registry}:5000` });
    assert.deepEqual([config.workerId, config.bootMac, config.dockerRegistry], ['w1', undefined, undefined]);
    assert.match(
      warnings.join('\n'),
      /^boot-mac \(kernel command line, hw_addr\): the variable in it was not replaced by its value; it is "\$\{mac\}"; used instead: \(not set\) \(default\)$/m,
    );
    assert.equal(warnings.length, 2);
  });

  test('loadConfig() takes the next name of the setting', async () => {
    const kernel = `grpc_authority=h:1 hw_addr=08:00:27:00:00:01 BOOTIF=\${net0/mac:hexhyp}`;
    assert.equal((await configOf({ kernel })).workerId, '08:00:27:00:00:01');
  });

  test('loadConfig() leaves them in passwords and commands', async () => {
    const config = await configOf({
      kernel: `${least} registry_password=a\${b}c nibs_kexec_cmdline="root=\${root} quiet"`,
    });
    assert.equal(config.registryPassword?.reveal(), `a\${b}c`);
    assert.equal(config.kexecCmdline, `root=\${root} quiet`);
  });

  test('loadConfig() takes a password that is nothing but a variable as not given', async () => {
    assert.equal((await configOf({ kernel: `${least} registry_password=\${pass}` })).registryPassword, undefined);
  });
});

describe('addresses', () => {
  for (const [given, expected] of [
    ['192.168.1.1', '192.168.1.1:42113'],
    ['192.168.1.1:50061', '192.168.1.1:50061'],
    ['tink.example', 'tink.example:42113'],
    ['[fd00::1]:42113', '[fd00::1]:42113'],
    ['[fd00::1]', '[fd00::1]:42113'],
    ['fd00::1', '[fd00::1]:42113'],
    ['[fe80::1%eth0]:42113', '[fe80::1%eth0]:42113'],
  ] as const) {
    test(`loadConfig() reads grpc_authority=${given} as ${expected}`, async () => {
      const { config, warnings } = await load({ kernel: `worker_id=w1 grpc_authority=${given}` });
      assert.equal(config.grpcAuthority, expected);
      assert.deepEqual(warnings, []);
    });
  }

  for (const given of ['', 'a b', 'host:0', 'host:70000', 'host:port', '[host]:1', ':42113', 'http://host']) {
    test(`loadConfig() does not take ${given || 'nothing'} for a server`, async () => {
      assert.match(await problemsOf({ kernel: `worker_id=w1 "grpc_authority=${given}"` }), /^no server:/m);
    });
  }

  for (const [parameters, host, port] of [
    ['syslog_host=10.0.0.1', '10.0.0.1', undefined],
    ['syslog_host=10.0.0.1:1514', '10.0.0.1', 1514],
    ['syslog_host=log.example:1514 syslog_port=514', 'log.example', 1514],
    ['syslog_host=[fd00::1]:1514', 'fd00::1', 1514],
    ['syslog_host=[fd00::1]', 'fd00::1', undefined],
    ['syslog_host=fd00::1', 'fd00::1', undefined],
  ] as const) {
    test(`loadConfig() reads ${parameters}`, async () => {
      const { config, warnings } = await load({ kernel: `${least} ${parameters}` });
      assert.deepEqual([config.syslogHost?.host, config.syslogHost?.port], [host, port]);
      assert.deepEqual(warnings, []);
    });
  }

  test('loadConfig() reads syslog_port=, and takes 514 where it is empty or no port', async () => {
    const portOf = async (parameters: string) => (await configOf({ kernel: `${least} ${parameters}` })).syslogPort;
    assert.deepEqual(
      [await portOf('syslog_port=1514'), await portOf('syslog_port='), await portOf('syslog_port=x'), await portOf('')],
      [1514, 514, 514, 514],
    );
  });

  test('loadConfig() reads a certificate URL without a scheme as one of plain HTTP, and addresses of IPv6 for registries', async () => {
    const { config, warnings } = await load({
      kernel: `${least} grpc_cert_url=192.168.1.1:42114/cert docker_registry=[fd00::1]:5000 nibs_registries=[fd00::1]:5000=u:p nibs_registry_mirrors=docker.io=[fd00::1]:5000/hub`,
    });
    assert.equal(config.certUrl, 'http://192.168.1.1:42114/cert');
    assert.equal(config.dockerRegistry, '[fd00::1]:5000');
    assert.equal(config.registries?.get('[fd00::1]:5000')?.username, 'u');
    assert.deepEqual(
      config.registryMirrors?.map(({ at }) => at),
      ['[fd00::1]:5000/hub'],
    );
    assert.deepEqual(warnings, []);
  });

  for (const [given, expected] of [
    ['192.168.0.1:3218', 'http://192.168.0.1:3218/'],
    ['proxy', 'http://proxy/'],
    ['me:canary@proxy:3128', 'http://me:canary@proxy:3128/'],
    ['https://proxy.example', 'https://proxy.example/'],
    ['socks5://me:canary@proxy:1080', 'socks5://me:canary@proxy:1080'],
  ] as const) {
    test(`loadConfig() reads HTTP_PROXY=${given}, from the kernel command line and the environment`, async () => {
      for (const sources of [{ kernel: `${least} HTTP_PROXY=${given}` }, { environment: { http_proxy: given } }]) {
        const loaded = await load(sources);
        assert.equal(loaded.config.httpProxy?.url.reveal(), expected);
        assert.doesNotMatch(describeConfig(loaded), /canary/);
      }
    });
  }
});

test('loadConfig() takes off for the syslog server that the kernel command line names', async () => {
  const kernel = `${least} syslog_host=10.0.0.1`;
  assert.equal(String((await configOf({ kernel })).syslogHost), '10.0.0.1');
  assert.equal((await configOf({ kernel, environment: { NIBS_SYSLOG_HOST: 'off' } })).syslogHost, undefined);
});

test('loadConfig() says which engines serve when one is asked for that does not', async () => {
  assert.match(
    await problemsOf({ flags: ['-runtime', 'kubernetes'] }),
    /^runtime \(flag -runtime\): must be docker \(any engine with the Docker API, .*\) or containerd; .*; it is "kubernetes"$/,
  );
});

describe('the configuration file', () => {
  test('loadConfig() reads YAML with native types, by any of the long flags', async () => {
    const config = await configOf({
      file: 'privileged: false\nretry-interval: 5\ngrpc-server: "[fd00::1]:42113"\nfinish: poweroff\nregistry-username:\n',
      kernel: 'worker_id=w',
    });
    assert.equal(config.privileged, false);
    assert.equal(config.pollSeconds, 5);
    assert.equal(config.grpcAuthority, '[fd00::1]:42113');
    assert.equal(config.finish, 'poweroff');
    assert.equal(config.registryUsername, undefined);
  });

  test('loadConfig() reads the file of tink-worker where that looks for it, with the keys that have no effect here, unless another one is named', async () => {
    const place = join(directory, 'tinkerbell');
    await mkdir(place);
    const given = { NIBS_KERNEL_COMMAND_LINE: await write(least) };
    const registryOf = async (...flags: string[]) =>
      (await loadConfig(parseArguments(flags), given, place)).config.dockerRegistry;
    assert.equal(await registryOf(), undefined);
    await writeFile(join(place, 'tink-worker.json'), '{"docker-registry": "json", "max-retry": 5}');
    assert.equal(await registryOf(), 'json');
    await writeFile(join(place, 'tink-worker.yaml'), 'docker-registry: yaml\nmax-file-size: 1000\ntimeout: 60m\n');
    assert.equal(await registryOf(), 'yaml');
    assert.equal(await registryOf('--config', await write('docker-registry: named')), 'named');
  });

  test('loadConfig() finds the file by the kernel command line', async () => {
    const file = await write('{"finish": "reboot"}');
    assert.equal((await configOf({ kernel: `${least} nibs_config=${file}` })).finish, 'reboot');
  });
});

test('loadConfig() takes mirrors as a list with commas, as repeated flags and as a list of the file', async () => {
  const mirrors = ['docker.io=10.0.0.1:5000/hub', 'quay.io=10.0.0.1:5000'];
  const sources: readonly Sources[] = [
    { kernel: `${least} nibs_registry_mirrors=${mirrors.join(',')}` },
    { flags: mirrors.flatMap((mirror) => ['--registry-mirror', mirror]) },
    { file: `registry-mirror: ${JSON.stringify(mirrors)}` },
  ];
  for (const source of sources) assert.deepEqual((await configOf(source)).registryMirrors?.map(String), mirrors);
  assert.match(
    await problemsOf({ flags: ['--registry-mirror', '10.0.0.1:5000'] }),
    /^registry-mirrors \(flag --registry-mirror\): must be REGISTRY=MIRROR, .*; it is "10\.0\.0\.1:5000"$/,
  );
});

describe('a template from a file', () => {
  const template = ['--transport=file', '--template=t.yaml'];

  test('loadConfig() needs neither server nor worker id, but the template', async () => {
    const config = await configOf({ kernel: '', flags: template });
    assert.deepEqual([config.template, config.workerId, config.templateVariables], ['t.yaml', undefined, undefined]);
    assert.match(await problemsOf({ kernel: '', flags: ['--transport=file'] }), /^no template:/);
  });

  test('loadConfig() takes several values, from flags or as a mapping, and does not show them', async () => {
    const flags = [...template, '--set', 'a=b=c', '-set=empty=', '--set', 'token=hunter22'];
    const loaded = await load({ kernel: '', flags });
    assert.deepEqual(
      [...(loaded.config.templateVariables ?? [])],
      Object.entries({ a: 'b=c', empty: '', token: 'hunter22' }),
    );
    assert.match(describeConfig(loaded), /^set = a, empty, token {2}# flag --set$/m);
    const fromFile = await configOf({
      kernel: '',
      flags: template,
      file: 'set: {machine1: "08:00:27:00:00:01", n: 5}',
    });
    assert.deepEqual(
      [...(fromFile.templateVariables ?? [])],
      [
        ['machine1', '08:00:27:00:00:01'],
        ['n', '5'],
      ],
    );
  });

  test('loadConfig() refuses values without a name, and does not show them', async () => {
    for (const value of ['hunter22', '=hunter22', 'a b=hunter22']) {
      assert.equal(
        await problemsOf({ kernel: '', flags: [...template, '--set', value] }),
        'set (flag --set): must be NAME=VALUE, the name of letters, digits and underscores; it is ***',
      );
    }
  });
});

test('describeConfig() names the source of each setting and hides the password, as does everything that prints the configuration', async () => {
  const loaded = await load({ environment: { REGISTRY_PASSWORD: 'hunter22' }, flags: ['--finish=reboot'] });
  const text = describeConfig(loaded);
  assert.match(text, /^finish = reboot {2}# flag --finish$/m);
  assert.match(text, /^registry-password = \*\*\* {2}# environment variable REGISTRY_PASSWORD$/m);
  assert.match(text, /^worker-id = w1 {2}# kernel command line, worker_id$/m);
  for (const output of [
    text,
    JSON.stringify(loaded.config),
    String(loaded.config.registryPassword),
    (await import('node:util')).inspect(loaded, { depth: 9 }),
  ]) {
    assert.doesNotMatch(output, /hunter22/);
  }
});

test('a wrong password is not shown by the error about it', async () => {
  const { warnings } = await load({ file: 'registry-password: [hunter22]' });
  assert.match(warnings.join(), /^registry-password .*must be text/);
  assert.doesNotMatch(warnings.join(), /hunter22/);
});

test('every setting has a name in the configuration file, and no name means two things', async () => {
  const { settings } = await import('../../../agent/settings/settings.ts');
  assert.equal(settings.length, Object.keys(schema.shape).length);
  for (const kind of ['flags', 'environment', 'kernel'] as const) {
    const all = settings.flatMap(({ names }) => names[kind]);
    assert.equal(new Set(all).size, all.length, `${kind}: ${all.filter((name, index) => all.indexOf(name) !== index)}`);
  }
});

test('every setting is read from NIBS_NAME in the environment and from nibs_name on the kernel command line', async () => {
  const { settings } = await import('../../../agent/settings/settings.ts');
  for (const { key, names } of settings) {
    const ownName = `nibs_${names.flags[0].replaceAll('-', '_')}`;
    // Valid for some settings; the others name the source that they have it from.
    for (const [source, origin] of [
      [{ environment: { [ownName.toUpperCase()]: '17' } }, `environment variable ${ownName.toUpperCase()}`],
      [{ kernel: `${least} ${ownName}=17` }, `kernel command line, ${ownName}`],
    ] as const) {
      const { sources, warnings } = await load(source);
      assert.ok(
        sources.get(key) === origin || warnings.some((warning) => warning.includes(origin)),
        `${key}: ${origin}`,
      );
    }
  }
});

test('NIBS_DOCKER_HOST, NIBS_DOCKER_CONFIG and NIBS_CAPTURE_ACTION_LOGS have an effect', async () => {
  const { dockerHost, dockerConfig, captureActionLogs } = await configOf({
    environment: {
      NIBS_DOCKER_HOST: 'tcp://192.0.2.1:2375',
      NIBS_DOCKER_CONFIG: '/docker',
      NIBS_CAPTURE_ACTION_LOGS: 'false',
    },
  });
  assert.deepEqual([dockerHost, dockerConfig, captureActionLogs], ['tcp://192.0.2.1:2375', '/docker', false]);
});
