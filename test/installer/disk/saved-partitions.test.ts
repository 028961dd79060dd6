import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { appendFile, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { type Partition, type PartitionTable, parseTable } from '../../../installer/disk/gpt.ts';
import { SavedPartitions } from '../../../installer/disk/saved-partitions.ts';
import { makeFlatcarImage, partitionOffsetBytes } from '../../sandbox/flatcar-layout.ts';
import { createLoopDevice, type LoopDevice } from '../../sandbox/loop-device.ts';
import { runInstaller } from '../run.ts';

const mebibyte = 1024 * 1024;
const sectorsOf = (bytes: number) => bytes / 512;

let directory: string;
let image: string;
let imageBytes: number;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-saved-'));
  image = join(directory, 'image');
  imageBytes = await makeFlatcarImage({ path: image });
});
after(() => rm(directory, { recursive: true }));

interface UsedDisk extends AsyncDisposable {
  readonly loop: LoopDevice;
  /** What is in the two partitions to be kept. */
  hash(): Promise<string>;
  /**
   * Number, first sector, last sector, unique GUID and label of every partition, as sgdisk sees
   * them; both tables are sound.
   */
  table(): Promise<string[]>;
}

/**
 * Behind where the image will be: `data`, numbered as one of the image's, and `var-log`, up to the
 * very end that a table allows.
 */
async function makeUsedDisk(): Promise<UsedDisk> {
  const loop = await createLoopDevice({ sizeBytes: imageBytes + 32 * mebibyte });
  const dataBytes = 8 * mebibyte;
  const first = sectorsOf(imageBytes);
  const second = first + sectorsOf(dataBytes);
  const last = sectorsOf(loop.sizeBytes) - 34;
  await execa('sgdisk', [
    ...['--new', '1:2048:+4M', '--change-name', '1:system'],
    ...['--new', `9:${first}:${second - 1}`, '--change-name', '9:data', '--attributes', '9:set:60'],
    ...['--set-alignment', '1', '--new', `12:${second}:${last}`, '--change-name', '12:var-log', loop.path],
  ]);
  await using device = await open(loop.path, 'r+');
  const bytes = randomBytes((last + 1 - first) * 512);
  await device.write(bytes, 0, bytes.length, first * 512);
  await device.sync();
  return {
    loop,
    async hash() {
      await using device = await open(loop.path);
      const { buffer } = await device.read(Buffer.alloc(bytes.length), 0, bytes.length, first * 512);
      return createHash('sha256').update(buffer).digest('hex');
    },
    async table() {
      const { stdout } = await execa('sgdisk', ['--verify', loop.path]);
      assert.match(stdout, /No problems found/);
      await using device = await open(loop.path);
      const { buffer } = await device.read(Buffer.alloc(mebibyte), 0, mebibyte, 0);
      const partitions = parseTable(buffer, loop.path)?.partitions ?? [];
      return partitions.map((partition) =>
        [partition.number, partition.firstLba, partition.lastLba, partition.uniqueGuid, partition.label].join(' '),
      );
    },
    [Symbol.asyncDispose]: () => loop[Symbol.asyncDispose](),
  };
}

const saving = ['--save-partlabel', 'data,var-*'];

test('flatcar-install --save-partlabel keeps partitions beside those of the image', async () => {
  await using disk = await makeUsedDisk();
  const { loop } = disk;
  const [before, hash] = [await disk.table(), await disk.hash()];
  const ran = await runInstaller(directory, ['-d', loop.path, '-f', image, ...saving, '--read-back']);
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.match(ran.stderr, /^Saving partition 9 \(data\), partition 12 \(var-log\)$/m);
  assert.equal(await disk.hash(), hash);
  await using file = await open(image);
  const { buffer } = await file.read(Buffer.alloc(mebibyte), 0, mebibyte, 0);
  const ofImage = parseTable(buffer, image) ?? assert.fail();
  const [, data = '', log = ''] = before;
  assert.deepEqual(await disk.table(), [
    ...ofImage.partitions.map((part) =>
      [part.number, part.firstLba, part.lastLba, part.uniqueGuid, part.label].join(' '),
    ),
    log,
    data.replace(/^9 /, '13 '),
  ]);
  // All but the table is the image's: its boot code, and every byte after the first MiB.
  await execa('cmp', ['--bytes', '446', loop.path, image]);
  const rest = String(imageBytes - mebibyte);
  await execa('cmp', ['--ignore-initial', String(mebibyte), '--bytes', rest, loop.path, image]);
  const { stdout } = await execa('sgdisk', ['--print', loop.path]);
  assert.match(stdout, new RegExp(`GUID\\): ${ofImage.diskGuid}`, 'i'));
  assert.match((await execa('sgdisk', ['--info', '13', loop.path])).stdout, /Attribute flags: 1000000000000000/);
});

