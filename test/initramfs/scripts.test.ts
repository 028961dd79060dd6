import { deepEqual, equal } from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { engines } from '../../initramfs/package-sets.ts';
import { fetchSystem } from '../../initramfs/system.ts';

const { packages } = await fetchSystem(resolve(import.meta.dirname, '../../build/cache'));
const busybox = join(packages, 'bin/busybox');
const files = resolve(import.meta.dirname, '../../initramfs/files');
const library = join(files, 'system/lib/nibs');

test("every script is understood by the image's own shell, and shellcheck has nothing to warn of", async () => {
  const engineScripts = engines.map((engine) => join(files, `engine-${engine}/lib/nibs/engine`));
  const systemScripts = (await readdir(library)).map((name) => join(library, name));
  const scripts = [join(files, 'early/init'), ...systemScripts, ...engineScripts];
  for (const script of scripts) await execa(busybox, ['sh', '-n', script]);
  // SC1091: the functions are sourced by their path in the image.
  await execa('shellcheck', ['--shell=sh', '--severity=warning', '--exclude=SC1091', ...scripts]);
});

test('every program that inittab starts is there and can be executed', async () => {
  const inittab = await readFile(join(files, 'system/etc/inittab'), 'utf8');
  const started = [...inittab.matchAll(/:(\/lib\/nibs\/[\w-]+)/g)].map((match) => String(match[1]));
  deepEqual(started.length, 7);
  for (const path of started) {
    const folders = path === '/lib/nibs/engine' ? engines.map((engine) => `engine-${engine}`) : ['system'];
    for (const folder of folders) await execa('test', ['-x', join(files, folder, path)]);
  }
});

const commandLine =
  'ip=dhcp docker_registry=first BOOTIF=01-aa quiet nibs_shell url=http://a/?b=c docker_registry=192.168.1.1 next="vlan_id=7 debug x"';

for (const [call, expected] of [
  ['setting docker_registry', '192.168.1.1'],
  ['setting url', 'http://a/?b=c'],
  ['setting registry', ''],
  ['setting next', 'vlan_id=7 debug x'],
  ['setting vlan_id', ''],
  ['requested debug || echo no', 'no'],
  ['requested nibs_shell && echo yes', 'yes'],
  ['requested nibs || echo no', 'no'],
  ['consoles | xargs', '/dev/tty1 /dev/ttyS1'],
] as const) {
  test(`\`${call}\` reads the kernel command line: ${expected || 'nothing'}`, async () => {
    equal(await runWithCommandLine(commandLine, call), expected);
  });
}

const unexpanded = (name: string) => `\${${name}}`;

for (const [line, expected] of [
  ['a=1 a=2', '2'],
  ['a=1 a=', ''],
  ['a=1 a', '1'],
  ['a=""', ''],
  ['a="1 2"', '1 2'],
  ['"a=1 2"', '1 2'],
  ['a=1-2_3', '1-2_3'],
  ['a=b=c', 'b=c'],
  ['ab=1 ba=2', ''],
  [`a=1 a=${unexpanded('net0/mac')}`, ''],
  ['a=\\\\n', '\\\\n'],
] as const) {
  test(`the setting a of ${line}: ${expected || 'none'}`, async () => {
    equal(await runWithCommandLine(line, 'setting a'), expected);
  });
}

for (const [line, expected] of [
  ['quiet', ''],
  ['syslog_host=off', ''],
  ['syslog_host=192.168.1.1', '192.168.1.1:514'],
  ['syslog_host=logs.example syslog_port=5514', 'logs.example:5514'],
  ['syslog_host=logs.example:601 syslog_port=5514', 'logs.example:601'],
  ['syslog_host=fd00:1::1', '[fd00:1::1]:514'],
  ['syslog_host=[fd00:1::1]', '[fd00:1::1]:514'],
  ['syslog_host=[fd00:1::1]:601', '[fd00:1::1]:601'],
] as const) {
  test(`the syslog server of ${line}: ${expected || 'none'}`, async () => {
    equal(await runWithCommandLine(line, 'syslog_server'), expected);
  });
}

test('`setting` takes - and _ in names as the same', async () => {
  const line = 'docker_registry=one docker-registry=two_2-2 ntp-servers=three';
  equal(await runWithCommandLine(line, 'setting docker_registry; setting ntp_servers'), 'two_2-2\nthree');
});

