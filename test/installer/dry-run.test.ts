import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { type FakeTools, makeFakeTools } from '../sandbox/fake-tools.ts';
import { createLoopDevice, type LoopDevice } from '../sandbox/loop-device.ts';
import { runInstaller, startInstaller } from './run.ts';

const mebibyte = 1024 * 1024;

let directory: string;
let imagePath: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-dry-run-'));
  imagePath = join(directory, 'image');
  await writeFile(imagePath, Buffer.alloc(mebibyte));
});
after(() => rm(directory, { recursive: true }));

/**
 * lsblk that calls a loop device a disk: those are gone at the next start, so that no warning names
 * what is on them.
 */
function lsblkWithDisk({ path }: LoopDevice): Promise<FakeTools> {
  const name = path.slice('/dev/'.length);
  const script = `lsblk "$@" | awk '/"name": *"/ { own = index($0, "\\"${name}\\"") } own { sub(/"type": *"loop"/, "\\"type\\": \\"disk\\"") } { print }'`;
  return makeFakeTools({ lsblk: script });
}

test('flatcar-install -y and an installation warn of another disk that carries the names of a Flatcar', async () => {
  await using disk = await createLoopDevice({ sizeBytes: 64 * mebibyte });
  await using other = await createLoopDevice({ sizeBytes: 64 * mebibyte });
  const table = ['label: gpt', 'size=2048, uuid=7130c94a-213a-4e5a-8e26-6cce9662f132, name=USR-A'];
  await execa('sfdisk', ['--quiet', '--no-reread', '--no-tell-kernel', other.path], { input: table.join('\n') });
  await execa('sgdisk', ['--new', '1:65536:+4M', '--change-name', '1:data', disk.path]);
  await using tools = await lsblkWithDisk(other);
  const warning = `Warning: ${other.path} has the partition USR-A of a Flatcar installation; with both disks attached, the machine may boot the kernel of one with the root of the other (detach that disk, or clear it with wipefs --all ${other.path})\n`;
  for (const args of [['-y'], ['-y', '--save-partlabel', 'data'], ['--save-partlabel', 'data'], []]) {
    const { stderr } = await startInstaller(['-d', disk.path, '-f', imagePath, ...args], { PATH: tools.path });
    assert.ok(stderr.includes(warning), `${args.join(' ')}: ${stderr}`);
  }
});

test('flatcar-install shows no password of a mirror, in no form of its output', async () => {
  const secret = 'canary-of-a-mirror';
  const base = `http://bob:${secret}@127.0.0.1:9/images`;
  const usual = ['-D', '-b', base, '-b', `http://${secret}@127.0.0.1:9`, '--tries', '2', '-V', '1.0.0'];
  const logFile = join(directory, 'log');
  for (const args of [['-y'], ['-y', '--json'], [], ['--json'], ['-v'], ['-h']]) {
    await writeFile(logFile, '');
    const { stdout, stderr } = await runInstaller(directory, [...usual, ...args, '--log-file', logFile]);
    const log = await readFile(logFile, 'utf8');
    assert.doesNotMatch(stdout + stderr + log, new RegExp(secret), args.join(' '));
    if (args[0] !== '-h') assert.notEqual(log, '', args.join(' '));
    if (args.includes('--json')) for (const line of stdout.trim().split('\n')) JSON.parse(line);
    if (args[0] === '-y') assert.match(stdout, /bob:\*\*\*@127\.0\.0\.1/);
  }
});

test('flatcar-install -y warns of a file system without a table that a Flatcar would boot by', async () => {
  await using disk = await createLoopDevice({ sizeBytes: 64 * mebibyte });
  await using other = await createLoopDevice({ sizeBytes: 64 * mebibyte });
  await execa('mke2fs', ['-q', '-F', '-L', 'ROOT', other.path]);
  await using tools = await lsblkWithDisk(other);
  const { stderr } = await startInstaller(['-y', '-d', disk.path, '-f', imagePath], { PATH: tools.path });
  assert.match(
    stderr,
    new RegExp(`^Warning: ${other.path} has a file system with the label ROOT of a Flatcar installation; `, 'm'),
  );
});

