/**
 * The program `kexec` is a fake, since another kernel would end the test. Devices and mounts are
 * real.
 */
import assert from 'node:assert/strict';
import { access, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { execa } from 'execa';
import type { KexecKernel } from '../../../agent/power/kexec.ts';
import { createPower, PowerError } from '../../../agent/power/power.ts';
import { createLoopDevice, type LoopDevice } from '../../sandbox/loop-device.ts';

const never = new AbortController().signal;
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-kexec-test-'));
  await mkdir(join(directory, 'bin'));
  await script('reboot', 'echo reboot >>calls');
});

afterEach(() => rm(directory, { recursive: true }));

async function script(name: string, content: string): Promise<string> {
  const file = join(directory, 'bin', name);
  await writeFile(file, `#!/bin/sh\ncd ${directory}\n${content}\n`, { mode: 0o755 });
  return file;
}

/**
 * Records its parameters, and the bytes of kernel and initrd while they can be read; `loaded` is
 * what the real one changes in /sys.
 */
const obedient = `echo "$*" >>calls
case "$1" in
  --load) cat "$2" >kernel || exit 1; echo 1 >loaded
          for word; do case "$word" in --initrd=*) cat "\${word#*=}" >initrd || exit 1 ;; esac; done ;;
esac`;

/** Runs the power action kexec, which returns here, and returns what happened. */
async function finish(options: { kernel?: KexecKernel; program?: string; loaded?: boolean; lockdown?: string }) {
  const file = (name: string) => join(directory, name);
  if (options.loaded !== undefined) await writeFile(file('loaded'), options.loaded ? '1\n' : '0\n');
  await writeFile(file('lockdown'), options.lockdown ?? '[none] integrity confidentiality\n');
  const warnings: string[] = [];
  const power = createPower({
    ...{ workDirectory: directory, sysrq: false, patienceSeconds: 0.05, poweroffCommand: 'false' },
    rebootCommand: file('bin/reboot'),
    kexec: {
      ...{ command: options.program ?? file('bin/kexec'), kernel: options.kernel },
      ...{ loadedFile: file('loaded'), lockdownFile: file('lockdown') },
    },
    warn: (message) => warnings.push(message),
  });
  await assert.rejects(power.finish('kexec', never), PowerError);
  const read = (name: string) => readFile(file(name), 'utf8').catch(() => '');
  const calls = (await read('calls')).trim().split('\n');
  return { warnings, calls, kernel: await read('kernel'), initrd: await read('initrd') };
}

const onDevice = (device: string): KexecKernel => ({
  ...{ device, filesystem: undefined, kernel: '/boot/vmlinuz', initrds: ['/boot/initrd.img'] },
  commandLine: 'root=LABEL=ROOT console=ttyS0 quiet',
});

/** A file system with a kernel and an initrd on a loop device. */
async function makeDevice(): Promise<LoopDevice> {
  const content = join(directory, 'content');
  await mkdir(join(content, 'boot'), { recursive: true });
  await writeFile(join(content, 'boot/vmlinuz'), 'the kernel');
  await writeFile(join(content, 'boot/initrd.img'), 'the initrd');
  const device = await createLoopDevice({ sizeBytes: 16 * 1024 ** 2 });
  await execa('mke2fs', ['-q', '-t', 'ext4', '-d', content, device.path]);
  return device;
}

test('several initrds are loaded as one, each at a multiple of four bytes', async () => {
  await script('kexec', obedient);
  const names = ['first', 'second', 'third'];
  for (const [index, name] of names.entries()) await writeFile(join(directory, name), 'x'.repeat(4 - index));
  const kernel = {
    ...{ device: undefined, filesystem: undefined, kernel: join(directory, 'first'), commandLine: undefined },
    initrds: names.map((name) => join(directory, name)),
  };
  const { calls, initrd } = await finish({ loaded: false, kernel });
  assert.equal(initrd, 'xxxxxxx\0xx\0\0');
  const [, path = ''] = /--initrd=(\S+)/.exec(calls[0] ?? '') ?? [];
  await assert.rejects(access(path), 'it is removed: the loaded one is in memory');

  const missing = await finish({ loaded: false, kernel: { ...kernel, initrds: [join(directory, 'none'), '/'] } });
  assert.match(missing.warnings.join(), /cannot read the initrd \S+\/none: ENOENT/);
});

test('finish("kexec") starts the kernel that an action has loaded, and loads nothing', async () => {
  await script('kexec', obedient);
  const { calls, warnings } = await finish({ loaded: true, kernel: onDevice('/dev/nonexistent') });
  assert.deepEqual(calls, ['--exec', 'reboot']);
  assert.match(warnings.join(), /succeeded, but the machine is still up after 0\.05 s/);
});

for (const filesystem of ['ext4', undefined]) {
  test(`finish("kexec") loads the kernel from a device (${filesystem ?? 'type not named'}), read-only, and starts it`, async () => {
    await script('kexec', `grep -F "$(dirname "$(dirname "$2")") ext4 ro," /proc/self/mounts >>mounts\n${obedient}`);
    await using device = await makeDevice();
    const { calls, kernel, initrd } = await finish({ loaded: false, kernel: { ...onDevice(device.path), filesystem } });
    const [load = '', ...rest] = calls;
    assert.match(load, /^--load \S+\/boot\/vmlinuz --kexec-syscall-auto --initrd=\S+\/boot\/initrd\.img /);
    assert.match(load, / --command-line=root=LABEL=ROOT console=ttyS0 quiet$/);
    assert.deepEqual([kernel, initrd, rest], ['the kernel', 'the initrd', ['--exec', 'reboot']]);
    assert.match(await readFile(join(directory, 'mounts'), 'utf8'), new RegExp(`^${device.path} .*\n$`));
    assert.doesNotMatch(await readFile('/proc/self/mounts', 'utf8'), new RegExp(`^${device.path} `, 'm'));
    await assert.rejects(access(dirname(dirname(load.split(' ')[1] ?? ''))));
  });
}