test('flatcar-install saves partitions by the backup of a table that a power cut has left torn', async () => {
  await using disk = await makeUsedDisk();
  const [, ...kept] = await disk.table();
  const hash = await disk.hash();
  await execa('dd', [
    'if=/dev/urandom',
    `of=${disk.loop.path}`,
    'bs=512',
    'seek=2',
    'count=1',
    'conv=notrunc',
    'status=none',
  ]);
  const cut = join(directory, 'short');
  await execa('dd', [`if=${image}`, `of=${cut}`, 'bs=1M', 'count=60', 'status=none']);
  const ran = await runInstaller(directory, ['-d', disk.loop.path, '-f', cut, ...saving]);
  assert.match(ran.stderr, /the checksum of its entries is wrong: its backup at the end of the disk is used$/m);
  assert.deepEqual(await disk.table(), kept);
  assert.equal(await disk.hash(), hash);
});

test('flatcar-install leaves a disk with the saved partitions alone when the image is damaged', async () => {
  await using disk = await makeUsedDisk();
  const [, ...kept] = await disk.table();
  const hash = await disk.hash();
  const cut = join(directory, 'cut');
  await execa('dd', [`if=${image}`, `of=${cut}`, 'bs=1M', 'count=60', 'status=none']);
  const ran = await runInstaller(directory, ['-d', disk.loop.path, '-f', cut, ...saving]);
  assert.equal(ran.exitCode, 1);
  assert.match(ran.stderr, /; the disk was left with only the saved partitions and will not boot/);
  assert.deepEqual(await disk.table(), kept);
  assert.equal(await disk.hash(), hash);
});

test('flatcar-install leaves saved partitions alone when more follows than the table of the image describes', async () => {
  await using disk = await makeUsedDisk();
  const [, ...kept] = await disk.table();
  const hash = await disk.hash();
  const long = join(directory, 'long');
  await execa('cp', ['--sparse=always', image, long]);
  await appendFile(long, Buffer.alloc(mebibyte, 0xff));
  const ran = await runInstaller(directory, ['-d', disk.loop.path, '-f', long, ...saving]);
  assert.equal(ran.exitCode, 1, ran.stderr);
  assert.match(ran.stderr, /cannot save partition 9 \(data\) of .*: it starts at byte \d+, but the image goes on/);
  assert.match(ran.stderr, /; the disk was left with only the saved partitions and will not boot/);
  assert.deepEqual(await disk.table(), kept);
  assert.equal(await disk.hash(), hash);
});

test('flatcar-install leaves a disk with the saved partitions alone when the configuration has no place on it', async () => {
  await using disk = await makeUsedDisk();
  const [, ...kept] = await disk.table();
  const hash = await disk.hash();
  const [config, broken] = [join(directory, 'cloud.yaml'), join(directory, 'broken')];
  await writeFile(config, '#cloud-config\n');
  await execa('cp', ['--sparse=always', image, broken]);
  await using file = await open(broken, 'r+');
  await file.write(Buffer.alloc(mebibyte), 0, mebibyte, partitionOffsetBytes('ROOT'));
  // Into one that is not compressed the installer looks before it writes.
  await execa('gzip', ['--fast', broken]);
  const args = ['-d', disk.loop.path, '-f', `${broken}.gz`, '-c', config, ...saving];
  const ran = await runInstaller(directory, args);
  assert.equal(ran.exitCode, 1);
  assert.match(
    ran.stderr,
    /\(ROOT\) of the image: its file system is neither btrfs nor ext4; the disk was left with only the saved partitions and will not boot/,
  );
  assert.deepEqual(await disk.table(), kept);
  assert.equal(await disk.hash(), hash);
});