test('flatcar-install --save-partlabel warns of a saved file system that the installed system would take for its own', async () => {
  await using disk = await createLoopDevice({ sizeBytes: 64 * mebibyte });
  await execa('sgdisk', ['--new', '1:65536:+16M', '--change-name', '1:data', disk.path]);
  await execa('mke2fs', ['-q', '-F', '-L', 'OEM', '-E', `offset=${65536 * 512}`, disk.path, '16M']);
  const { stdout } = await execa('sha256sum', [disk.backingPath]);
  const ran = await runInstaller(directory, ['-y', '-d', disk.path, '--save-partlabel', 'da*']);
  assert.deepEqual(
    [ran.exitCode, ran.stderr],
    [
      0,
      `Saving partition 1 (data)\nWarning: partition 1 (data) of ${disk.path} has a file system with the label OEM; the installed system may use it instead of its own (change the label)\nNot checked: whether the server has the image, its signature, its size and its partitions\nWould install to ${disk.path}\n`,
    ],
  );
  assert.equal((await execa('sha256sum', [disk.backingPath])).stdout, stdout);
});

for (const [args, says] of [
  [['-f', '/no/such/image'], /^Error: cannot read the image \/no\/such\/image: ENOENT/],
  [['-k', '/no/such/key'], /^Error: cannot read the signing key \/no\/such\/key: ENOENT/],
  [['-i', '/no/such/config'], /^Error: cannot read the Ignition config \/no\/such\/config: ENOENT/],
  [['-b', 'ftp://mirror'], /^Error: cannot download ftp:\/\/mirror\/\S+: it is not an HTTP URL/],
  [['-k', '/etc/passwd'], /^Error: cannot use the signing key of \/etc\/passwd: /],
  [['--save-partlabel', 'data'], /^Error: cannot save partitions of \S+: it has no partition table/],
] as const) {
  test(`flatcar-install -y refuses ${args.join(' ')} as an installation does`, async () => {
    await using disk = await createLoopDevice({ sizeBytes: 16 * mebibyte });
    const ran = await runInstaller(directory, ['-y', '-d', disk.path, ...args]);
    assert.deepEqual([ran.exitCode, ran.stdout], [1, '']);
    assert.match(ran.stderr, says);
  });
}

test('flatcar-install -y -n refuses to copy network units where there are none', async () => {
  await using disk = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  const program = [process.execPath, join(import.meta.dirname, '../../executable/main.ts'), 'flatcar-install'];
  const ran = await execa(
    'unshare',
    ['--mount', 'sh', '-c', 'mount -t tmpfs run /run && exec "$@"', 'sh', ...program, '-y', '-d', disk.path, '-n'],
    { reject: false },
  );
  assert.deepEqual(
    [ran.exitCode, ran.stderr],
    [1, 'Error: cannot copy /run/systemd/network: there is no such directory (install without -n)'],
  );
});

test('flatcar-install -y --json tells the settings and the disk as an object', async () => {
  await using disk = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  const ran = await runInstaller(directory, ['-y', '--json', '-d', disk.path, '-C', 'lts', '-V', 'current-2024']);
  assert.equal(ran.exitCode, 0, ran.stderr);
  const { event, disk: chosen, settings } = JSON.parse(ran.stdout.trimEnd().split('\n').at(-1) ?? '');
  assert.deepEqual([event, chosen, settings.VERSION, settings.CHANNEL], ['settings', disk.path, 'current-2024', 'lts']);
});

test('flatcar-install --json says what is wrong with a command line as an object too', async () => {
  const ran = await runInstaller(directory, ['--json', '--no-such-option']);
  assert.deepEqual([ran.exitCode, ran.stderr], [1, "Error: unknown option '--no-such-option' (see --help)\n"]);
  const { event, message } = JSON.parse(ran.stdout);
  assert.deepEqual([event, message], ['error', "unknown option '--no-such-option' (see --help)"]);
});
