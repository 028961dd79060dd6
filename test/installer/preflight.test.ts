import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { makeFakeTools } from '../sandbox/fake-tools.ts';
import { makeFlatcarImage, partitionOffsetBytes } from '../sandbox/flatcar-layout.ts';
import { createLoopDevice, type LoopDevice } from '../sandbox/loop-device.ts';
import { startMirror } from '../sandbox/mirror.ts';
import { imageFile, releaseVersion } from '../sandbox/signed-release.ts';
import { createGpg } from '../sandbox/signing.ts';
import { readOemFile, startInstaller } from './run.ts';

const mebibyte = 1024 * 1024;
const config = '{"ignition":{"version":"3.3.0"}}';

let directory: string;
let image: string;
let imageBytes: number;
let ignition: string;
let cloudConfig: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-preflight-'));
  image = join(directory, 'image');
  imageBytes = await makeFlatcarImage({ path: image });
  ignition = join(directory, 'config.ign');
  await writeFile(ignition, config);
  cloudConfig = join(directory, 'cloud.yaml');
  await writeFile(cloudConfig, '#cloud-config\n');
});
after(() => rm(directory, { recursive: true }));

async function assertUntouched(disk: LoopDevice): Promise<void> {
  assert.match((await execa('du', ['--block-size=1', disk.backingPath])).stdout, /^0\t/, 'nothing was written');
}

/** Refused by an installation and by a dry run, in the same words, before a byte is written. */
async function assertRefused(args: readonly string[], env: Record<string, string>, why: RegExp): Promise<void> {
  await using disk = await createLoopDevice({ sizeBytes: imageBytes });
  for (const more of [[], ['-y']]) {
    const ran = await startInstaller(['-d', disk.path, '-f', image, ...args, ...more], env);
    assert.equal(ran.exitCode, 1, ran.stderr);
    assert.match(ran.stderr, why, more.join());
    assert.doesNotMatch(ran.stderr, /left without/);
    await assertUntouched(disk);
  }
}

for (const [name, make] of [
  ['missing', async () => join(directory, 'no-such-directory')],
  ['no directory', async () => ignition],
] as const) {
  test(`flatcar-install writes nothing when TMPDIR is ${name}`, async () => {
    const TMPDIR = await make();
    const why = /^Error: cannot write temporary files to \S+: .+ \(set TMPDIR to a directory/m;
    await assertRefused(['-i', ignition], { TMPDIR }, why);
    await assertRefused(['-c', cloudConfig], { TMPDIR }, why);
  });
}

for (const [name, options] of [
  ['full', 'size=64k'],
  ['read-only', 'ro'],
] as const) {
  test(`flatcar-install writes nothing when TMPDIR is ${name}`, async () => {
    const TMPDIR = await mkdtemp(join(directory, 'tmp-'));
    await execa('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', TMPDIR]);
    try {
      await assertRefused(
        ['-i', ignition],
        { TMPDIR },
        /^Error: cannot write temporary files to \S+: .*(ENOSPC|EROFS)/m,
      );
    } finally {
      await execa('umount', [TMPDIR]);
    }
  });
}

test('flatcar-install without a configuration needs no directory for temporary files', async () => {
  await using disk = await createLoopDevice({ sizeBytes: imageBytes });
  const ran = await startInstaller(['-d', disk.path, '-f', image], { TMPDIR: join(directory, 'none') });
  assert.equal(ran.exitCode, 0, ran.stderr);
  await execa('cmp', [disk.path, image]);
});

for (const tool of ['losetup', 'mount', 'umount']) {
  test(`flatcar-install rewrites the OEM partition where ${tool} does not work, and refuses -c before it writes`, async () => {
    // The loop device of a failing umount would stay.
    const fails = tool === 'umount' ? '/bin/umount "$@"; echo no >&2; exit 1' : 'echo no >&2; exit 1';
    await using tools = await makeFakeTools({ [tool]: fails });
    await using disk = await createLoopDevice({ sizeBytes: imageBytes });
    const ran = await startInstaller(['-d', disk.path, '-f', image, '-i', ignition], { PATH: tools.path });
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.equal(await readOemFile(disk, 'config.ign'), config);
    const why = new RegExp(`cannot write to the ROOT partition: it cannot be mounted: .*${tool}.*: no \\(run as root`);
    await assertRefused(['-c', cloudConfig], { PATH: tools.path }, why);
  });
}

test('flatcar-install writes nothing where the OEM partition can be neither mounted nor rewritten', async () => {
  const fails = 'echo no >&2; exit 1';
  await using tools = await makeFakeTools({ mount: fails, btrfs: fails });
  await assertRefused(
    ['-i', ignition],
    { PATH: tools.path },
    /cannot write to the OEM partition: it cannot be mounted: .*; it cannot be rewritten either: /,
  );
});