for (const [line, expected] of [
  ['nibs_shell', 'yes'],
  ['nibs-shell', 'yes'],
  ['nibs_shell=1', 'yes'],
  ['nibs_shell=true', 'yes'],
  ['nibs_shell=0', 'no'],
  ['nibs_shell=False', 'no'],
  ['nibs_shell=', 'no'],
  ['nibs_shell nibs_shell=0', 'no'],
  ['nibs_shell=0 nibs_shell', 'yes'],
  ['quiet', 'no'],
] as const) {
  test(`a shell on the console with ${line} on the kernel command line: ${expected}`, async () => {
    equal(await runWithCommandLine(line, 'requested nibs_shell && echo yes || echo no'), expected);
  });
}

for (const [line, key, expected] of [
  ['quiet', '', 'none'],
  ['nibs_ssh_key=', '', 'none'],
  ['nibs_ssh_key="ssh-ed25519 AAAA me"', '', '::respawn:/lib/nibs/ssh'],
  ['quiet', 'ssh-ed25519 AAAA me', '::respawn:/lib/nibs/ssh'],
] as const) {
  test(`an SSH server with ${line} on the kernel command line and ${key || 'no key'} of the site: ${expected}`, async () => {
    const call = [
      ...['mount -t tmpfs none /etc', 'mount -t tmpfs none /mnt', `[ -z "${key}" ] || echo ${key} >/mnt/keys`],
      `sed "/^main$/d; s,/site/ssh/authorized_keys,/mnt/keys,; /functions$/d" ${library}/start >/mnt/start`,
      ...['. /mnt/start', 'offer_ssh', 'cat /etc/inittab 2>/dev/null || echo none'],
    ].join('; ');
    equal(await runWithCommandLine(line, call), expected);
  });
}