test('finish("kexec") loads a kernel of the running system where no device is named', async () => {
  await script('kexec', obedient);
  const path = join(directory, 'vmlinuz');
  await writeFile(path, 'a kernel');
  const kernel = { device: undefined, filesystem: undefined, kernel: path, initrds: [], commandLine: undefined };
  const { calls, kernel: content } = await finish({ kernel });
  assert.deepEqual(calls, [`--load ${path} --kexec-syscall-auto --command-line=`, '--exec', 'reboot']);
  assert.equal(content, 'a kernel');
});

const failures: readonly [what: string, program: string, kernel: KexecKernel | undefined, why: RegExp][] = [
  ['nothing is loaded and no kernel is configured', obedient, undefined, /no action has loaded one .*--kexec-kernel/],
  [
    'the device cannot be mounted',
    obedient,
    onDevice('/dev/nonexistent'),
    /cannot mount \/dev\/nonexistent: .*\(mount: exit code \d+\)/,
  ],
  [
    'the device has another file system',
    obedient,
    { ...onDevice('/dev/null'), filesystem: 'ext4' },
    /cannot mount \/dev\/null: .*\(mount: exit code \d+\)/,
  ],
  [
    'the kernel is refused',
    'echo "Cannot determine the file type of $2" >&2; exit 255',
    { ...onDevice('unused'), device: undefined },
    /cannot load the kernel \/boot\/vmlinuz: Cannot determine the file type of \/boot\/vmlinuz .*exit code 255\)$/,
  ],
];
for (const [what, program, kernel, why] of failures) {
  test(`finish("kexec") says so and restarts the machine when ${what}`, async () => {
    await script('kexec', program);
    const { calls, warnings } = await finish({ loaded: false, ...(kernel && { kernel }) });
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? '', /^kexec failed, rebooting instead: /);
    assert.match(warnings[0] ?? '', why);
    assert.equal(calls.at(-1), 'reboot');
    assert.ok(!calls.includes('--exec'));
  });
}

for (const [lockdown, isNamed] of [
  ['none [integrity] confidentiality\n', true],
  ['[none] integrity confidentiality\n', false],
] as const) {
  test(`finish("kexec") ${isNamed ? 'names' : 'does not name'} lockdown as the reason when it is ${lockdown.trim()}`, async () => {
    await script('kexec', 'echo "kexec_file_load failed: Operation not permitted" >&2; exit 255');
    const { warnings } = await finish({ kernel: { ...onDevice('unused'), device: undefined }, lockdown });
    assert.match(warnings[0] ?? '', /Operation not permitted/);
    assert.equal(/locked down, as with Secure Boot/.test(warnings[0] ?? ''), isNamed);
  });
}

test('finish("kexec") says so and restarts the machine when the loaded kernel does not start', async () => {
  await script('kexec', 'echo "kexec failed: Operation not permitted" >&2; exit 1');
  const { calls, warnings } = await finish({ loaded: true });
  assert.match(warnings[0] ?? '', /Operation not permitted .*exit code 1/);
  assert.deepEqual(calls, ['reboot']);
});

test('finish("kexec") says so and restarts the machine when there is no program kexec', async () => {
  const { calls, warnings } = await finish({ loaded: true, program: '/nonexistent/kexec' });
  assert.match(warnings[0] ?? '', /\/nonexistent\/kexec.*ENOENT/);
  assert.deepEqual(calls, ['reboot']);
});

test('finish("kexec") says so and restarts the machine when there is no room for temporary files', async (t) => {
  await script('kexec', obedient);
  const { TMPDIR } = process.env;
  t.after(() => {
    if (TMPDIR === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = TMPDIR;
  });
  process.env['TMPDIR'] = join(directory, 'missing');
  const several = { ...onDevice('unused'), device: undefined, initrds: ['/one', '/two'] };
  for (const kernel of [onDevice('/dev/null'), several]) {
    const { calls, warnings } = await finish({ loaded: false, kernel });
    assert.match(warnings.join(), /^kexec failed, rebooting instead: ENOENT: .*\/missing\/nibs-/);
    assert.equal(calls.at(-1), 'reboot');
  }
});

test('finish("kexec") ends with the reason of the signal', async () => {
  await script('kexec', 'exec sleep 60');
  await writeFile(join(directory, 'loaded'), '1\n');
  const controller = new AbortController();
  const power = createPower({
    ...{
      workDirectory: directory,
      sysrq: false,
      rebootCommand: join(directory, 'bin/reboot'),
      poweroffCommand: 'false',
    },
    kexec: { command: join(directory, 'bin/kexec'), kernel: undefined, loadedFile: join(directory, 'loaded') },
    warn: () => {},
  });
  const reason = new Error('it received SIGTERM');
  setTimeout(() => controller.abort(reason), 100);
  await assert.rejects(power.finish('kexec', controller.signal), reason);
  await assert.rejects(readFile(join(directory, 'calls')));
});
