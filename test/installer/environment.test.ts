import assert from 'node:assert/strict';
import { mkdtemp, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { makeFakeTools } from '../sandbox/fake-tools.ts';
import { partitionOffsetBytes } from '../sandbox/flatcar-layout.ts';
import { createLoopDevice, type LoopDevice } from '../sandbox/loop-device.ts';
import { startMirror } from '../sandbox/mirror.ts';
import { imageFile, makeSignedRelease, publish, type SignedRelease } from '../sandbox/signed-release.ts';
import { readOemFile, startInstaller } from './run.ts';

const mebibyte = 1024 * 1024;
const ignitionConfig = '{"ignition":{"version":"3.3.0"}}';

let release: SignedRelease;
let configPath: string;
before(async () => {
  release = await makeSignedRelease();
  configPath = join(release.directory, 'config.ign');
  await writeFile(configPath, ignitionConfig);
});
after(async () => {
  await release[Symbol.asyncDispose]();
});

/** Byte for byte the image, whatever follows it. */
const assertInstalled = (disk: LoopDevice) =>
  execa('cmp', ['--bytes', `${release.imageBytes}`, disk.path, release.imagePath]);

test('flatcar-install works with nothing in its environment', async () => {
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes + mebibyte });
  const program = [join(import.meta.dirname, '../../executable/main.ts'), 'flatcar-install'];
  const args = ['-d', disk.path, '-f', release.imagePath, '-i', configPath];
  const ran = await execa(process.execPath, [...program, ...args], { env: {}, extendEnv: false, cwd: '/' });
  assert.equal(ran.stdout, `Success! ${release.imagePath} is installed on ${disk.path}`);
  assert.equal(await readOemFile(disk, 'config.ign'), ignitionConfig);
});

test("flatcar-install takes no option from the environment, as the original's variables are", async () => {
  const variables = {
    ...{ VERSION_ID: '1.2.3', GROUP: 'alpha', BASE_URL: 'http://environment.example', IGNITION: '/none.ign' },
    ...{ INCLUDE_MAJOR: '-I 1', EXCLUDE_MAJOR: '-e 8', COPY_NET: '1', INSTALL_TO_SMALLEST: '1', OEM_ID: 'ami' },
  };
  const args = ['-y', '-D', '-C', 'beta'];
  const [plain, given] = [await startInstaller(args), await startInstaller(args, variables)];
  assert.equal(plain.exitCode, 0, plain.stderr);
  assert.deepEqual([given.exitCode, given.stdout], [0, plain.stdout]);
  assert.match(plain.stdout, /VERSION: +current\n +BOARD: .*\n +CHANNEL: +beta\n/);
});

test('flatcar-install follows a link to the disk, and says to which disk it has installed', async () => {
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
  // As udev makes them, with a link to a partition beside it whose name begins in the same way.
  const directory = await mkdtemp(join(release.directory, 'by-path-'));
  const link = join(directory, 'pci-0000:00:1f.2-ata-1');
  await symlink(disk.path, link);
  await symlink(`${disk.path}p1`, `${link}-part1`);
  const ran = await startInstaller(['-d', link, '-f', release.imagePath]);
  assert.deepEqual([ran.exitCode, ran.stdout], [0, `Success! ${release.imagePath} is installed on ${disk.path}\n`]);
  await assertInstalled(disk);
});

test('flatcar-install refuses a disk with sectors of 4096 bytes before it downloads anything', async () => {
  await using mirror = await startMirror();
  publish(mirror, release);
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes, sectorSizeBytes: 4096 });
  const ran = await startInstaller(['-d', disk.path, '-b', mirror.url, '-k', release.keyPath]);
  assert.deepEqual(
    [ran.exitCode, ran.stderr, mirror.requests],
    [
      1,
      `Error: cannot install to ${disk.path}: its sectors have 4096 bytes, but the image needs sectors of 512 (choose another disk, or reformat it to 512-byte sectors if it can do that (nvme format))\n`,
      [],
    ],
  );
});