test('log keeps the last part of what it is given, never more than 8 MiB', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-log-'));
  try {
    const script = (await readFile(join(library, 'log'), 'utf8')).replaceAll('/var/log', directory);
    await writeFile(join(directory, 'log'), script);
    const line = 'x'.repeat(1000);
    const input = Array.from({ length: 20_000 }, (_, index) => `${index} ${line}`).join('\n');
    await execa(busybox, ['sh', join(directory, 'log'), 'agent'], { input });
    const [older, newer] = await Promise.all(
      ['agent.1', 'agent'].map((name) => readFile(join(directory, name), 'utf8')),
    );
    const kept = `${older}${newer}`.trimEnd().split('\n');
    equal(kept.length < 8400 && kept.length > 4000, true, `${kept.length} lines`);
    deepEqual(
      kept.map((one) => Number.parseInt(one, 10)),
      Array.from(kept, (_, index) => 20_000 - kept.length + index),
    );
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('each registry is trusted by the authority that the kernel command line names for it', async (test) => {
  const server = createServer((request, answer) => {
    const isThere = request.url !== '/none.pem';
    answer.statusCode = isThere ? 200 : 404;
    answer.end(isThere ? `-----BEGIN CERTIFICATE-----\n${request.url}\n` : '');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  test.after(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const further = `other:5000=${url}/other.pem,[fd00::1]:5000=${url}/six.pem?a=b,none=${url}/none.pem`;
  const line = `docker_registry=first:443/path packet_base_url=${url} nibs_registry_ca=${further}`;
  const call = [
    // The image's own wget has its own words for what goes wrong.
    ...[
      'mount -t tmpfs none /etc',
      'mkdir /etc/bin',
      `for name in wget timeout; do ln -s ${busybox} /etc/bin/$name; done`,
    ],
    ...['PATH=/etc/bin:$PATH', `. ${library}/registry`, 'announce() { echo "$*" >&2; }'],
    ...['trust_registries', 'grep -r ^/ /etc/docker | sort'],
  ].join('; ');
  const found = (await runWithCommandLine(line, call)).split('\n');
  const certificate = (host: string, path: string) => `/etc/docker/certs.d/${host}/ca.crt:${path}`;
  deepEqual(found, [
    certificate('[fd00::1]:5000', '/six.pem?a=b'),
    certificate('first:443', '/ca.pem'),
    certificate('other:5000', '/other.pem'),
  ]);
});

test('a certificate without end takes a megabyte of memory, and is not trusted', async (test) => {
  const chunk = Buffer.alloc(1024 ** 2, 'x');
  const server = createServer((_request, answer) => {
    answer.write('-----BEGIN CERTIFICATE-----\n');
    const send = () => {
      while (answer.writable && answer.write(chunk));
    };
    answer.on('drain', send).on('error', () => {});
    send();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  test.after(() => server.close());
  const call = [
    ...['mount -t tmpfs -o size=4m none /etc', `registry=first certificate=/etc/ca.crt`],
    `url=http://127.0.0.1:${(server.address() as AddressInfo).port}/ca.pem`,
    ...[`. ${library}/registry`, 'fetch_certificate >/dev/null 2>&1 && echo trusted', 'wc -c </etc/ca.crt.new'],
  ].join('; ');
  equal(await runWithCommandLine('quiet', call), '1048576');
});

for (const [key, pattern, sent, used] of [
  ['DOMAINS', '$domain_name', 'one.example TWO.example. -x', 'one.example TWO.example.'],
  ['DOMAINS', '$domain_name', "a;reboot b'c $(reboot) ../x a..b \u001b[31m \\032x", ''],
  ['DOMAINS', '$domain_name', 'a b c d e f g h a', 'a b c d e f'],
  ['DOMAINS', '$domain_name', `${'x'.repeat(64)}.example ${'x'.repeat(63)}.example`, `${'x'.repeat(63)}.example`],
  ['DNS', '$ip_address', '10.0.0.1 fe80::1%eth0 name.example ::', '10.0.0.1 fe80::1%eth0 ::'],
  ['NTP', '$ip_address|$domain_name', '-oProxy 10.0.0.1 time.example', '10.0.0.1 time.example'],
] as const) {
  test(`of ${key}=${sent.replaceAll('\u001b', 'ESC')} of the network these are used: ${used || 'none'}`, async (test) => {
    const directory = await mkdtemp(join(tmpdir(), 'nibs-network-'));
    test.after(() => rm(directory, { recursive: true }));
    await writeFile(join(directory, 'link'), `ADMIN_STATE=up\n${key}=${sent}\n`);
    const call = `. ${library}/network-state; links=${directory}/link; values ${key} "${pattern}" 6`;
    equal(await runWithCommandLine('quiet', call), used);
  });
}

test('without a server the installer runs with the options of nibs_install, again after a failure if that is wanted, and the machine restarts', async () => {
  await using machine = await makeInstallingMachine({
    commandLine: 'nibs_install="-s --ignition-url http://a/b?*" nibs_install_retry=0 nibs_report_url=http://c/ quiet',
    installer: (directory) =>
      `[ -e ${directory}/failed ] && exit 0; : >${directory}/failed; echo "Error: no disk fits"; echo "  /dev/vda"; exit 3`,
  });
  await machine.run('$install');
  deepEqual(await machine.calls(), [
    'install -s --ignition-url http://a/b?*',
    'report --send',
    'install -s --ignition-url http://a/b?*',
    'reboot',
  ]);
  deepEqual(await machine.announced(), [
    'installing: flatcar-install -s --ignition-url http://a/b?*',
    'installation failed with status 3: no disk fits',
    'a report of the machine was sent',
    'installing again in 0 s',
    'installing: flatcar-install -s --ignition-url http://a/b?*',
    'installed: reboot',
  ]);
});

test('without a server the messages of the installer go to syslog_host', async () => {
  await using machine = await makeInstallingMachine({
    commandLine: 'nibs_install=-s syslog_host=192.168.1.1',
    installer: () => 'exit 0',
  });
  // The second one finds the forwarding of the first.
  await machine.run(
    '$install; for try in $(seq 500); do grep -q supervise $directory/calls || sleep 0.01; done; $install',
  );
  deepEqual((await machine.calls()).sort(), [
    'install -s',
    'reboot',
    'reboot',
    'supervise syslog syslogd -n -R 192.168.1.1:514',
  ]);
});

for (const [what, victims] of [
  ['the script of nibs_install is killed', '$!'],
  ['its subshells are killed with it', '$! $(pgrep -P $!)'],
] as const) {
  test(`when ${what} amid an installation, its installer is ended, the next one installs, and the machine restarts`, async () => {
    await using machine = await makeInstallingMachine({
      commandLine: 'nibs_install=-s',
      // The first one runs until it is ended. A trap waits for a program in the foreground.
      installer: (directory) => `[ -e ${directory}/began ] && exit 0
        trap 'echo ended >>${directory}/calls; kill $!; exit 1' TERM
        : >${directory}/began
        sleep 1000 & wait`,
    });
    await machine.run(`$install & until [ -e $directory/began ]; do sleep 0.01; done; kill -9 ${victims}; $install`);
    deepEqual(await machine.calls(), ['install -s', 'ended', 'install -s', 'reboot']);
    deepEqual(await machine.announced(), [
      'installing: flatcar-install -s',
      'the script of the installation was killed: ending its installer',
      'installing: flatcar-install -s',
      'installed: reboot',
    ]);
  });
}

test('what the script of nibs_install has come to is the same when it is started again', async () => {
  await using machine = await makeInstallingMachine({ commandLine: 'nibs_install=-s', installer: () => 'exit 3' });
  // Without nibs_install_retry the machine stays as it is.
  await machine.run(`for start in 1 2; do
    $install & until [ "$(grep -c "nothing has been" $directory/nibs)" = $start ]; do sleep 0.01; done; kill -9 $!
  done`);
  deepEqual(await machine.calls(), ['install -s']);
  await using installed = await makeInstallingMachine({ commandLine: 'nibs_install=-s', installer: () => 'exit 0' });
  await installed.run('$install; $install');
  deepEqual(await installed.calls(), ['install -s', 'reboot', 'reboot']);
});

interface InstallingMachine extends AsyncDisposable {
  /**
   * Runs a shell script in process IDs of its own, so that it could restart nothing else;
   * `$install` is the script of the boot image.
   */
  run(script: string): Promise<void>;
  /** The programs that were called. */
  calls(): Promise<string[]>;
  announced(): Promise<string[]>;
}

async function makeInstallingMachine({
  commandLine,
  installer,
}: {
  readonly commandLine: string;
  readonly installer: (directory: string) => string;
}): Promise<InstallingMachine> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-install-'));
  const calls = join(directory, 'calls');
  const program = async (name: string, script: string) =>
    await writeFile(join(directory, 'bin', name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  await mkdir(join(directory, 'bin'));
  await program('flatcar-install', `echo "install $*" >>${calls}; ${installer(directory)}`);
  await program('nibs-report', `echo "report $*" >>${calls}`);
  const supervise = `echo $$ >${directory}/supervisor-$1; echo "supervise $*" >>${calls}; exec sleep 1000`;
  await writeFile(join(directory, 'supervise'), `#!/bin/sh\n${supervise}\n`, { mode: 0o755 });
  await program('reboot', `echo reboot >>${calls}; kill $PPID`);
  await writeFile(join(directory, 'active'), 'null\n');
  await writeFile(join(directory, 'cmdline'), `${commandLine}\n`);
  await writeFile(join(directory, 'nibs'), '');
  for (const name of ['functions', 'install']) {
    const script = await readFile(join(library, name), 'utf8');
    const moved = script.replaceAll(/\/(lib\/nibs|run\/nibs|var\/log)(?=\/)/g, directory);
    // By its path: busybox has a program of this name, which its shell prefers.
    await writeFile(join(directory, name), moved.replace('\t$action\n', `\t${directory}/bin/$action\n`));
  }
  return {
    async run(script) {
      const command = `mount -t proc proc /proc
        mount --bind ${directory}/cmdline /proc/cmdline
        mount --bind ${directory}/active /sys/class/tty/console/active
        export PATH=${directory}/bin:$PATH
        directory=${directory}
        install="${busybox} sh ${directory}/install"
        ${script}`;
      await execa('unshare', ['--mount', '--pid', '--fork', '--kill-child', 'sh', '-c', command], { reject: false });
    },
    calls: async () => lines(await readFile(calls, 'utf8')),
    announced: async () => lines((await readFile(join(directory, 'nibs'), 'utf8')).replaceAll(/ \([\d.]+ s\)/g, '')),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  };
}

function lines(text: string): string[] {
  return text.trimEnd().split('\n');
}

/**
 * Runs a call of the shared functions in a mount namespace in which the kernel command line and the
 * consoles are others.
 */
async function runWithCommandLine(line: string, call: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-scripts-'));
  try {
    await writeFile(join(directory, 'cmdline'), `${line}\n`);
    await writeFile(join(directory, 'active'), 'tty0 ttyS1\n');
    // The image has no other awk and sed than busybox's.
    for (const name of ['awk', 'sed', 'tr', 'tail']) await symlink(busybox, join(directory, name));
    const script = `mount --bind ${directory}/cmdline /proc/cmdline
      mount --bind ${directory}/active /sys/class/tty/console/active
      export PATH=${directory}:$PATH
      exec ${busybox} sh -c '. ${library}/functions; ${call}'`;
    return (await execa('unshare', ['--mount', 'sh', '-e', '-c', script])).stdout;
  } finally {
    await rm(directory, { recursive: true });
  }
}
