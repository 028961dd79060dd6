import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { createLoopDevice } from '../sandbox/loop-device.ts';
import { startMirror } from '../sandbox/mirror.ts';
import {
  imageFile,
  makeSignedRelease,
  publish,
  releaseVersion,
  type SignedRelease,
} from '../sandbox/signed-release.ts';
import { readOemFile, readRootFile, runInstaller } from './run.ts';

const mebibyte = 1024 * 1024;
const ignitionConfig = '{"ignition":{"version":"3.3.0"}}';

let release: SignedRelease;
before(async () => {
  release = await makeSignedRelease();
});
after(async () => {
  await release[Symbol.asyncDispose]();
});

const flatcarInstall = (...args: string[]) => runInstaller(release.directory, args);

test('flatcar-install does what the original could not, all at once', async () => {
  await using mirror = await startMirror();
  publish(mirror, release);
  mirror.put('/a.ign', Buffer.from(ignitionConfig));
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes + 32 * mebibyte });
  const ran = await flatcarInstall(
    ...['-d', disk.path, '-b', mirror.url, '-k', release.keyPath, '--key-fingerprint', release.primary],
    ...['--ignition-url', `${mirror.url}/a.ign`],
    ...['--ignition-hash', `sha512-${createHash('sha512').update(ignitionConfig).digest('hex')}`],
    ...['--append-karg', 'quiet', '--append-karg', 'a=b', '--console', 'ttyS1,115200n8'],
    ...['--min-size', '100MB', '--read-back', '--no-reread'],
  );
  assert.deepEqual(
    [ran.exitCode, ran.stdout],
    [
      0,
      `Success! Flatcar Container Linux stable ${releaseVersion} (as the server claims) is installed on ${disk.path}\n`,
    ],
    ran.stderr,
  );
  assert.match(
    ran.stderr,
    new RegExp(`^Good signature .+\nReading back ${disk.path}\n(  .+\n)*Installing the Ignition`, 'm'),
  );
  assert.doesNotMatch(ran.stderr, /Reading the partition table/);
  assert.equal(await readOemFile(disk, 'config.ign'), ignitionConfig);
  const grub = await readOemFile(disk, 'grub.cfg');
  assert.match(grub, /^set oem_id=""\n/);
  assert.match(grub, /^set linux_console="console=ttyS1,115200n8"$/m);
  assert.match(grub, /^set linux_append="\$linux_append quiet"\nset linux_append="\$linux_append a=b"$/m);
  const { stdout } = await execa('sfdisk', ['--dump', disk.path]);
  assert.match(stdout, /name="OEM-CONFIG"/);
  const known = await execa('ls', [`/sys/class/block/${disk.path.slice(5)}`]);
  assert.doesNotMatch(known.stdout, /loop\d+p\d/, 'the kernel was not asked');
});

test('flatcar-install has the disk make the zeroes, unless --no-zero-offload writes them', async () => {
  const zeroed = [];
  for (const options of [[], ['--no-zero-offload']]) {
    await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
    const ran = await flatcarInstall('-d', disk.path, '-f', `${release.imagePath}.bz2`, '--json', ...options);
    assert.equal(ran.exitCode, 0, ran.stderr);
    zeroed.push(JSON.parse(ran.stdout.trimEnd().split('\n').at(-1) ?? '').zeroedBytes > 0);
    await execa('cmp', [disk.path, release.imagePath]);
  }
  assert.deepEqual(zeroed, [true, false]);
});

test('flatcar-install --key-fingerprint trusts no other of the keys it is given', async () => {
  await using mirror = await startMirror();
  publish(mirror, release);
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
  const stranger = await release.gpg.createPrimary('another signer');
  const ran = await flatcarInstall(
    ...['-d', disk.path, '-b', mirror.url, '-k', release.keyPath, '--key-fingerprint', stranger, '--tries', '1'],
  );
  assert.equal(ran.exitCode, 1);
  assert.match(
    ran.stderr,
    new RegExp(`cannot use the signing key of \\S+: it has no key with the fingerprint ${stranger}`),
  );
});

test('flatcar-install --offline installs from files, and says what it would have to download', async () => {
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
  const good = await flatcarInstall('--offline', '-d', disk.path, '-f', release.imagePath);
  assert.equal(good.exitCode, 0, good.stderr);
  const bad = await flatcarInstall('--offline', '-d', disk.path);
  assert.deepEqual(
    [bad.exitCode, bad.stderr],
    [
      1,
      'Error: cannot work offline without a local image: that needs the network (give the path of one with -f, or leave out --offline)\n',
    ],
  );
});

