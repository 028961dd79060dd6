import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { copyFile, mkdtempDisposable, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { main } from '../../installer/main.ts';
import { createLoopDevice, type LoopDevice } from '../sandbox/loop-device.ts';
import { type Mirror, startMirror } from '../sandbox/mirror.ts';
import { makeSignedRelease, type SignedRelease } from '../sandbox/signed-release.ts';
import { readOemFile, runInstaller, startInstaller } from './run.ts';

let release: SignedRelease;
let sha512: string;
let sha256: string;
before(async () => {
  release = await makeSignedRelease();
  [sha512 = '', sha256 = ''] = ['sha512', 'sha256'].map((name) => {
    return createHash(name).update(release.compressed).digest('hex');
  });
});
after(async () => {
  await release[Symbol.asyncDispose]();
});

const flatcarInstall = (...args: string[]) => runInstaller(release.directory, args);
const program = [process.execPath, join(import.meta.dirname, '../../executable/main.ts'), 'flatcar-install'];

/** The image as `/images/own.img?token=a`, with its signature beside it. */
async function startServer(): Promise<{ mirror: Mirror; url: string; [Symbol.asyncDispose](): PromiseLike<void> }> {
  const mirror = await startMirror();
  mirror.put('/images/own.img', release.compressed);
  mirror.put('/images/own.img.sig', release.signature);
  return { mirror, url: `${mirror.url}/images/own.img`, [Symbol.asyncDispose]: () => mirror[Symbol.asyncDispose]() };
}

async function newDisk(): Promise<LoopDevice> {
  return await createLoopDevice({ sizeBytes: release.imageBytes });
}

async function hasImage(disk: LoopDevice): Promise<boolean> {
  const { exitCode } = await execa('cmp', ['--silent', disk.path, release.imagePath], { reject: false });
  return exitCode === 0;
}

async function hasTable(disk: LoopDevice): Promise<boolean> {
  await using device = await open(disk.path);
  return (await device.read(Buffer.alloc(1024), 0, 1024, 0)).buffer.includes('EFI PART');
}

test('flatcar-install --image-url installs any image, verified by the signature beside it', async () => {
  await using server = await startServer();
  await using disk = await newDisk();
  const ran = await flatcarInstall('-d', disk.path, '--image-url', server.url, '-k', release.keyPath, '--json');
  const result = JSON.parse(ran.stdout.trimEnd().split('\n').at(-1) ?? '');
  assert.deepEqual([ran.exitCode, result.event, result.imageUrl], [0, 'success', server.url], ran.stderr);
  assert.equal(result.message, `Success! ${server.url} is installed on ${disk.path}`);
  assert.equal(result.signedBy.signingFingerprint, release.subkey);
  assert.ok(await hasImage(disk));
  assert.deepEqual(
    server.mirror.requests.map(({ path }) => path),
    ['/images/own.img', '/images/own.img.sig'],
    'no version is looked up',
  );
});

test('flatcar-install --image-url refuses an image without a signature, but for --insecure and a hash', async () => {
  await using server = await startServer();
  server.mirror.remove('/images/own.img.sig');
  await using disk = await newDisk();
  const to = ['-d', disk.path, '--image-url', server.url];
  const refused = await flatcarInstall(...to, '-k', release.keyPath);
  assert.equal(refused.exitCode, 1);
  assert.match(refused.stderr, /own\.img\.sig: Image signature unavailable: .*404.*\(put it beside the image, or give/);
  assert.equal(await hasTable(disk), false);
  const insecure = await flatcarInstall(...to, '--insecure');
  assert.equal(insecure.exitCode, 0, insecure.stderr);
  assert.match(insecure.stderr, /own\.img HAS NO SIGNATURE; installing it anyway/);
  for (const hash of [
    ['--sha512', sha512],
    ['--sha256', sha256.toUpperCase()],
  ]) {
    const hashed = await flatcarInstall(...to, ...hash);
    assert.equal(hashed.exitCode, 0, hashed.stderr);
    assert.match(hashed.stderr, /^Good hash sha(512|256)-[0-9a-f]+$/m);
    assert.ok(await hasImage(disk));
  }
});

test('flatcar-install --sha512 of another image leaves the disk without a partition table', async () => {
  await using server = await startServer();
  await using disk = await newDisk();
  const other = createHash('sha512').update('another').digest('hex');
  const sources = [
    ['--image-url', server.url],
    ['-f', `${release.imagePath}.bz2`],
  ];
  for (const source of sources) {
    const ran = await flatcarInstall('-d', disk.path, ...source, '--sha512', other);
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stderr, new RegExp(`its hash is sha512-${sha512}, not the one that is given`));
    assert.match(ran.stderr, /without a partition table/);
    assert.equal(await hasTable(disk), false);
  }
});

test('flatcar-install -D --image-url saves the image under its name, and the query is no part of it', async () => {
  await using server = await startServer();
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-own-'));
  const args = ['-D', '--image-url', `${server.url}?token=secret`, '--sha256', sha256];
  const ran = await runInstaller(directory.path, args);
  const path = join(directory.path, 'own.img');
  assert.deepEqual([ran.exitCode, ran.stdout], [0, `Success! ${path} is downloaded and verified\n`], ran.stderr);
  assert.ok(release.compressed.equals(await readFile(path)));
  const wrong = await runInstaller(directory.path, [...args.slice(0, 3), '--sha512', 'ab'.repeat(64)]);
  assert.equal(wrong.exitCode, 1);
  assert.deepEqual(await readdir(directory.path), ['own.img'], 'nothing else is left');
});

test('flatcar-install -D does not give its name to a file that was put in the place of the download', async () => {
  await using server = await startServer();
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-own-'));
  const lines: string[] = [];
  const write = (text: string) => {
    lines.push(text);
    if (!text.startsWith('Good hash')) return;
    const [partial = ''] = readdirSync(directory.path);
    rmSync(join(directory.path, partial));
    writeFileSync(join(directory.path, partial), 'not verified');
  };
  const exitCode = await main(
    ['-D', '--image-url', server.url, '--sha256', sha256],
    {},
    { root: '/no-such-root', workingDirectory: directory.path, stdout: { write }, stderr: { write } },
  );
  assert.equal(exitCode, 1);
  assert.match(lines.at(-1) ?? '', /cannot save .*own\.img: another file was put in the place of the download/);
  assert.deepEqual(await readdir(directory.path), []);
});

test('flatcar-install -y --image-url uses no network, and shows the URL', async () => {
  await using disk = await newDisk();
  const ran = await flatcarInstall('-y', '-d', disk.path, '--image-url', 'https://127.0.0.1:1/own.img');
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.match(ran.stdout, /^ {4}BASEURL: +\(none\)$/m);
  assert.match(ran.stdout, /^ {4}IMAGE: +https:\/\/127\.0\.0\.1:1\/own\.img$/m);
  assert.match(ran.stderr, /^Not checked: whether the server has the image, its signature,/m);
});

test('flatcar-install --image-url names the option where there is no such image', async () => {
  await using server = await startServer();
  await using disk = await newDisk();
  const ran = await flatcarInstall('-d', disk.path, '--image-url', `${server.mirror.url}/none`);
  assert.match(ran.stderr, /Image URL unavailable: HTTP status 404 .*\(check the URL of --image-url\)/);
});

test('flatcar-install -f verifies an image by the signature beside it, without a server', async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-own-'));
  await using disk = await newDisk();
  const path = join(directory.path, 'own.img');
  await copyFile(`${release.imagePath}.bz2`, path);
  await writeFile(`${path}.sig`, release.signature);
  const to = ['-d', disk.path, '-f', path, '--offline'];
  const good = await flatcarInstall(...to, '-k', release.keyPath);
  assert.equal(good.exitCode, 0, good.stderr);
  assert.match(good.stderr, /^Good signature by/m);
  assert.doesNotMatch(good.stderr, /without verification/);

  for (const how of [[], ['-y']]) {
    const unknown = await flatcarInstall(...to, ...how);
    assert.equal(unknown.exitCode, 1);
    assert.match(
      unknown.stderr,
      /cannot trust the signature \S+own\.img\.sig: it is signed by key .*\(give the right key/,
    );
  }
  const checked = await flatcarInstall('-y', '-d', disk.path, '-f', path);
  assert.deepEqual([checked.exitCode, checked.stderr.match(/whether a server knows the key of \S+/)?.length], [0, 1]);

  await writeFile(path, Buffer.concat([release.compressed, Buffer.of(0)]));
  const bad = await flatcarInstall(...to, '-k', release.keyPath, '--insecure');
  assert.equal(bad.exitCode, 1);
  assert.match(bad.stderr, /cannot verify \S+own\.img\.sig: it is not a valid signature of this data/);
  assert.equal(await hasTable(disk), false);

  await rm(`${path}.sig`);
  await copyFile(`${release.imagePath}.bz2`, path);
  const unsigned = await flatcarInstall(...to);
  assert.equal(unsigned.exitCode, 0, unsigned.stderr);
  assert.match(
    unsigned.stderr,
    /^Warning: installing \S+own\.img without verification: it has no signature beside it/m,
  );
});

test('flatcar-install refuses a date for an image without a signature before it writes', async () => {
  await using disk = await newDisk();
  const path = `${release.imagePath}.bz2`;
  for (const how of [[], ['--sha512', sha512], ['-y']]) {
    const ran = await flatcarInstall('-d', disk.path, '-f', path, '--not-older-than', '2025-01-01', ...how);
    assert.match(ran.stderr, /^Error: cannot install \S+: without a signature its age is not known/m);
    assert.doesNotMatch(ran.stderr, /partition table/);
  }
});

for (const [name, command] of [
  ['standard input, a pipe', 'cat "$IMAGE" | "$@" -f -'],
  ['standard input, a file', '"$@" -f - <"$IMAGE"'],
  ['/dev/stdin', 'cat "$IMAGE" | "$@" -f /dev/stdin'],
  ['a process substitution', '"$@" -f <(cat "$IMAGE")'],
  ['a process substitution that has ended', '"$@" -f <(head -c 20000 "$IMAGE"; tail -c +20001 "$IMAGE")'],
  ['a pipe with a name', 'mkfifo "$FIFO"; cat "$IMAGE" >"$FIFO" & "$@" -f "$FIFO"'],
] as const) {
  test(`flatcar-install -f reads an image from ${name}, once`, async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-own-'));
    await using disk = await newDisk();
    const env = { IMAGE: `${release.imagePath}.bz2`, FIFO: join(directory.path, 'fifo') };
    const args = ['-c', command, 'bash', ...program, '-d', disk.path, '--sha512', sha512, '--json'];
    const ran = await execa('bash', args, { env, reject: false });
    const result = JSON.parse(ran.stdout.trimEnd().split('\n').at(-1) ?? '');
    assert.deepEqual([ran.exitCode, result.hash], [0, `sha512-${sha512}`], ran.stderr);
    assert.ok(await hasImage(disk));
  });
}