for (const [name, sgdisk, why] of [
  [
    'the image would overwrite it',
    ['--new', '1:2048:+4M', '--change-name', '1:data'],
    /it starts at byte 1048576, but the image occupies the first \d+ bytes \(move it, rename it, or leave it out/,
  ],
  [
    'it begins within the image',
    ['--new', '1:-40M:-1M', '--change-name', '1:data'],
    /it starts at byte \d+, but the image occupies the first/,
  ],
  [
    'the image has one of this name',
    ['--new', '1:-8M:-1M', '--change-name', '1:OEM'],
    /the image has a partition with the same name or GUID/,
  ],
] as const) {
  test(`flatcar-install changes nothing when a partition cannot be saved because ${name}`, async () => {
    await using loop = await createLoopDevice({ sizeBytes: imageBytes + 32 * mebibyte });
    await execa('sgdisk', [...sgdisk, loop.path]);
    const { stdout: before } = await execa('sha256sum', [loop.backingPath]);
    for (const dryRun of [['-y'], []]) {
      const args = [...dryRun, '-d', loop.path, '-f', image, '--save-partlabel', 'data,OEM'];
      const ran = await runInstaller(directory, args);
      assert.equal(ran.exitCode, 1);
      assert.match(ran.stderr, /^Error: cannot save partition 1 \((data|OEM)\) of \/dev\/loop\d+: /m);
      assert.match(ran.stderr, why);
    }
    assert.equal((await execa('sha256sum', [loop.backingPath])).stdout, before);
  });
}

test('flatcar-install changes nothing when the new table would lie in a partition of the image', async () => {
  await using disk = await makeUsedDisk();
  const small = join(directory, 'small-table');
  const script = 'label: gpt\ntable-length: 8\nfirst-lba: 6\nstart=6, size=4096\n';
  await execa('truncate', ['--size=20M', small]);
  await execa('sfdisk', ['--quiet', small], { input: script });
  const { stdout: before } = await execa('sha256sum', [disk.loop.backingPath]);
  const ran = await runInstaller(directory, ['-d', disk.loop.path, '-f', small, ...saving]);
  assert.equal(ran.exitCode, 1);
  assert.match(
    ran.stderr,
    /^Error: cannot install the image: its partitions leave no room for the table of 128 entries/m,
  );
  assert.equal((await execa('sha256sum', [disk.loop.backingPath])).stdout, before);
});

test('flatcar-install says when there is nothing to save, and installs', async () => {
  await using loop = await createLoopDevice({ sizeBytes: imageBytes });
  await execa('sgdisk', ['--new', '1:2048:+4M', '--change-name', '1:system', loop.path]);
  const ran = await runInstaller(directory, ['-d', loop.path, '-f', image, ...saving]);
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.deepEqual(ran.stderr.match(/^Warning: \S+ has no partition .+$/gm), [
    `Warning: ${loop.path} has no partition labelled data to save`,
    `Warning: ${loop.path} has no partition labelled var-* to save`,
  ]);
  await execa('cmp', ['--bytes', String(imageBytes), loop.path, image]);
});

const ofDisk = { path: '/dev/sda', sizeBytes: 10_000_000_000, sectorSizeBytes: 512 };

function tableWith(...labels: string[]): PartitionTable {
  const partitions = labels.map((label, index): Partition => {
    const firstLba = 2048 * (index + 1);
    const guid = `00000000-0000-0000-0000-0000000001${String(index).padStart(2, '0')}`;
    const place = { firstLba, lastLba: firstLba + 2047, offsetBytes: firstLba * 512, sizeBytes: mebibyte };
    return { number: index + 1, typeGuid: guid, uniqueGuid: guid, label, attributes: 0n, ...place };
  });
  return { sectorSizeBytes: 512, diskGuid: '00000000-0000-0000-0000-000000000002', alternateLba: 99_999, partitions };
}

for (const [patterns, saved] of [
  [['*'], ['data', '.hidden', 'a/b', 'a.b', 'Data', '']],
  [['data'], ['data']],
  [['a?b'], ['a/b', 'a.b']],
  [['a.b'], ['a.b']],
  [
    ['*b', 'd*'],
    ['data', 'a/b', 'a.b'],
  ],
  [['+', '[ab]*'], []],
] as const) {
  test(`SavedPartitions keeps of six partitions ${JSON.stringify(saved)} for ${patterns.join()}`, () => {
    const found = new SavedPartitions(
      ...([tableWith('data', '.hidden', 'a/b', 'a.b', 'Data', ''), { labels: patterns, numbers: [] }, ofDisk] as const),
    );
    assert.deepEqual(
      found.partitions.map(({ label }) => label),
      saved,
    );
    assert.deepEqual(found.unmatched, saved.length === 0 ? patterns : []);
  });
}

for (const [what, change, why] of [
  ['whose number a new table does not have', { number: 129 }, /its number is greater than 128/],
  [
    'that reaches into the backup of the table',
    { offsetBytes: ofDisk.sizeBytes - mebibyte, sizeBytes: mebibyte },
    /it overlaps the backup of the partition table at the end of the disk/,
  ],
] as const) {
  test(`SavedPartitions refuses a partition ${what}, unless it is another one`, () => {
    const table = tableWith('data', 'other');
    const changed = {
      ...table,
      partitions: table.partitions.map((one, index) => (index > 0 ? one : { ...one, ...change })),
    };
    const save = (label: string) => new SavedPartitions(changed, { labels: [label], numbers: [] }, ofDisk);
    assert.throws(() => save('data'), why);
    assert.deepEqual(
      save('other').partitions.map(({ label }) => label),
      ['other'],
    );
  });
}

/** A table with partitions of these numbers. */
function tableOf(...numbers: number[]): PartitionTable {
  const table = tableWith(...numbers.map((number) => `p${number}`));
  return { ...table, partitions: table.partitions.map((one, index) => ({ ...one, number: numbers[index] ?? 0 })) };
}

for (const [saved, image, expected] of [
  [[6, 8, 10], [1, 2, 3, 4, 6, 7, 9], { 6: 11 }],
  [[8, 10], [1, 2, 3, 4, 6, 7, 9], {}],
  [[1, 2], [1, 2, 3, 4, 6, 7, 9], { 1: 10, 2: 11 }],
  [[9, 12, 40], [1, 9], { 9: 41 }],
] as const) {
  test(`beside ${image.join()} the saved partitions ${saved.join()} move ${JSON.stringify(expected)}`, () => {
    const all = { labels: [], numbers: [{ first: 1, last: Number.POSITIVE_INFINITY }] };
    const kept = new SavedPartitions(tableOf(...saved), all, ofDisk);
    const moves = kept
      .renumberingsFor(tableOf(...image))
      .map(({ partition, newNumber }) => [partition.number, newNumber]);
    assert.deepEqual(Object.fromEntries(moves), expected);
    const numbers = kept.addTo(tableOf(...image)).partitions.map(({ number }) => number);
    assert.equal(new Set(numbers).size, saved.length + image.length, 'no number twice');
    const moved: Readonly<Record<number, number>> = expected;
    assert.deepEqual(
      numbers.slice(image.length),
      saved.map((number) => moved[number] ?? number),
    );
  });
}

test('SavedPartitions keeps partitions by number, and says which ranges have none', () => {
  const numbers = [
    { first: 2, last: 2 },
    { first: 5, last: 7 },
    { first: 20, last: Number.POSITIVE_INFINITY },
  ];
  const found = new SavedPartitions(tableOf(1, 2, 5, 6, 9), { labels: ['p9', 'none'], numbers }, ofDisk);
  assert.deepEqual(
    found.partitions.map(({ number }) => number),
    [2, 5, 6, 9],
  );
  assert.deepEqual(found.unmatched, ['none', numbers[2]]);
});

test('a partition that would have to move beyond the last number is refused', () => {
  const all = { labels: ['*'], numbers: [] };
  const kept = new SavedPartitions(tableOf(1, 128), all, { ...ofDisk, sizeBytes: 10_000_000_000 });
  const far = { ...tableOf(1), alternateLba: 100 };
  const image = { ...far, partitions: far.partitions.map((one) => ({ ...one, label: 'USR-A', uniqueGuid: 'x' })) };
  assert.throws(() => kept.requireRoomBeside(image), /the image has its number, and there is none left up to 128/);
});

test('a partition that begins in the first MiB is refused, wherever the table of the image says that the image ends', () => {
  const all = { labels: ['*'], numbers: [] };
  const tableAt = (label: string, offsetBytes: number): PartitionTable => {
    const [firstLba, lastLba] = [sectorsOf(offsetBytes), sectorsOf(offsetBytes) + 7];
    const place = { firstLba, lastLba, offsetBytes, sizeBytes: 4096, label, uniqueGuid: label };
    return { ...tableOf(1), partitions: tableOf(1).partitions.map((one) => ({ ...one, ...place })) };
  };
  const image = { ...tableAt('ROOT', 64 * 512), alternateLba: 255 };
  const saving = (offsetBytes: number) => new SavedPartitions(tableAt('data', offsetBytes), all, ofDisk);
  assert.throws(
    () => saving(mebibyte - 4096).requireRoomBeside(image),
    /it starts at byte 1044480, but the image occupies the first 1048576 bytes/,
  );
  saving(mebibyte).requireRoomBeside(image);
});

test('flatcar-install says which saved partition gets another number, before it writes', async () => {
  await using disk = await makeUsedDisk();
  const ran = await runInstaller(directory, ['-d', disk.loop.path, '-f', image, '--save-partindex', '9-12,77']);
  assert.equal(ran.exitCode, 0, ran.stderr);
  assert.deepEqual(ran.stderr.match(/^Warning: .*(?:becomes|numbered).*$/gm), [
    `Warning: ${disk.loop.path} has no partition numbered 77 to save`,
    'Warning: partition 9 (data) becomes partition 13: the image has a partition 9',
  ]);
  assert.deepEqual(
    (await disk.table()).slice(-2).map((line) => line.split(' ')[0]),
    ['12', '13'],
  );
});