test('flatcar-install --min-size refuses a smaller disk, with -d and with -y', async () => {
  await using disk = await createLoopDevice({ sizeBytes: 64 * mebibyte });
  for (const how of [[], ['-y']]) {
    const ran = await flatcarInstall('-d', disk.path, '-f', release.imagePath, '--min-size', '1GB', ...how);
    assert.deepEqual(
      [ran.exitCode, ran.stderr],
      [
        1,
        `Error: cannot install to ${disk.path}: its size is 0.067GB, but it must be larger than 1GB (choose a larger disk with -d, or give a smaller --min-size)\n`,
      ],
    );
  }
});

test('flatcar-install --list-disks shows why each disk would be chosen or not, to people and to programs', async () => {
  // No disk of another test is as large as these.
  await using small = await createLoopDevice({ sizeBytes: 5e12 });
  await using large = await createLoopDevice({ sizeBytes: 5.5e12 });
  const args = ['--list-disks', '-I', '7', '--min-size', '4.9TB'];
  const forPeople = await flatcarInstall(...args);
  assert.equal(forPeople.exitCode, 0, forPeople.stderr);
  assert.match(forPeople.stdout, new RegExp(`^${small.path} +5000GB +loop .+ chosen: the smallest unused disk$`, 'm'));
  assert.match(forPeople.stdout, new RegExp(`^${large.path} .+ usable, but not the smallest$`, 'm'));

  const forPrograms = await flatcarInstall(...args, '--json');
  const { event, disks } = JSON.parse(forPrograms.stdout);
  assert.equal(event, 'disks');
  const found = disks.find(({ disk }: { disk: { path: string } }) => disk.path === large.path);
  assert.deepEqual([found.verdict, found.disk.sizeBytes, found.disk.major], ['larger', 5.5e12, 7]);
});

test('flatcar-install -s installs to the smallest unused disk', async () => {
  // Of the devices of other tests none can be larger than 5.8 TB and smaller than this one.
  await using disk = await createLoopDevice({ sizeBytes: 5.9e12 });
  const args = ['-s', '-I', '7', '--min-size', '5.8TB', '-f', release.imagePath];
  const dry = await flatcarInstall(...args, '-y');
  const unverified = `Warning: installing ${release.imagePath} without verification: it has no signature beside it, and no --sha512 is given\n`;
  assert.deepEqual(
    [dry.exitCode, dry.stderr],
    [0, `${unverified}Not checked: the image after its partition table\nWould install to ${disk.path}\n`],
  );
  const ran = await flatcarInstall(...args);
  assert.deepEqual(
    [ran.exitCode, ran.stdout],
    [0, `Success! ${release.imagePath} is installed on ${disk.path}\n`],
    ran.stderr,
  );
  assert.match(ran.stderr, new RegExp(`^Selected ${disk.path}, the smallest unused disk$`, 'm'));
  await execa('cmp', ['--bytes', `${release.imageBytes}`, disk.path, release.imagePath]);
});

test('flatcar-install -n takes the network units of the running system along', async () => {
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
  // A /run of its own: the units of this machine are none of the test's.
  const prepare =
    'mount -t tmpfs run /run && mkdir -p /run/systemd/network/10-lan.network.d && cd /run/systemd/network && ' +
    'echo "[Match]" >10-lan.network && echo "[Network]" >10-lan.network.d/dhcp.conf && ln -s 10-lan.network 20-copy.network';
  const program = [process.execPath, join(import.meta.dirname, '../../executable/main.ts'), 'flatcar-install'];
  const args = ['-d', disk.path, '-f', release.imagePath, '-n', '-v'];
  const ran = await execa('unshare', ['--mount', 'sh', '-c', `${prepare} && exec "$@"`, 'sh', ...program, ...args]);
  assert.match(
    ran.stderr,
    /^copied 10-lan\.network, 10-lan\.network\.d, 10-lan\.network\.d\/dhcp\.conf, 20-copy\.network$/m,
  );
  const directory = 'etc/systemd/network';
  assert.equal(await readRootFile(disk, `${directory}/10-lan.network`), '[Match]\n');
  assert.equal(await readRootFile(disk, `${directory}/10-lan.network.d/dhcp.conf`), '[Network]\n');
  assert.equal(await readRootFile(disk, `${directory}/20-copy.network`), '[Match]\n', 'what the link leads to');
});

test('flatcar-install asks for nothing of a mirror but what it needs', async () => {
  await using mirror = await startMirror();
  publish(mirror, release);
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
  const ran = await flatcarInstall('-d', disk.path, '-b', mirror.url, '-k', release.keyPath);
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.deepEqual(
    mirror.requests.map(({ method, path }) => `${method} ${path}`),
    ['GET /current/version.txt', `GET ${imageFile}`, `GET ${imageFile}.sig`],
  );
});
