import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { copyFile, lstat, mkdir, open, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { partitionOffsetBytes } from '../sandbox/flatcar-layout.ts';
import { createLoopDevice, type LoopDevice } from '../sandbox/loop-device.ts';
import { type Mirror, startMirror } from '../sandbox/mirror.ts';
import {
  compress,
  imageFile,
  makeSignedRelease,
  publish,
  releaseVersion,
  type SignedRelease,
} from '../sandbox/signed-release.ts';
import { readOemFile, readRootFile, runInstaller, startInstaller } from './run.ts';

const mebibyte = 1024 * 1024;
const ignitionConfig =
  '{"ignition":{"version":"3.3.0"},"passwd":{"users":[{"name":"core","sshAuthorizedKeys":["ssh-ed25519 AAAA"]}]}}';

let release: SignedRelease;
before(async () => {
  release = await makeSignedRelease();
});
after(async () => {
  await release[Symbol.asyncDispose]();
});

const flatcarInstall = (...args: string[]) => runInstaller(release.directory, args);

/** A disk with something on it: a partition table at both ends. */
async function usedDisk(sizeBytes = release.imageBytes + 32 * mebibyte): Promise<LoopDevice> {
  const disk = await createLoopDevice({ sizeBytes });
  await using image = await open(release.imagePath);
  await using device = await open(disk.path, 'r+');
  const { buffer: table } = await image.read(Buffer.alloc(mebibyte), 0, mebibyte, 0);
  const { buffer: backup } = await image.read(Buffer.alloc(mebibyte), 0, mebibyte, release.imageBytes - mebibyte);
  assert.ok(table.includes('EFI PART') && backup.includes('EFI PART'));
  await device.write(table, 0, mebibyte, 0);
  await device.write(backup, 0, mebibyte, sizeBytes - mebibyte);
  await device.sync();
  return disk;
}

/**
 * Changes when anything is written: contents of both ends, and how much of the disk is in use
 * between them.
 */
async function fingerprint(disk: LoopDevice): Promise<string> {
  await using device = await open(disk.path);
  await device.sync();
  const hash = createHash('sha256').update(`${(await stat(disk.backingPath)).blocks}`);
  for (const offset of [0, disk.sizeBytes - 8 * mebibyte]) {
    const { buffer } = await device.read(Buffer.alloc(8 * mebibyte), 0, 8 * mebibyte, offset);
    hash.update(buffer);
  }
  return hash.digest('hex');
}

/**
 * Whether anything at all is left in the first and last MiB: neither GPT nor protective MBR may be.
 */
async function hasTable(disk: LoopDevice): Promise<{ primary: boolean; backup: boolean }> {
  await using device = await open(disk.path);
  const [first, last] = [Buffer.alloc(mebibyte), Buffer.alloc(mebibyte)];
  await device.read(first, 0, mebibyte, 0);
  await device.read(last, 0, mebibyte, disk.sizeBytes - mebibyte);
  return { primary: first.some((byte) => byte !== 0), backup: last.some((byte) => byte !== 0) };
}

async function startRelease(): Promise<Mirror> {
  const mirror = await startMirror();
  publish(mirror, release);
  return mirror;
}

const fromMirror = (mirror: Mirror) => ['-b', mirror.url, '-k', release.keyPath, '--tries', '1'];

test('flatcar-install installs the image byte by byte and says so in the words of the original', async () => {
  await using mirror = await startRelease();
  await using disk = await usedDisk();
  const ran = await flatcarInstall('-d', disk.path, ...fromMirror(mirror));
  assert.deepEqual(
    [ran.exitCode, ran.stdout],
    [
      0,
      `Success! Flatcar Container Linux stable ${releaseVersion} (as the server claims) is installed on ${disk.path}\n`,
    ],
    ran.stderr,
  );
  assert.match(ran.stderr, /^Writing http:\S+\/1\.2\.3\/flatcar_production_image\.bin\.bz2 to \/dev\/loop/m);
  assert.match(
    ran.stderr,
    new RegExp(`^Good signature by ${release.subkey} \\(primary key ${release.primary}\\), made at 20\\d\\d-.*Z$`, 'm'),
  );
  await execa('cmp', ['--bytes', `${release.imageBytes}`, disk.path, release.imagePath]);
  const { backup } = await hasTable(disk);
  assert.ok(!backup, 'no old backup table at the end of the disk');
});

test('flatcar-install puts the Ignition config on the OEM partition, beside what is there', async () => {
  await using mirror = await startRelease();
  await using disk = await usedDisk();
  const config = join(release.directory, 'good.ign');
  await writeFile(config, ignitionConfig);
  const ran = await flatcarInstall(
    '-d',
    disk.path,
    '-i',
    config,
    '-C',
    'beta',
    '-V',
    releaseVersion,
    ...fromMirror(mirror),
  );
  assert.deepEqual(
    [ran.exitCode, ran.stdout],
    [
      0,
      `Success! Flatcar Container Linux beta ${releaseVersion} (as the server claims) is installed on ${disk.path}\n`,
    ],
    ran.stderr,
  );
  assert.equal(await readOemFile(disk, 'config.ign'), ignitionConfig);
  assert.match(await readOemFile(disk, 'grub.cfg'), /oem_id/);
  assert.deepEqual(
    mirror.requests.map(({ path }) => path),
    [imageFile, `${imageFile}.sig`],
  );
});

test('flatcar-install puts the cloud-config on the ROOT partition, and says when it could not check it', async () => {
  await using mirror = await startRelease();
  await using disk = await usedDisk();
  const config = join(release.directory, 'cloud.yaml');
  await writeFile(config, '#cloud-config\nhostname: one\n');
  const ran = await flatcarInstall('-d', disk.path, '-c', config, ...fromMirror(mirror));
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.match(ran.stderr, /^Warning: \S+cloud\.yaml is not checked: coreos-cloudinit is not installed$/m);
  assert.equal(await readRootFile(disk, 'var/lib/flatcar-install/user_data'), '#cloud-config\nhostname: one\n');
});

test('flatcar-install resumes a download that breaks, again and again', async () => {
  await using mirror = await startRelease();
  mirror.fail(imageFile, ...[1_000_000, 1, 500_000].map((cutAfterBytes) => ({ cutAfterBytes })));
  await using disk = await usedDisk();
  const ran = await flatcarInstall('-d', disk.path, ...fromMirror(mirror), '--tries', '2');
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.match(
    ran.stderr,
    /Warning: http:\S+: the connection broke after 1000000 of \d+ bytes; trying again in 1 s \(attempt 2 of 2\)/,
  );
  assert.deepEqual(
    mirror.requests.filter(({ path }) => path === imageFile).map(({ range }) => range),
    [undefined, 'bytes=1000000-', 'bytes=1000001-', 'bytes=1500001-'],
  );
  await execa('cmp', ['--bytes', `${release.imageBytes}`, disk.path, release.imagePath]);
});

test('flatcar-install goes on with another mirror, and starts over at one that has another image', async () => {
  await using first = await startRelease();
  await using second = await startRelease();
  await using disk = await usedDisk();
  const mirrors = [...fromMirror(first), '-b', second.url];
  first.fail(imageFile, { cutAfterBytes: 12_000_000 });
  const same = await flatcarInstall('-d', disk.path, ...mirrors);
  assert.equal(same.exitCode, 0, same.stderr);
  assert.match(same.stderr, /Warning: \S+: the connection broke after 12000000 of \d+ bytes; trying http/);
  await execa('cmp', ['--bytes', `${release.imageBytes}`, disk.path, release.imagePath]);

  const compressed = Buffer.concat([release.compressed, Buffer.of(0)]);
  second.put(imageFile, compressed);
  second.put(`${imageFile}.sig`, await release.gpg.sign(compressed, [release.subkey]));
  first.fail(imageFile, { cutAfterBytes: 12_000_000 });
  const other = await flatcarInstall('-d', disk.path, ...mirrors);
  assert.equal(other.exitCode, 0, other.stderr);
  assert.match(other.stderr, new RegExp(`Warning: ${second.url}\\S+: this mirror has another file; starting over`));
  await execa('cmp', ['--bytes', `${release.imageBytes}`, disk.path, release.imagePath]);
});

test('flatcar-install starts over when the image on the server is replaced while it is read', async () => {
  await using mirror = await startRelease();
  const newer = join(release.directory, 'newer.bin');
  await copyFile(release.imagePath, newer);
  await using file = await open(newer, 'r+');
  await file.write(randomBytes(100_000), 0, 100_000, partitionOffsetBytes('USR-A') + mebibyte);
  const compressed = await compress(newer);
  const signature = await release.gpg.sign(compressed, [release.subkey]);
  const replace = () => {
    mirror.put(imageFile, compressed, { lastModified: 'Fri, 07 Mar 2025 10:00:00 GMT' });
    mirror.put(`${imageFile}.sig`, signature);
  };
  mirror.fail(imageFile, { cutAfterBytes: 12_000_000, afterwards: replace });
  await using disk = await usedDisk();
  const ran = await flatcarInstall('-d', disk.path, ...fromMirror(mirror), '--tries', '2');
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.match(ran.stderr, /Warning: http\S+\.bz2: the file changed during the download; starting over/);
  await execa('cmp', ['--bytes', `${release.imageBytes}`, disk.path, newer]);
});

const cannotInstall = String.raw`^Error: cannot install to /dev/loop\d+: `;
const withoutTable = '; the disk was left without a partition table and will not boot$';

test('flatcar-install says in which state the disk is when it fails after it started over', async () => {
  await using mirror = await startRelease();
  const stranger = await release.gpg.createPrimary('replacing stranger', { usage: 'cert,sign' });
  const signature = await release.gpg.sign(Buffer.from('another'), [stranger]);
  const replace = () => {
    mirror.put(imageFile, Buffer.from('another'), { lastModified: 'Fri, 07 Mar 2025 10:00:00 GMT' });
    mirror.put(`${imageFile}.sig`, signature);
  };
  mirror.fail(imageFile, { cutAfterBytes: 14_000_000, afterwards: replace });
  await using disk = await usedDisk();
  const ran = await flatcarInstall('-d', disk.path, ...fromMirror(mirror), '--tries', '2');
  assert.equal(ran.exitCode, 1);
  assert.match(ran.stderr, /; starting over$/m);
  assert.match(ran.stderr, new RegExp(`${cannotInstall}cannot trust the signature .+${withoutTable}`, 'm'));
  assert.deepEqual(await hasTable(disk), { primary: false, backup: false });
});

/** Failures, the message of each, and what is left of the disk. */
interface Failure {
  readonly name: string;
  /** Changes mirror or disk; returns more arguments. */
  prepare(mirror: Mirror, disk: LoopDevice): Promise<string[]> | string[];
  readonly says: RegExp;
  readonly disk: 'untouched' | 'without table';
}

const failures: readonly Failure[] = [
  {
    name: 'a byte of the image is damaged',
    prepare(mirror) {
      const damaged = Buffer.from(release.compressed);
      damaged[12_000_000] = (damaged[12_000_000] ?? 0) ^ 0x10;
      mirror.put(imageFile, damaged);
      return [];
    },
    says: new RegExp(`${cannotInstall}.+${withoutTable}`, 'm'),
    disk: 'without table',
  },
  {
    name: 'the image is another one than was signed',
    async prepare(mirror) {
      const other = join(release.directory, 'other.bin');
      await copyFile(release.imagePath, other);
      await using file = await open(other, 'r+');
      await file.write(Buffer.of(1), 0, 1, partitionOffsetBytes('ROOT') - 1);
      mirror.put(imageFile, await compress(other));
      return [];
    },
    says: new RegExp(
      `${cannotInstall}cannot verify http\\S+\\.sig: it is not a valid signature of this data by \\w{40} \\(.+\\)${withoutTable}`,
      'm',
    ),
    disk: 'without table',
  },
  {
    name: 'the signature is by another key',
    async prepare(mirror) {
      const stranger = await release.gpg.createPrimary('stranger', { usage: 'cert,sign' });
      mirror.put(`${imageFile}.sig`, await release.gpg.sign(release.compressed, [stranger]));
      return [];
    },
    says: /^Error: cannot trust the signature http\S+\.sig: it is signed by key \w{16}, which is not in \S+key\.asc \(give the right key with -k FILE\)$/m,
    disk: 'untouched',
  },
  {
    name: 'the signature is of another file',
    async prepare(mirror) {
      mirror.put(`${imageFile}.sig`, await release.gpg.sign(Buffer.from('something else'), [release.subkey]));
      return [];
    },
    says: new RegExp(
      `${cannotInstall}cannot verify http\\S+\\.sig: it is not a valid signature .+${withoutTable}`,
      'm',
    ),
    disk: 'without table',
  },
  {
    name: 'the signature is wrong even though unsigned images are accepted',
    async prepare(mirror) {
      mirror.put(`${imageFile}.sig`, await release.gpg.sign(Buffer.from('something else'), [release.subkey]));
      return ['--insecure'];
    },
    says: new RegExp(`${cannotInstall}cannot verify`, 'm'),
    disk: 'without table',
  },
  {
    name: 'there is no signature',
    prepare(mirror) {
      mirror.remove(`${imageFile}.sig`);
      return [];
    },
    says: /^Error: cannot download http\S+\.sig: Image signature unavailable: HTTP status 404 Not Found \(.+\)$/m,
    disk: 'untouched',
  },
  {
    name: 'there is no such image',
    prepare: () => ['-o', 'toaster'],
    says: /^Error: cannot download http\S+flatcar_production_toaster_image\.bin\.bz2: Image URL unavailable: HTTP status 404 Not Found \(this release may have no image for -o toaster: .+\)$/m,
    disk: 'untouched',
  },
  {
    name: 'the current version is not known',
    prepare(mirror) {
      mirror.remove('/current/version.txt');
      return [];
    },
    says: /^Error: cannot read the current version from http\S+\/current\/version\.txt: version\.txt unavailable: HTTP status 404/m,
    disk: 'untouched',
  },
  {
    name: 'version.txt has no version',
    prepare(mirror) {
      mirror.put('/current/version.txt', Buffer.from('<html>login please</html>'));
      return [];
    },
    says: /version\.txt unavailable: the file has no FLATCAR_VERSION \(name a version with -V\)$/m,
    disk: 'untouched',
  },
  {
    name: 'the download is cut short and cannot be resumed',
    prepare(mirror) {
      mirror.fail(imageFile, { cutAfterBytes: 12_000_000 });
      return [];
    },
    says: new RegExp(
      `${cannotInstall}cannot download http\\S+: the connection broke after 12000000 of \\d+ bytes \\(tried once\\).+${withoutTable}`,
      'm',
    ),
    disk: 'without table',
  },
  {
    name: 'the file on the server is cut short',
    prepare(mirror) {
      mirror.put(imageFile, release.compressed.subarray(0, 12_000_000));
      return [];
    },
    says: new RegExp(`${cannotInstall}.+${withoutTable}`, 'm'),
    disk: 'without table',
  },
  {
    name: 'the image is not a disk image',
    async prepare(mirror) {
      const path = join(release.directory, 'text');
      await writeFile(path, 'a text\n'.repeat(500_000));
      const compressed = await compress(path);
      mirror.put(imageFile, compressed);
      mirror.put(`${imageFile}.sig`, await release.gpg.sign(compressed, [release.subkey]));
      return [];
    },
    says: /^Error: cannot install the image: it does not start with a partition table/m,
    disk: 'untouched',
  },
  {
    name: 'the disk is mounted',
    async prepare(_mirror, disk) {
      await execa('mke2fs', ['-q', '-F', '-t', 'ext4', disk.path]);
      await mkdir(join(release.directory, 'mounted'), { recursive: true });
      await execa('mount', ['-o', 'ro,noload', disk.path, join(release.directory, 'mounted')]);
      return [];
    },
    says: /^Error: cannot install to \/dev\/loop\d+: it is mounted at \S+\/mounted \(unmount it, or choose another disk with -d\)$/m,
    disk: 'untouched',
  },
  {
    name: 'there is no such disk',
    prepare: () => ['-d', '/dev/no-such-disk'],
    says: /^Error: cannot install to \/dev\/no-such-disk: there is no such device \(list the disks with --list-disks\)$/m,
    disk: 'untouched',
  },
  {
    name: 'no disk is large enough',
    // No disk has this major number.
    prepare: () => ['-s', '-I', '4095'],
    says: /^Error: Could not find smallest disk to install \(min\. 10GB\)\.$/m,
    disk: 'untouched',
  },
  {
    name: 'the Ignition config is not JSON',
    async prepare() {
      await writeFile(join(release.directory, 'bad.ign'), '{"ignition": {"version": "3.3.0",}}');
      return ['-i', join(release.directory, 'bad.ign')];
    },
    says: /^Error: cannot use \S+bad\.ign: .*line 1/m,
    disk: 'untouched',
  },
  {
    name: 'the Ignition config does not exist',
    prepare: () => ['-i', '/no/such/file'],
    says: /^Error: cannot read the Ignition config \/no\/such\/file: ENOENT.+\(give a readable file with -i\)$/m,
    disk: 'untouched',
  },
  {
    name: 'the key file does not exist',
    prepare: () => ['-k', '/no/such/key'],
    says: /^Error: cannot trust the signature \S+: cannot read the signing key \/no\/such\/key: ENOENT/m,
    disk: 'untouched',
  },
];

for (const { name, prepare, says, disk: leaves } of failures) {
  test(`flatcar-install fails and leaves the disk ${leaves} when ${name}`, async () => {
    await using mirror = await startRelease();
    await using disk = await usedDisk();
    try {
      const args = await prepare(mirror, disk);
      const untouched = await fingerprint(disk);
      const ran = await flatcarInstall('-d', disk.path, ...fromMirror(mirror), ...args);
      assert.equal(ran.exitCode, 1);
      assert.match(ran.stderr, says);
      assert.doesNotMatch(ran.stderr, /^ {4}at /m, 'no stack trace');
      assert.equal(ran.stdout, '');
      if (leaves === 'untouched') assert.equal(await fingerprint(disk), untouched);
      else assert.deepEqual(await hasTable(disk), { primary: false, backup: false });
    } finally {
      await execa('umount', [join(release.directory, 'mounted')], { reject: false });
    }
  });
}

test('flatcar-install refuses a disk that is too small before it changes anything', async () => {
  await using mirror = await startRelease();
  await using disk = await usedDisk(64 * mebibyte);
  const untouched = await fingerprint(disk);
  const ran = await flatcarInstall('-d', disk.path, ...fromMirror(mirror));
  assert.equal(ran.exitCode, 1);
  assert.match(ran.stderr, /^Error: cannot install to \S+: the image has \d+ bytes and the disk only 67108864/m);
  assert.equal(await fingerprint(disk), untouched);
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`flatcar-install leaves no partition table when ${signal} interrupts it`, async () => {
    await using mirror = await startRelease();
    await using disk = await usedDisk();
    const stalled = Promise.withResolvers<void>();
    mirror.fail(imageFile, { stallAfterBytes: 14_000_000, afterwards: stalled.resolve });
    const child = startInstaller(['-d', disk.path, ...fromMirror(mirror), '--tries', '10'], {
      TMPDIR: release.directory,
    });
    await Promise.race([stalled.promise, endedTooEarly(child)]);
    await untilChanged(disk);
    child.kill(signal);
    const { exitCode, stderr, stdout } = await child;
    assert.deepEqual([exitCode, stdout], [1, '']);
    assert.match(stderr, new RegExp(`${cannotInstall}it was interrupted${withoutTable}`, 'm'));
    assert.deepEqual(await hasTable(disk), { primary: false, backup: false });
    const left = (await readdir(release.directory)).filter((name) => name.startsWith('flatcar-install'));
    assert.deepEqual(left, [], 'no temporary files');
  });
}

test('flatcar-install goes on to its end when its terminal is closed and nothing reads its output', async () => {
  await using mirror = await startRelease();
  await using disk = await usedDisk();
  const logFile = join(release.directory, 'install.log');
  const stalled = Promise.withResolvers<void>();
  mirror.fail(imageFile, { stallAfterBytes: 14_000_000, afterwards: stalled.resolve });
  const args = ['-d', disk.path, ...fromMirror(mirror), '--tries', '10', '--timeout', '2', '--log-file', logFile];
  const child = startInstaller(args);
  await Promise.race([stalled.promise, endedTooEarly(child)]);
  child.stdout.destroy();
  child.stderr.destroy();
  child.kill('SIGHUP');
  const { exitCode } = await child;
  const log = await readFile(logFile, 'utf8');
  assert.equal(exitCode, 0, log);
  assert.match(log, /^Success! .+ is installed on /m);
  await execa('cmp', ['--bytes', `${release.imageBytes}`, disk.path, release.imagePath]);
  assert.equal((await lstat(logFile)).mode & 0o777, 0o600);
});

test('flatcar-install goes on where its output goes to a full disk', async () => {
  await using mirror = await startRelease();
  await using disk = await usedDisk();
  const program = [process.execPath, join(import.meta.dirname, '../../executable/main.ts'), 'flatcar-install'];
  const args = [...program, '-d', disk.path, ...fromMirror(mirror), '--log-file', '/dev/full'];
  const { exitCode } = await execa('sh', ['-c', 'exec "$@" >/dev/full 2>&1', 'sh', ...args], { reject: false });
  assert.equal(exitCode, 0);
  await execa('cmp', ['--bytes', `${release.imageBytes}`, disk.path, release.imagePath]);
});

test('an exception that nothing catches is printed, leaves the disk as promised, and ends with 70', async () => {
  await using mirror = await startRelease();
  await using disk = await usedDisk();
  const fault = join(release.directory, 'fault.mjs');
  // Thrown out of any call, when the disk has been changed.
  await writeFile(fault, "process.on('SIGUSR2', () => { throw new Error('broken by the test'); });");
  const stalled = Promise.withResolvers<void>();
  mirror.fail(imageFile, { stallAfterBytes: 14_000_000, afterwards: stalled.resolve });
  const child = startInstaller(['-d', disk.path, ...fromMirror(mirror)], { NODE_OPTIONS: `--import=${fault}` });
  await Promise.race([stalled.promise, endedTooEarly(child)]);
  await untilChanged(disk);
  child.kill('SIGUSR2');
  const { exitCode, stderr } = await child;
  assert.equal(exitCode, 70, stderr);
  assert.match(stderr, /^Error: Error: broken by the test$/m);
  assert.match(stderr, new RegExp(`${cannotInstall}it was interrupted${withoutTable}`, 'm'));
  assert.deepEqual(await hasTable(disk), { primary: false, backup: false });
});

test('flatcar-install says that nothing was changed when it is interrupted before it writes', async () => {
  await using mirror = await startRelease();
  await using disk = await usedDisk();
  const untouched = await fingerprint(disk);
  const stalled = Promise.withResolvers<void>();
  mirror.fail(`${imageFile}.sig`, { stallAfterBytes: 10, afterwards: stalled.resolve });
  const child = startInstaller(['-d', disk.path, ...fromMirror(mirror)]);
  await Promise.race([stalled.promise, endedTooEarly(child)]);
  child.kill('SIGINT');
  const { exitCode, stderr } = await child;
  assert.deepEqual(
    [exitCode, stderr],
    [1, 'Error: cannot finish this run: interrupted by SIGINT (no disk was changed)\n'],
  );
  assert.equal(await fingerprint(disk), untouched);
});

/** Fails with what the program said, should it end. */
async function endedTooEarly(child: ReturnType<typeof startInstaller>): Promise<never> {
  const { stderr } = await child;
  throw new Error(`it ended before it was interrupted: ${stderr}`);
}

/** The installer has begun to write: the table of the disk is gone. */
async function untilChanged(disk: LoopDevice): Promise<void> {
  const deadline = Date.now() + 20_000;
  while ((await hasTable(disk)).primary) {
    assert.ok(Date.now() < deadline, 'the disk is not written to');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('flatcar-install --insecure installs an image without signature, and is loud about it', async () => {
  await using mirror = await startRelease();
  mirror.remove(`${imageFile}.sig`);
  await using disk = await usedDisk();
  const ran = await flatcarInstall('-d', disk.path, ...fromMirror(mirror), '--insecure');
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.match(ran.stderr, /^Warning: http\S+ HAS NO SIGNATURE; installing it anyway \(--insecure\)$/m);
});

test('flatcar-install -f installs a local image without the network, and says that it is not verified', async () => {
  await using disk = await usedDisk();
  for (const path of [release.imagePath, `${release.imagePath}.bz2`]) {
    const ran = await flatcarInstall('-d', disk.path, '-f', path);
    assert.deepEqual([ran.exitCode, ran.stdout], [0, `Success! ${path} is installed on ${disk.path}\n`], ran.stderr);
    assert.match(ran.stderr, /^Warning: installing \S+ without verification/m);
    await execa('cmp', ['--bytes', `${release.imageBytes}`, disk.path, release.imagePath]);
  }
});

test('flatcar-install -D keeps an image only when its signature is good', async () => {
  await using mirror = await startRelease();
  const path = join(release.directory, 'flatcar_production_image.bin.bz2');
  // As another user can place it in a directory like /tmp.
  const victim = join(release.directory, 'victim');
  await writeFile(victim, 'untouched');
  await symlink('victim', `${path}.partial`);
  await symlink('victim', path);
  const ran = await flatcarInstall('-D', ...fromMirror(mirror));
  assert.deepEqual([ran.exitCode, ran.stdout], [0, `Success! ${path} is downloaded and verified\n`], ran.stderr);
  assert.ok(release.compressed.equals(await readFile(path)));
  assert.equal(await readFile(victim, 'utf8'), 'untouched');
  assert.equal((await lstat(path)).mode & 0o7777, 0o600, 'as with the original');
  await rm(path);

  mirror.put(imageFile, Buffer.concat([release.compressed, Buffer.of(0)]));
  const bad = await flatcarInstall('-D', ...fromMirror(mirror));
  assert.equal(bad.exitCode, 1);
  assert.match(bad.stderr, /^Error: cannot verify http\S+\.sig: it is not a valid signature/m);
  const left = (await readdir(release.directory)).filter((name) => name.startsWith('flatcar_production'));
  assert.deepEqual(left, ['flatcar_production_image.bin.bz2.partial'], 'only the link that was there');
  await rm(`${path}.partial`);
  const hidden = (await readdir(release.directory)).filter((name) => name.endsWith('.partial'));
  assert.deepEqual(hidden, []);
});

test('two flatcar-install -D in one directory do not write into the same file', async () => {
  await using first = await startRelease();
  await using second = await startRelease();
  const path = join(release.directory, 'flatcar_production_image.bin.bz2');
  // The first has begun when the second begins, and ends while that is in the middle.
  const [isFirstStalled, isSecondStalled] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  first.fail(imageFile, { stallAfterBytes: 1_000_000, afterwards: isFirstStalled.resolve });
  second.fail(imageFile, { stallAfterBytes: 1_000_000, afterwards: isSecondStalled.resolve });
  const one = flatcarInstall('-D', ...fromMirror(first), '--timeout', '3', '--tries', '5');
  await isFirstStalled.promise;
  const other = flatcarInstall('-D', ...fromMirror(second), '--timeout', '12', '--tries', '5');
  await isSecondStalled.promise;
  const { exitCode, stderr } = await one;
  assert.equal(exitCode, 0, stderr);
  assert.ok(release.compressed.equals(await readFile(path)), 'what was verified');
  assert.equal((await other).exitCode, 0);
  assert.ok(release.compressed.equals(await readFile(path)));
  await rm(path);
});

test('flatcar-install -D goes on with another mirror, and starts over at one that has another image', async () => {
  await using first = await startRelease();
  await using second = await startRelease();
  const path = join(release.directory, 'flatcar_production_image.bin.bz2');
  const mirrors = [...fromMirror(first), '-b', second.url];
  first.fail(imageFile, { cutAfterBytes: 12_000_000 });
  const same = await flatcarInstall('-D', ...mirrors);
  assert.equal(same.exitCode, 0, same.stderr);
  assert.ok(release.compressed.equals(await readFile(path)));

  const other = Buffer.concat([release.compressed, Buffer.of(0)]);
  second.put(imageFile, other);
  second.put(`${imageFile}.sig`, await release.gpg.sign(other, [release.subkey]));
  first.fail(imageFile, { cutAfterBytes: 12_000_000 });
  const ran = await flatcarInstall('-D', ...mirrors);
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.match(ran.stderr, /: this mirror has another file; starting over$/m);
  assert.ok(other.equals(await readFile(path)));
  await rm(path);
});

test('flatcar-install --json tells progress, warnings and the result one object a line', async () => {
  await using mirror = await startRelease();
  await using disk = await usedDisk();
  const good = await flatcarInstall('-d', disk.path, ...fromMirror(mirror), '--json');
  assert.deepEqual([good.exitCode, good.stderr], [0, '']);
  const events = good.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual([...new Set(events.map(({ event }) => event))], ['phase', 'progress', 'success']);
  const { doneBytes, totalBytes } = events.findLast(({ event }) => event === 'progress');
  assert.deepEqual([doneBytes, totalBytes], [release.compressed.length, release.compressed.length]);
  const result = events.at(-1);
  assert.deepEqual(
    [result.disk, result.release.version, result.signedBy.signingFingerprint],
    [disk.path, releaseVersion, release.subkey],
  );

  mirror.remove(imageFile);
  const bad = await flatcarInstall('-d', disk.path, ...fromMirror(mirror), '--json');
  const error = JSON.parse(bad.stdout.trimEnd().split('\n').at(-1) ?? '');
  assert.deepEqual([bad.exitCode, error.event, error.what], [1, 'error', 'download']);
  assert.match(error.why, /^Image URL unavailable/);
});

test('flatcar-install -y checks disk and configs, shows the settings, and changes nothing', async () => {
  await using disk = await usedDisk();
  const untouched = await fingerprint(disk);
  const config = join(release.directory, 'dry.ign');
  await writeFile(config, ignitionConfig);
  const ran = await flatcarInstall(
    '-y',
    '-d',
    disk.path,
    '-i',
    config,
    '-o',
    'ami',
    '-C',
    'beta',
    '-b',
    'http://mirror.example/',
  );
  assert.deepEqual(
    [ran.exitCode, ran.stderr],
    [
      0,
      `Not checked: whether the server has the image, its signature, its size and its partitions\nWould install to ${disk.path}\n`,
    ],
  );
  const board = process.arch === 'arm64' ? 'arm64-usr' : 'amd64-usr';
  assert.deepEqual(ran.stdout.split('\n'), [
    'Settings:',
    '    VERSION:  current',
    `    BOARD:    ${board}`,
    '    CHANNEL:  beta',
    '    OEM:      ami',
    '    CLOUD:    (none)',
    `    IGNITION: ${config}`,
    '    BASEURL:  http://mirror.example',
    '    KEYFILE:  (none)',
    '    IMAGE:    flatcar_production_ami_image.bin.bz2',
    '',
  ]);
  assert.equal(await fingerprint(disk), untouched);
  const refused = await flatcarInstall('-y', '-d', '/dev/null');
  assert.equal(refused.exitCode, 1);
  assert.match(refused.stderr, /it is not a block device/);
});
