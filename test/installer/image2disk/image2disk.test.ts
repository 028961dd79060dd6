/** Disk images of several kinds on loop devices, from a real HTTP server. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { image2disk } from '../../../installer/main.ts';
import { createLoopDevice, type LoopDevice } from '../../sandbox/loop-device.ts';
import { type Mirror, startMirror } from '../../sandbox/mirror.ts';
import { createGpg } from '../../sandbox/signing.ts';

const mebibyte = 1024 * 1024;
const imageBytes = 24 * mebibyte;
const diskBytes = 40 * mebibyte;

let directory: string;
let mirror: Mirror;
/** Images by their names: with an MBR, with a GPT, without a table. */
const images: Record<'mbr' | 'gpt' | 'plain', Buffer> = { mbr: Buffer.of(), gpt: Buffer.of(), plain: Buffer.of() };

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-image2disk-'));
  mirror = await startMirror();
  for (const kind of ['mbr', 'gpt', 'plain'] as const) images[kind] = await makeImage(kind);
});
after(async () => {
  await mirror[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

/** Data that does not compress, with long runs of zeroes between. */
async function makeImage(kind: keyof typeof images): Promise<Buffer> {
  const path = join(directory, kind);
  const bytes = Buffer.alloc(imageBytes);
  for (const start of [0, 3, 9, 20]) randomBytes(mebibyte + 777).copy(bytes, start * mebibyte);
  bytes.fill(0, 0, 34 * 512);
  bytes.fill(0, imageBytes - 34 * 512);
  bytes.writeUInt16BE(0x55aa, 510);
  await writeFile(path, bytes);
  if (kind !== 'plain') {
    const label = kind === 'mbr' ? 'dos' : 'gpt';
    await execa('sfdisk', ['--quiet', path], {
      input: `label: ${label}\nstart=2048, size=8192\nstart=10240, size=32768\n`,
    });
  }
  return await readFile(path);
}

const compressors = {
  gz: ['gzip', '-c'],
  bz2: ['bzip2', '-c'],
  xz: ['xz', '-1', '-c'],
  zst: ['zstd', '-q', '-c'],
} as const;

async function compressed(bytes: Buffer, suffix: keyof typeof compressors): Promise<Buffer> {
  const [program, ...args] = compressors[suffix];
  const { stdout } = await execa(program, args, { input: bytes, encoding: 'buffer', maxBuffer: 2 * imageBytes });
  return Buffer.from(stdout);
}

/** A disk full of what another system left. */
async function dirtyDisk(sizeBytes = diskBytes): Promise<LoopDevice> {
  const path = join(directory, `dirty-${randomBytes(4).toString('hex')}`);
  await writeFile(path, Buffer.alloc(sizeBytes, 0xa5));
  const disk = await createLoopDevice({ sizeBytes, contents: path });
  await rm(path);
  return disk;
}

interface Ran {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** The lines of JSON. */
  readonly lines: readonly Readonly<Record<string, string>>[];
}

async function run(environment: Record<string, string>, args: readonly string[] = []): Promise<Ran> {
  const [out, err]: [string[], string[]] = [[], []];
  const exitCode = await image2disk(args, environment, {
    root: join(directory, 'no-such-root'),
    stdout: { write: (text) => out.push(text) },
    stderr: { write: (text) => err.push(text) },
  });
  const stdout = out.join('');
  const lines = stdout.startsWith('{')
    ? stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line))
    : [];
  return { exitCode, stdout, stderr: err.join(''), lines };
}

async function assertHas(disk: LoopDevice, image: Buffer, leftBytes = diskBytes): Promise<void> {
  await execa('blockdev', ['--flushbufs', disk.path]);
  const found = await readFile(disk.path);
  assert.ok(found.subarray(0, image.length).equals(image), 'the image is on the disk');
  const rest = found.subarray(image.length, leftBytes);
  const isOld = (byte: number) => byte === 0xa5 || byte === 0;
  assert.ok(rest.every(isOld), 'nothing else is written');
}

async function assertBootless(disk: LoopDevice): Promise<void> {
  await execa('blockdev', ['--flushbufs', disk.path]);
  const found = await readFile(disk.path);
  assert.ok(
    found.subarray(0, mebibyte).every((byte) => byte === 0),
    'the first MiB is empty',
  );
}

for (const kind of ['mbr', 'gpt', 'plain'] as const) {
  for (const suffix of kind === 'mbr' ? ([undefined, 'gz', 'bz2', 'xz', 'zst'] as const) : [undefined]) {
    test(`image2disk writes an image (${kind}) ${suffix === undefined ? 'as it is' : `from .${suffix}`}`, async () => {
      const name = `/${kind}.raw${suffix === undefined ? '' : `.${suffix}`}`;
      mirror.put(name, suffix === undefined ? images[kind] : await compressed(images[kind], suffix));
      await using disk = await dirtyDisk();
      const compress = suffix === undefined ? {} : { COMPRESSED: 'true' };
      const ran = await run({ IMG_URL: `${mirror.url}${name}`, DEST_DISK: disk.path, READ_BACK: 'true', ...compress });
      assert.equal(ran.exitCode, 0, ran.stdout);
      await assertHas(disk, images[kind]);
      assert.equal(ran.lines[0]?.['msg'], 'IMAGE2DISK - Cloud image streamer');
      const { level, msg, image, disk: path } = ran.lines.at(-1) ?? {};
      assert.deepEqual(
        { level, msg, image, path },
        {
          level: 'INFO',
          msg: 'Successfully wrote image to disk',
          image: `${mirror.url}${name}`,
          path: disk.path,
        },
      );
      assert.ok(
        ran.lines.every((line) => line['level'] === 'INFO'),
        ran.stdout,
      );
      const progress = ran.lines.findLast((line) => line['msg'] === 'read and write progress');
      assert.match(progress?.['written'] ?? '', /^2[23]\.\d{6}MiB$/);
    });
  }
}

test('the kernel sees the partitions of an MBR afterwards', async () => {
  mirror.put('/mbr.raw', images.mbr);
  await using disk = await dirtyDisk();
  const ran = await run({ IMG_URL: `${mirror.url}/mbr.raw`, DEST_DISK: disk.path });
  assert.equal(ran.exitCode, 0, ran.stdout);
  const { stdout } = await execa('partx', ['--show', '--noheadings', '--output', 'NR,START,SECTORS', disk.path]);
  assert.deepEqual(
    stdout.split('\n').map((line) => line.trim().split(/\s+/).join(' ')),
    ['1 2048 8192', '2 10240 32768'],
  );
});

test('an image smaller than a MiB, and one of an odd length', async () => {
  for (const [name, image] of [
    ['small', images.plain.subarray(0, 300_000)],
    ['odd', images.plain.subarray(0, 4 * mebibyte + 12_345)],
  ] as const) {
    mirror.put(`/${name}.raw`, image);
    await using disk = await dirtyDisk();
    const ran = await run({ IMG_URL: `${mirror.url}/${name}.raw`, DEST_DISK: disk.path });
    assert.equal(ran.exitCode, 0, ran.stdout);
    await assertHas(disk, image);
  }
});

test('the content decides; what contradicts it is logged', async () => {
  const warned = async (name: string, bytes: Buffer, compress: string) => {
    mirror.put(name, bytes);
    await using disk = await dirtyDisk();
    const ran = await run({ IMG_URL: `${mirror.url}${name}`, DEST_DISK: disk.path, COMPRESSED: compress });
    assert.equal(ran.exitCode, 0, ran.stdout);
    await assertHas(disk, images.mbr);
    return ran.lines.filter(({ level }) => level === 'WARN').map(({ msg }) => msg);
  };
  assert.deepEqual(await warned('/as-it-is.gz', images.mbr, 'true'), [
    'COMPRESSED is true, but the image is not compressed: it is written as it is',
  ]);
  assert.deepEqual(await warned('/image.raw', await compressed(images.mbr, 'xz'), 'false'), [
    'COMPRESSED is not true, but the image is compressed with xz: it is decompressed',
  ]);
  assert.deepEqual(await warned('/image.gz', await compressed(images.mbr, 'zst'), 'true'), [
    'the name ends in .gz, but the image is compressed with zstd: it is decompressed as that',
  ]);
});

test('hashes, a file of hashes and a signature are checked', async () => {
  const bytes = await compressed(images.mbr, 'gz');
  const [sha256, sha512] = ['sha256', 'sha512'].map((name) => createHash(name).update(bytes).digest('hex'));
  await using gpg = await createGpg();
  const primary = await gpg.createPrimary('images', { algorithm: 'rsa2048' });
  const subkey = await gpg.addSubkey(primary, { algorithm: 'rsa2048' });
  mirror.put('/checked.raw.gz', bytes);
  mirror.put('/SHA256SUMS', Buffer.from(`${'0'.repeat(64)}  other\n${sha256}  checked.raw.gz\n`));
  mirror.put('/checked.raw.gz.sig', await gpg.sign(bytes, [subkey]));
  await using disk = await dirtyDisk();
  const ran = await run({
    IMG_URL: `${mirror.url}/checked.raw.gz`,
    DEST_DISK: disk.path,
    COMPRESSED: 'true',
    IMG_SHA256: sha256 ?? '',
    IMG_SHA512: sha512 ?? '',
    IMG_CHECKSUM_URL: `${mirror.url}/SHA256SUMS`,
    IMG_SIG_URL: `${mirror.url}/checked.raw.gz.sig`,
    IMG_SIG_KEY: String(await gpg.exportKeys(primary)),
  });
  assert.equal(ran.exitCode, 0, ran.stdout);
  await assertHas(disk, images.mbr);
  const messages = ran.lines.map(({ msg }) => msg ?? '');
  assert.equal(messages.filter((message) => message === `Good hash sha256-${sha256}`).length, 2);
  assert.ok(messages.includes(`Good hash sha512-${sha512}`));
  assert.ok(messages.some((message) => message.startsWith('Good signature by ')));
});

/** What must not be installed, and leaves a disk that cannot boot. */
const faults: Readonly<
  Record<string, { bytes(): Promise<Buffer>; environment?: Record<string, string>; why: RegExp }>
> = {
  'a wrong hash': {
    bytes: () => compressed(images.mbr, 'gz'),
    environment: { IMG_SHA256: '12'.repeat(32) },
    why: /its hash is sha256-[0-9a-f]{64}, not the one that is given .*; the disk was left without a partition table/,
  },
  // The original says that this was successful.
  'a cut file': {
    bytes: async () => {
      const whole = await compressed(images.mbr, 'gz');
      return whole.subarray(0, Math.floor(whole.length * 0.7));
    },
    why: /the disk was left without a partition table and will not boot/,
  },
  'an image without the end of its partitions': {
    bytes: async () => images.gpt.subarray(0, 8 * mebibyte),
    why: /it ends after 8388608 bytes, but its partition table describes 22020096/,
  },
};
for (const [title, { bytes, environment = {}, why }] of Object.entries(faults)) {
  test(`image2disk fails, and the disk cannot boot: ${title}`, async () => {
    mirror.put('/bad.raw', await bytes());
    await using disk = await dirtyDisk();
    const settings = { IMG_URL: `${mirror.url}/bad.raw`, DEST_DISK: disk.path, COMPRESSED: 'true', ...environment };
    const ran = await run(settings);
    assert.equal(ran.exitCode, 1, ran.stdout);
    assert.match(ran.lines.at(-1)?.['err'] ?? '', why);
    assert.equal(ran.lines.at(-1)?.['msg'], 'error writing image to disk');
    await assertBootless(disk);
  });
}

/** What is refused before anything is changed. */
const refusals: Readonly<
  Record<string, { bytes(): Promise<Buffer>; environment?: Record<string, string>; size?: number; why: RegExp }>
> = {
  'an image larger than the disk': {
    bytes: async () => images.gpt,
    size: 8 * mebibyte,
    why: /the image has at least 22020096 bytes and the disk only 8388608 .* \(choose a larger disk with DEST_DISK\)/,
  },
  'a tar archive in gzip': {
    bytes: async () => {
      await execa('tar', ['-cf', join(directory, 'image.tar'), '-C', directory, 'mbr']);
      return await compressed(await readFile(join(directory, 'image.tar')), 'gz');
    },
    why: /it is a tar archive, not a disk image/,
  },
  'an image that is compressed twice': {
    bytes: async () => await compressed(await compressed(images.mbr, 'xz'), 'gz'),
    why: /what is compressed in it is compressed again, with xz/,
  },
  'no image at all': { bytes: async () => Buffer.alloc(0), why: /it is empty/ },
  'a hash that the file of hashes does not have': {
    bytes: async () => images.mbr,
    environment: { IMG_CHECKSUM_URL: 'SUMS' },
    why: /has no SHA-256 or SHA-512 hash of refused\.raw/,
  },
  'a signature without a key': {
    bytes: async () => images.mbr,
    environment: { IMG_SIG_URL: 'SUMS' },
    why: /IMG_SIG_URL is given without a key/,
  },
};
for (const [title, { bytes, environment = {}, size = diskBytes, why }] of Object.entries(refusals)) {
  test(`image2disk refuses, and the disk is as it was: ${title}`, async () => {
    mirror.put('/refused.raw', await bytes());
    mirror.put('/SUMS', Buffer.from(`${'0'.repeat(64)}  other\n`));
    await using disk = await dirtyDisk(size);
    const urls = Object.fromEntries(Object.entries(environment).map(([name]) => [name, `${mirror.url}/SUMS`]));
    const ran = await run({ IMG_URL: `${mirror.url}/refused.raw`, DEST_DISK: disk.path, COMPRESSED: 'true', ...urls });
    assert.equal(ran.exitCode, 1, ran.stdout);
    assert.match(ran.lines.at(-1)?.['err'] ?? '', why);
    assert.ok(
      (await readFile(disk.path)).every((byte) => byte === 0xa5),
      'the disk is as it was',
    );
  });
}

/** Makes a qcow2 image of the image with a GPT. */
async function qcow2(...options: readonly string[]): Promise<Buffer> {
  const path = join(directory, 'image.qcow2');
  await execa('qemu-img', ['convert', '-O', 'qcow2', ...options, join(directory, 'gpt'), path]);
  return await readFile(path);
}

test('the disk in a qcow2 image is written; only its data is read', async () => {
  const bytes = await qcow2();
  mirror.put('/image.qcow2', bytes);
  await using disk = await dirtyDisk();
  const before = mirror.requests.length;
  const ran = await run({ IMG_URL: `${mirror.url}/image.qcow2`, DEST_DISK: disk.path });
  assert.equal(ran.exitCode, 0, ran.stdout);
  await assertHas(disk, images.gpt);
  assert.ok(
    ran.lines.some(({ msg }) => /qcow2; what is read: only what has data$/.test(msg ?? '')),
    ran.stdout,
  );
  assert.ok(mirror.requests.slice(before).some(({ range }) => range !== undefined));
});

for (const [how, options] of [
  ['in the order of the disk', []],
  ['compressed', ['-c']],
] as const) {
  test(`a qcow2 image is verified, ${how}`, async () => {
    const bytes = await qcow2(...options);
    mirror.put('/image.qcow2', bytes);
    const hash = createHash('sha256').update(bytes).digest('hex');
    await using disk = await dirtyDisk();
    const settings = { IMG_URL: `${mirror.url}/image.qcow2`, DEST_DISK: disk.path };
    const wrong = await run({ ...settings, IMG_SHA256: '12'.repeat(32) });
    assert.equal(wrong.exitCode, 1);
    assert.match(wrong.lines.at(-1)?.['err'] ?? '', /its hash is sha256-/);
    assert.ok((await readFile(disk.path)).subarray(0, mebibyte).every((byte) => byte === 0 || byte === 0xa5));
    const ran = await run({ ...settings, IMG_SHA256: hash });
    assert.equal(ran.exitCode, 0, ran.stdout);
    assert.ok(ran.lines.some(({ msg }) => msg === `Good hash sha256-${hash}`));
    assert.ok((await readFile(disk.path)).subarray(0, imageBytes).equals(images.gpt));
  });
}

test('a qcow2 image from a server without ranges, from a file, and one that is too large', async () => {
  const bytes = await qcow2();
  mirror.put('/image.qcow2', bytes);
  mirror.fail('/image.qcow2', { ignoreRange: true });
  await using disk = await dirtyDisk();
  const streamed = await run({ IMG_URL: `${mirror.url}/image.qcow2`, DEST_DISK: disk.path });
  assert.equal(streamed.exitCode, 0, streamed.stdout);
  assert.ok(
    streamed.lines.some(({ msg }) => /what is read: once, in order$/.test(msg ?? '')),
    streamed.stdout,
  );
  await assertHas(disk, images.gpt);

  await using other = await dirtyDisk();
  const local = await run({ IMG_URL: join(directory, 'image.qcow2'), DEST_DISK: other.path, COMPRESSED: 'false' });
  assert.equal(local.exitCode, 0, local.stdout);
  await assertHas(other, images.gpt);
  assert.ok(local.lines.some(({ msg }) => msg?.includes('the image is a qcow2 image: the disk in it is written')));

  await using small = await dirtyDisk(16 * mebibyte);
  const refused = await run({ IMG_URL: `${mirror.url}/image.qcow2`, DEST_DISK: small.path });
  assert.match(refused.lines.at(-1)?.['err'] ?? '', /the image has 25165824 bytes and the disk only 16777216/);
  assert.ok(
    (await readFile(small.path)).every((byte) => byte === 0xa5),
    'the disk is as it was',
  );
});

test('a disk in use is refused', async () => {
  await using disk = await createLoopDevice({ sizeBytes: diskBytes });
  await execa('mkfs.ext4', ['-q', disk.path]);
  const point = await mkdtemp(join(directory, 'mounted-'));
  await execa('mount', [disk.path, point]);
  try {
    const ran = await run({ IMG_URL: `${mirror.url}/mbr.raw`, DEST_DISK: disk.path });
    assert.equal(ran.exitCode, 1);
    assert.match(ran.lines.at(-1)?.['err'] ?? '', /is mounted .*choose another disk with DEST_DISK/);
  } finally {
    await execa('umount', [point]);
  }
});

test('the table of the image must be for the sectors of the disk', async () => {
  mirror.put('/gpt.raw', images.gpt);
  mirror.put('/plain.raw', images.plain);
  await using disk = await createLoopDevice({ sizeBytes: diskBytes, sectorSizeBytes: 4096 });
  const refused = await run({ IMG_URL: `${mirror.url}/gpt.raw`, DEST_DISK: disk.path });
  assert.match(
    refused.lines.at(-1)?.['err'] ?? '',
    /its partition table is for sectors of 512 bytes, and those of the disk have 4096/,
  );
  const written = await run({ IMG_URL: `${mirror.url}/plain.raw`, DEST_DISK: disk.path });
  assert.equal(written.exitCode, 0, written.stdout);
  await assertHas(disk, images.plain);
});

test('an image whose GPT is damaged is written as it is, with a warning', async () => {
  const damaged = Buffer.from(images.gpt);
  damaged.writeUInt8(damaged.readUInt8(512 + 16) ^ 1, 512 + 16); // of the header's checksum
  mirror.put('/damaged.raw', damaged);
  await using disk = await dirtyDisk();
  const ran = await run({ IMG_URL: `${mirror.url}/damaged.raw`, DEST_DISK: disk.path, GROW_GPT: 'true' });
  assert.equal(ran.exitCode, 0, ran.stdout);
  assert.match(ran.stdout, /the partition table of the image: the checksum of its header is wrong/);
  assert.match(ran.stdout, /has no partition table \(GPT\), so GROW_GPT does nothing/);
  await assertHas(disk, damaged);
});

test('GROW_GPT moves the backup of the table to the end of the disk', async () => {
  mirror.put('/gpt.raw', images.gpt);
  await using disk = await dirtyDisk();
  const ran = await run({ IMG_URL: `${mirror.url}/gpt.raw`, DEST_DISK: disk.path, GROW_GPT: 'true' });
  assert.equal(ran.exitCode, 0, ran.stdout);
  const { stdout } = await execa('sgdisk', ['--verify', disk.path]);
  assert.match(stdout, /No problems found/, stdout);
  const written = (await readFile(disk.path)).subarray(mebibyte, 21 * mebibyte);
  assert.ok(written.equals(images.gpt.subarray(mebibyte, 21 * mebibyte)), 'the partitions are those of the image');
  const [before, after] = await Promise.all(
    [join(directory, 'gpt'), disk.path].map(async (path) => (await execa('sgdisk', ['--info=2', path])).stdout),
  );
  assert.equal(after, before);
});

test('GROW_GPT moves the backup also where the image itself goes on up to the end of the disk', async () => {
  mirror.put('/long.raw', Buffer.concat([images.gpt, Buffer.alloc(diskBytes - imageBytes, 0xff)]));
  await using disk = await dirtyDisk();
  const ran = await run({
    ...{ IMG_URL: `${mirror.url}/long.raw`, DEST_DISK: disk.path },
    ...{ GROW_GPT: 'true', READ_BACK: 'true' },
  });
  assert.equal(ran.exitCode, 0, ran.stdout);
  const { stdout } = await execa('sgdisk', ['--verify', disk.path]);
  assert.match(stdout, /No problems found/, stdout);
});

for (const [what, table] of [
  [
    'ends within the backup of such a table',
    `last-lba: ${diskBytes / 512 - 8}\nstart=2048, size=${diskBytes / 512 - 2058}`,
  ],
  ['starts within such a table', 'first-lba: 6\nstart=6, size=4096'],
] as const) {
  test(`GROW_GPT keeps a table of fewer entries than usual if a partition ${what}`, async () => {
    const path = join(directory, 'full');
    await writeFile(path, randomBytes(diskBytes));
    await execa('sfdisk', ['--quiet', '--wipe=never', path], { input: `label: gpt\ntable-length: 8\n${table}\n` });
    const bytes = await readFile(path);
    mirror.put('/full.raw', bytes);
    await using disk = await dirtyDisk();
    const ran = await run({ IMG_URL: `${mirror.url}/full.raw`, DEST_DISK: disk.path, GROW_GPT: 'true' });
    assert.equal(ran.exitCode, 0, ran.stdout);
    assert.match(ran.stdout, /leave no room for the usual table and its backup/);
    await assertHas(disk, bytes);
  });
}

test('the next URL is used where the first has something else', async () => {
  const bytes = await compressed(images.mbr, 'gz');
  await using other = await startMirror();
  mirror.put('/x.gz', bytes.subarray(0, bytes.length >> 1));
  other.put('/x.gz', bytes);
  await using disk = await dirtyDisk();
  const IMG_URL = `${mirror.url}/x.gz ${other.url}/x.gz`;
  const ran = await run({ IMG_URL, DEST_DISK: disk.path, COMPRESSED: 'true' });
  assert.equal(ran.exitCode, 0, ran.stdout);
  await assertHas(disk, images.mbr);
});

test('with RETRY_ENABLED the image is written when it is there', async () => {
  mirror.put('/later.raw', images.mbr);
  mirror.fail('/later.raw', { status: 404 }, { status: 404 });
  await using disk = await dirtyDisk();
  const ran = await run({ IMG_URL: `${mirror.url}/later.raw`, DEST_DISK: disk.path, RETRY_ENABLED: 'true' });
  assert.equal(ran.exitCode, 0, ran.stdout);
  await assertHas(disk, images.mbr);
  const retries = ran.lines.filter(({ msg }) => msg === 'retrying image2disk');
  assert.deepEqual(
    retries.map(({ duration }) => duration),
    ['0.500s', '0.750s'],
  );
});

test('TEXT_LOGGING: lines of text on standard error', async () => {
  mirror.put('/mbr.raw', images.mbr);
  await using disk = await dirtyDisk();
  const ran = await run({ IMG_URL: `${mirror.url}/mbr.raw`, DEST_DISK: disk.path, TEXT_LOGGING: '1' });
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.equal(ran.stdout, '');
  assert.match(ran.stderr, /^\w{3} [ \d]\d [\d:.]{12} INF IMAGE2DISK - Cloud image streamer$/m);
  assert.match(ran.stderr, / INF Successfully wrote image to disk image=\S+ disk=\/dev\/loop\d+\n$/);
});

test('without variables, and with an argument: the message names what is missing', async () => {
  const bare = await run({});
  assert.equal(bare.exitCode, 1);
  assert.match(bare.lines.at(-1)?.['err'] ?? '', /IMG_URL is not set/);
  const stray = await run({ IMG_URL: 'http://a/b', DEST_DISK: '/dev/x' }, ['--disk']);
  assert.match(stray.lines.at(-1)?.['err'] ?? '', /the settings are variables of the environment \(see --help\)/);
  const help = await run({}, ['--help']);
  assert.equal(help.exitCode, 0);
  assert.match(help.stdout, /^ {2}IMG_CHECKSUM_URL {2,}\S/m);
});

test('killed in the middle: the disk cannot boot', async () => {
  mirror.put('/killed.raw', images.mbr);
  const stalled = Promise.withResolvers<void>();
  mirror.fail('/killed.raw', { stallAfterBytes: 14 * mebibyte, afterwards: () => stalled.resolve() });
  await using disk = await dirtyDisk();
  const program = [join(import.meta.dirname, '../../../executable/main.ts'), 'image2disk'];
  const env = { IMG_URL: `${mirror.url}/killed.raw`, DEST_DISK: disk.path };
  const running = execa(process.execPath, program, { env, reject: false });
  await stalled.promise;
  // Something of the middle has been written.
  for (let written = false; !written; ) {
    const found = await execa('dd', [`if=${disk.path}`, 'bs=1M', 'skip=3', 'count=1', 'iflag=direct', 'status=none'], {
      encoding: 'buffer',
    });
    written = Buffer.from(found.stdout).equals(images.mbr.subarray(3 * mebibyte, 4 * mebibyte));
  }
  running.kill('SIGKILL');
  await running;
  await assertBootless(disk);
});