test('flatcar-install leaves no signature of an earlier use at either end of the disk', async () => {
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes + 64 * mebibyte });
  // Both are also at the end of the disk; wipefs finds them all.
  await execa('sgdisk', ['--new', '1:2048:+4M', disk.path]);
  await execa('dd', ['if=/dev/zero', `of=${disk.path}`, 'bs=1M', 'count=1', 'conv=notrunc,fsync', 'status=none']);
  await writeRaidMember(disk);
  const before = (await execa('wipefs', ['--parsable', '--noheadings', disk.path])).stdout;
  assert.match(before, /linux_raid_member/);
  const ran = await startInstaller(['-d', disk.path, '-f', release.imagePath]);
  assert.equal(ran.exitCode, 0, ran.stderr);
  const after = (await execa('wipefs', ['--parsable', '--noheadings', disk.path])).stdout;
  assert.deepEqual(
    after.split('\n').map((line) => line.split(',').at(-1)),
    ['gpt', 'PMBR'],
  );
});

/** A superblock of md, version 1.0: 8 KiB before the end (md.4; source: linux/raid/md_p.h). */
async function writeRaidMember(disk: LoopDevice): Promise<void> {
  const at = Math.floor((disk.sizeBytes / 512 - 16) / 8) * 8;
  const block = Buffer.alloc(1024);
  block.writeUInt32LE(0xa92b4efc, 0);
  block.writeUInt32LE(1, 4);
  block.fill(7, 16, 32);
  block.writeBigUInt64LE(BigInt(at), 144);
  block.writeUInt32LE(0, 220);
  let sum = 0n;
  for (let offset = 0; offset < 256; offset += 4) sum += BigInt(block.readUInt32LE(offset));
  block.writeUInt32LE(Number((sum & 0xffffffffn) + (sum >> 32n)), 216);
  const path = join(release.directory, 'superblock');
  await writeFile(path, block);
  await execa('dd', [`if=${path}`, `of=${disk.path}`, 'bs=512', `seek=${at}`, 'conv=notrunc,fsync', 'status=none']);
}

/**
 * Stands for efibootmgr, which would change the firmware of this machine, or fails where it has
 * none.
 */
const workingEfi = 'echo "BootOrder: 0000"';

test('flatcar-install -u has efibootmgr add an entry for the disk, when that is complete', async () => {
  const seen = `[ "$1" != --create ] || dd if="$3" bs=512 skip=1 count=1 status=none | head -c 8 >"$DIR/header"; ${workingEfi}`;
  await using tools = await makeFakeTools({ efibootmgr: seen });
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
  const args = ['-d', disk.path, '-f', release.imagePath, '-u', '-B', 'amd64-usr', '-C', 'beta'];
  const ran = await startInstaller(args, { PATH: tools.path });
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.deepEqual(await tools.calls('efibootmgr'), [
    [],
    ['-v'],
    [
      ...['--create', '--disk', disk.path, '--part', '1'],
      ...['--loader', '\\efi\\boot\\bootx64.efi', '--label', 'Flatcar Container Linux beta'],
    ],
    ['-v'],
  ]);
  assert.equal(await readFile(join(tools.directory, 'header'), 'utf8'), 'EFI PART');
});

test('flatcar-install -u changes nothing on a machine whose firmware cannot take an entry', async () => {
  await using tools = await makeFakeTools({
    efibootmgr: 'echo "EFI variables are not supported on this system." >&2; exit 2',
  });
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
  for (const more of [[], ['-y']]) {
    const ran = await startInstaller(['-d', disk.path, '-f', release.imagePath, '-u', ...more], { PATH: tools.path });
    assert.deepEqual(
      [ran.exitCode, ran.stderr],
      [
        1,
        'Error: cannot add a boot entry to the firmware of this machine: EFI variables are not supported on this system. (leave out -u; firmware that searches disks for boot loaders needs no entry)\n',
      ],
    );
  }
  const { stdout } = await execa('du', ['--block-size=1', disk.backingPath]);
  assert.match(stdout, /^0\t/, 'nothing was written');
});

test('flatcar-install -u says that the disk is complete when only the entry is missing', async () => {
  const full = `[ $# -eq 0 ] && exit 0; echo "Could not prepare Boot variable: No space left on device" >&2; exit 5`;
  await using tools = await makeFakeTools({ efibootmgr: full });
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
  const ran = await startInstaller(['-d', disk.path, '-f', release.imagePath, '-u'], { PATH: tools.path });
  assert.equal(ran.exitCode, 1);
  assert.match(
    ran.stderr,
    new RegExp(
      `^Error: cannot add a boot entry for ${disk.path}: .+No space left on device; the installation itself is complete \\(add it in the firmware setup or with efibootmgr\\)$`,
      'm',
    ),
  );
  await assertInstalled(disk);
});