test('flatcar-install without the right to mount (CAP_SYS_ADMIN) rewrites the OEM partition', async () => {
  await using disk = await createLoopDevice({ sizeBytes: imageBytes });
  const program = [process.execPath, join(import.meta.dirname, '../../executable/main.ts'), 'flatcar-install'];
  const run = (...args: string[]) =>
    execa('setpriv', ['--bounding-set=-sys_admin', '--inh-caps=-sys_admin', ...program, '-d', disk.path, ...args], {
      reject: false,
    });
  const refused = await run('-f', image, '-c', cloudConfig);
  assert.match(refused.stderr, /^Error: cannot write to the ROOT partition: it cannot be mounted: /m);
  await assertUntouched(disk);
  const ran = await run('-f', image, '-i', ignition);
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.equal(await readOemFile(disk, 'config.ign'), config);
});

test('flatcar-install refuses a config that is larger than the OEM partition before it writes', async () => {
  const small = join(directory, 'small-image');
  const smallBytes = await makeFlatcarImage({ path: small, sizes: { OEM: 128, ROOT: 24 } });
  const large = join(directory, 'large.ign');
  await writeFile(large, `${config}${' '.repeat(60_000_000)}`);
  await using disk = await createLoopDevice({ sizeBytes: smallBytes });
  for (const more of [[], ['-y']]) {
    const ran = await startInstaller(['-d', disk.path, '-f', small, '-i', large, ...more]);
    assert.equal(ran.exitCode, 1);
    assert.match(
      ran.stderr,
      /^Error: cannot write the configuration to the OEM partition: 600\d+ bytes do not fit on it: it has 134217728 \(.*ENOSPC.*\) \(let the installed system download/m,
    );
    await assertUntouched(disk);
  }
  await rm(small);
});

test('flatcar-install says why the OEM partition cannot be tried beforehand', async () => {
  const fails = 'case "$1" in --version) echo 0;; *) echo "the kernel is too old" >&2; exit 1;; esac';
  await using tools = await makeFakeTools({ 'mkfs.btrfs': fails });
  await assertRefused(
    ['-i', ignition],
    { PATH: tools.path },
    /^Error: cannot write the configuration to a copy of the OEM partition: .*the kernel is too old.* \(check that mkfs\.btrfs works here\)$/m,
  );
});

/** Images whose partitions have room, but for what is on them already. */
const full = { sizes: { OEM: 128, ROOT: 40 }, rootFiles: { data: 'r'.repeat(30_000_000) } } as const;

for (const [name, option, configBytes, refusal] of [
  ['a config', '-i', 45_000_000, /configuration to the OEM partition: 450\d+ bytes do not fit on it: what is there/],
  [
    'a cloud-config',
    '-c',
    9_000_000,
    /configuration to the ROOT partition: 90\d+ bytes do not fit on it: what is there/,
  ],
] as const) {
  test(`flatcar-install refuses ${name} that does not fit beside what the partition has, before it writes`, async () => {
    const filled = join(directory, 'filled');
    const filledBytes = await makeFlatcarImage({
      ...{ path: filled, ...full, oemFilesystem: 'ext4', oemFiles: { data: 'o'.repeat(90_000_000) } },
    });
    const large = join(directory, 'large');
    await writeFile(large, `${option === '-i' ? config : '#cloud-config\n'}${' '.repeat(configBytes)}`);
    await using disk = await createLoopDevice({ sizeBytes: filledBytes });
    for (const more of [[], ['-y']]) {
      const ran = await startInstaller(['-d', disk.path, '-f', filled, option, large, ...more]);
      assert.equal(ran.exitCode, 1);
      assert.match(ran.stderr, refusal);
      assert.match(ran.stderr, / already leaves \d{7,8} \(let the installed system download/);
      await assertUntouched(disk);
    }
    // Less than that fits.
    await writeFile(large, option === '-i' ? config : '#cloud-config\n');
    const ran = await startInstaller(['-d', disk.path, '-f', filled, option, large]);
    assert.equal(ran.exitCode, 0, ran.stderr);
    await rm(filled);
  });
}

test('flatcar-install refuses a config that does not fit when the superblock has arrived, not at the end', async () => {
  const filled = join(directory, 'filled');
  const filledBytes = await makeFlatcarImage({ path: filled, sizes: full.sizes });
  // As large a part of a btrfs is full only without copies of the metadata.
  const oem = join(directory, 'oem');
  const files = await mkdtemp(join(directory, 'files-'));
  await writeFile(join(files, 'data'), 'o'.repeat(90_000_000));
  await execa('truncate', ['--size', '128M', oem]);
  await execa('mkfs.btrfs', ['-q', '--mixed', '--metadata', 'single', '--data', 'single', '--rootdir', files, oem]);
  const offset = partitionOffsetBytes('OEM') / mebibyte;
  await execa('dd', [`if=${oem}`, `of=${filled}`, 'bs=1M', `seek=${offset}`, 'conv=notrunc', 'status=none']);
  const large = join(directory, 'large.ign');
  await writeFile(large, `${config}${' '.repeat(45_000_000)}`);
  await using disk = await createLoopDevice({ sizeBytes: filledBytes });
  // A server that sends no more than the start of the partition; what it would send after that is
  // never there.
  await using mirror = await startMirror();
  mirror.put(imageFile, await readFile(filled));
  await using gpg = await createGpg();
  const key = await gpg.createPrimary('release', { usage: 'cert,sign' });
  await writeFile(join(directory, 'key.asc'), await gpg.exportKeys(key));
  mirror.put(`${imageFile}.sig`, await gpg.sign(Buffer.from('another image'), [key]));
  mirror.fail(imageFile, { stallAfterBytes: (offset + 2) * mebibyte });
  const from = ['-b', mirror.url, '-V', releaseVersion, '-k', join(directory, 'key.asc'), '--tries', '1'];
  const { exitCode, stderr } = await startInstaller(['-d', disk.path, ...from, '-i', large]);
  assert.equal(exitCode, 1);
  assert.match(
    stderr,
    /OEM partition: 450\d+ bytes do not fit on it: what is there already leaves \d+ .*; the disk was left without a partition table/,
  );
  await rm(filled);
});

test('flatcar-install refuses an image without the partitions of the configuration before it writes', async () => {
  const bare = join(directory, 'bare');
  await execa('truncate', ['--size', '64M', bare]);
  await execa('sgdisk', ['--new', '1:2048:+4M', '--change-name', '1:EFI-SYSTEM', bare]);
  await using disk = await createLoopDevice({ sizeBytes: 64 * mebibyte });
  for (const args of [
    ['-i', ignition],
    ['-c', cloudConfig],
  ]) {
    const ran = await startInstaller(['-d', disk.path, '-f', bare, ...args]);
    assert.match(ran.stderr, /^Error: cannot find the partition (OEM|ROOT) on the image: there are only EFI-SYSTEM$/m);
    await assertUntouched(disk);
  }
});

test('flatcar-install refuses an endless -i as it refuses a long answer of a server', async () => {
  await using disk = await createLoopDevice({ sizeBytes: imageBytes });
  const ran = await startInstaller(['-d', disk.path, '-f', image, '-i', '/dev/zero']);
  assert.match(ran.stderr, /^Error: cannot read the Ignition config \/dev\/zero: it is larger than 67108864 bytes/m);
  await assertUntouched(disk);
});

for (const [name, make, why] of [
  ['a link that leads nowhere', (path: string) => symlink('nowhere', path), /10-bad\.network: the link leads nowhere/],
  ['a pipe', (path: string) => execa('mkfifo', [path]), /10-bad\.network: it is neither a file nor a directory/],
  ['a link to itself', (path: string) => symlink('10-bad.network', path), /10-bad\.network: ELOOP/],
] as const) {
  test(`flatcar-install -n refuses ${name} before it writes`, async () => {
    await using disk = await createLoopDevice({ sizeBytes: imageBytes });
    const units = await mkdtemp(join(directory, 'units-'));
    await chmod(units, 0o755);
    await make(join(units, '10-bad.network'));
    const program = [process.execPath, join(import.meta.dirname, '../../executable/main.ts'), 'flatcar-install'];
    const script = `mkdir -p /run/systemd/network && mount --bind ${units} /run/systemd/network && exec "$@"`;
    for (const more of [[], ['-y']]) {
      const args = [...program, '-d', disk.path, '-f', image, '-n', ...more];
      const ran = await execa('unshare', ['--mount', 'sh', '-c', script, 'sh', ...args], { reject: false });
      assert.equal(ran.exitCode, 1);
      assert.match(ran.stderr, why);
      await assertUntouched(disk);
    }
  });
}

test('flatcar-install -y says what it could not check, and reads the table of a local image', async () => {
  await using disk = await createLoopDevice({ sizeBytes: imageBytes });
  const remote = await startInstaller(['-y', '-d', disk.path, '--ignition-url', 'https://server.example/a.ign']);
  assert.match(
    remote.stderr,
    /^Not checked: whether the server has the image, .*; the Ignition config at https:\/\/server\.example\/a\.ign$/m,
  );
  const local = await startInstaller(['-y', '-d', disk.path, '-f', image, '-i', ignition]);
  assert.deepEqual(
    [local.exitCode, local.stderr.match(/^Not checked: .+$/m)?.[0]],
    [...[0, 'Not checked: the image after its partition table']],
  );
  await assertUntouched(disk);
  await using small = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  const ran = await startInstaller(['-y', '-d', small.path, '-f', image]);
  assert.match(ran.stderr, /^Error: cannot install to \S+: the image has \d+ bytes and the disk only 16777216/m);
});

test('the preflight leaves neither files nor loop devices behind', async () => {
  const TMPDIR = await mkdtemp(join(directory, 'tmp-'));
  await mkdir(join(TMPDIR, 'of-another'));
  await using disk = await createLoopDevice({ sizeBytes: imageBytes });
  const ran = await startInstaller(['-y', '-d', disk.path, '-f', image, '-i', ignition, '-c', cloudConfig], { TMPDIR });
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.deepEqual(await readdir(TMPDIR), ['of-another']);
  assert.doesNotMatch((await execa('losetup', ['--list', '--output', 'BACK-FILE'])).stdout, new RegExp(TMPDIR));
});