test('flatcar-install -f says so when a pipe is empty, cut, or no image, and leaves no table', async () => {
  await using disk = await newDisk();
  for (const [input, why] of [
    [Buffer.alloc(0), /cannot read the image standard input: it is empty/],
    [release.compressed.subarray(0, 100_000), /the file ends unexpectedly .*the disk was left without/],
  ] as const) {
    const args = [...program.slice(1), '-d', disk.path, '-f', '-'];
    const ran = await execa(process.execPath, args, { input, reject: false });
    assert.equal(ran.exitCode, 1);
    assert.match(ran.stderr, why);
    assert.equal(await hasTable(disk), false);
  }
});

test('flatcar-install -y -f - checks what can be checked of a pipe', async () => {
  await using disk = await newDisk();
  const args = [...program.slice(1), '-y', '-d', disk.path, '-f', '-'];
  const ran = await execa(process.execPath, args, { input: release.compressed, reject: false });
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.match(ran.stdout, /^ {4}IMAGE: +-$/m);
  assert.equal(await hasTable(disk), false);
});

test('flatcar-install can be interrupted while it waits for the writer of a pipe', async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-own-'));
  await using disk = await newDisk();
  const fifo = join(directory.path, 'fifo');
  await execa('mkfifo', [fifo]);
  const running = startInstaller(['-d', disk.path, '-f', fifo]);
  // The last message before it opens the pipe.
  const waits = Promise.withResolvers<void>();
  let text = '';
  running.stderr.on('data', (chunk) => {
    text += String(chunk);
    if (text.includes('without verification')) waits.resolve();
  });
  await Promise.race([waits.promise, running]);
  running.kill('SIGTERM');
  const ended = await running;
  assert.equal(ended.exitCode, 1);
  assert.match(ended.stderr, /interrupted by SIGTERM/);
});

test('flatcar-install --platform and --delete-karg change what the boot loader reads', async () => {
  await using disk = await newDisk();
  const args = ['--platform', 'vmware', '--delete-karg', 'quiet', '--append-karg', 'debug'];
  const ran = await flatcarInstall('-d', disk.path, '-f', release.imagePath, ...args);
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.match(ran.stderr, /^Warning: --delete-karg quiet: the image does not have it$/m);
  const grub = await readOemFile(disk, 'grub.cfg');
  assert.match(grub, /^set oem_id=""\n#.*\nset oem_id="vmware"\nset linux_append="\$linux_append debug"\n/);
  const odd = await flatcarInstall('-y', '-d', disk.path, '-f', release.imagePath, '--platform', 'toaster');
  assert.match(odd.stderr, /^Warning: no known Ignition has code for the platform toaster: the first boot may fail$/m);
});