test('flatcar-install gives the OEM partition another UUID where the kernel refuses a second one with the same', async () => {
  // As kernels before 6.8 answer where the running system came from the same image.
  const refusing =
    'case "$*" in *btrfs*) if [ -e "$DIR/rehearsed" ] && [ ! -e "$DIR/refused" ]; then touch "$DIR/refused"; echo "mount: File exists." >&2; exit 32; fi; touch "$DIR/rehearsed" ;; esac; exec mount "$@"';
  await using tools = await makeFakeTools({ mount: refusing, btrfstune: 'exec btrfstune "$@"' });
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
  const args = ['-d', disk.path, '-f', release.imagePath, '-i', configPath];
  const ran = await startInstaller(args, { PATH: tools.path });
  assert.equal(ran.exitCode, 0, ran.stderr);
  const [call] = await tools.calls('btrfstune');
  assert.deepEqual(call?.slice(0, 2), ['-f', '-u']);
  const mounts = (await tools.calls('mount')).filter((call) => call.includes('btrfs'));
  assert.equal(mounts.length, 3, 'the rehearsal, the refused one, and that of the new UUID');
  assert.equal(await readOemFile(disk, 'config.ign'), ignitionConfig);
  const uuidOf = async (path: string) =>
    (
      await execa('blkid', [
        ...['--probe', '--output', 'value', '--match-tag', 'UUID'],
        ...['--offset', `${partitionOffsetBytes('OEM')}`, '--size', `${128 * mebibyte}`, path],
      ])
    ).stdout;
  assert.notEqual(await uuidOf(disk.path), await uuidOf(release.imagePath));
});

test('flatcar-install takes the subkey of a new year, found on the mirror, under the pinned fingerprint', async () => {
  await using mirror = await startMirror();
  publish(mirror, release);
  mirror.put('/Flatcar_Image_Signing_Key.asc', await readFile(release.keyPath));
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
  const args = ['-d', disk.path, '-b', mirror.url, '--key-fingerprint', release.primary];
  const before = await startInstaller(args);
  assert.equal(before.exitCode, 0, before.stderr);
  const rotated = await release.gpg.addSubkey(release.primary, { algorithm: 'rsa2048' });
  mirror.put(`${imageFile}.sig`, await release.gpg.sign(release.compressed, [rotated]));
  mirror.put('/Flatcar_Image_Signing_Key.asc', await release.gpg.exportKeys(release.primary));
  const after = await startInstaller(args);
  assert.equal(after.exitCode, 0, after.stderr);
  assert.match(
    after.stderr,
    new RegExp(`^Good signature by ${rotated} \\(primary key ${release.primary}\\), made at `, 'm'),
  );
});

test('flatcar-install -i - reads the Ignition config from standard input, and can be interrupted meanwhile', async () => {
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
  const args = ['-d', disk.path, '-f', release.imagePath, '-i', '-'];
  const fed = startInstaller(args);
  fed.stdin?.end(ignitionConfig);
  const { exitCode, stderr } = await fed;
  assert.equal(exitCode, 0, stderr);
  assert.equal(await readOemFile(disk, 'config.ign'), ignitionConfig);

  const wrong = startInstaller(args);
  wrong.stdin?.end('variant: flatcar\nversion: 1.0.0\n');
  assert.match((await wrong).stderr, /^Error: cannot use standard input: it is a Butane config/m);

  const waiting = startInstaller(args);
  // It has taken what there was, so it is waiting for more.
  await new Promise((resolve) => waiting.stdin?.write('{'.repeat(1_000_000), resolve));
  waiting.kill('SIGINT');
  assert.deepEqual(
    [(await waiting).exitCode, (await waiting).stderr],
    [1, 'Error: cannot finish this run: interrupted by SIGINT (no disk was changed)\n'],
  );
});

test('flatcar-install works over IPv6', async () => {
  await using mirror = await startMirror('::1');
  publish(mirror, release);
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
  assert.match(mirror.url, /^http:\/\/\[::1\]:\d+$/);
  const ran = await startInstaller(['-d', disk.path, '-b', mirror.url, '-k', release.keyPath]);
  assert.equal(ran.exitCode, 0, ran.stderr);
  await assertInstalled(disk);
});
