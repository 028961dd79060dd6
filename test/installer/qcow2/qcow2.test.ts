import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Extent } from '../../../installer/extent.ts';
import { createDownloadClient } from '../../../installer/fetch/client.ts';
import { FileChangedError } from '../../../installer/fetch/errors.ts';
import { openFileAccess } from '../../../installer/fetch/file-access.ts';
import type { RangedImage, StreamedImage } from '../../../installer/fetch/random-access.ts';
import { openRanges } from '../../../installer/fetch/ranges.ts';
import { openVerified, type Passes, type WholeFileCheck } from '../../../installer/qcow2/open-verified.ts';
import { openQcow2 } from '../../../installer/qcow2/qcow2.ts';
import { type Mirror, startMirror } from '../../sandbox/mirror.ts';
import { collect } from '../decompress/bzip2/decode.ts';
import { decodedByQemu, makeImage, mixedBytes, recipes, writeRawImages } from './corpus.ts';

const mebibyte = 1024 * 1024;
const never = new AbortController().signal;
let directory: string;
let mirror: Mirror;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-qcow2-'));
  await writeRawImages(directory);
  mirror = await startMirror();
});
after(async () => {
  await mirror[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

/** A hash of the whole file, with what it is to be. */
function sha256Check(expected: string): WholeFileCheck<string> {
  const hash = createHash('sha256');
  let hasEnded = false;
  return {
    async *watch(source) {
      for await (const chunk of source) {
        hash.update(chunk);
        yield chunk;
      }
      hasEnded = true;
    },
    async verified() {
      assert.ok(hasEnded, 'it was read to its end');
      // A second call throws.
      assert.equal(hash.digest('hex'), expected);
      return 'verified';
    },
  };
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** Opens `/image` on the mirror, and gives it to `use`. */
async function withOpened<T>(use: (opened: RangedImage | StreamedImage) => Promise<T>): Promise<T> {
  using client = createDownloadClient();
  using access = await openRanges(client, [new URL(`${mirror.url}/image`)], never);
  return await use(access);
}

async function decoded(
  access: RangedImage | StreamedImage,
  check?: WholeFileCheck<string>,
): Promise<{ bytes: Buffer; passes: Passes }> {
  const disk = await openVerified(access, check, never);
  const bytes = await collect(disk.extents());
  assert.equal(await disk.verified(), check === undefined ? undefined : 'verified');
  assert.equal(disk.sizeBytes, bytes.length);
  return { bytes, passes: disk.passes };
}

describe('openQcow2() decodes as qemu-img does, from a file, by ranges, in order and twice', () => {
  test('more than 60 images', () => assert.ok(recipes.length > 60));

  for (const [number, recipe] of recipes.entries()) {
    test(recipe.name, async () => {
      const name = `${number}.qcow2`;
      const path = await makeImage(directory, recipe, name);
      const file = await readFile(path);
      const expected = await decodedByQemu(directory, name);

      using access = await openFileAccess(path);
      const fromFile = await decoded(access);
      assert.ok(fromFile.bytes.equals(expected), 'from a file');

      mirror.put('/image', file);
      const byRanges = await withOpened((opened) => decoded(opened));
      assert.ok(byRanges.bytes.equals(expected), 'by ranges');
      assert.equal(byRanges.passes, 'only what has data');

      const checked = await withOpened((opened) => decoded(opened, sha256Check(sha256(file))));
      assert.ok(checked.bytes.equals(expected), 'by ranges, with a checksum');
      assert.equal(checked.passes, 'once, in order', 'all of it fits into the window');

      mirror.put('/image', file, { ranges: false });
      const stream = await withOpened((opened) => decoded(opened, sha256Check(sha256(file))));
      assert.ok(stream.bytes.equals(expected), 'as a stream');
    });
  }
});

/** An image whose beginning of the disk is at the end of the file, beyond what a stream keeps. */
async function makeBackwardsImage(): Promise<{ file: Buffer; expected: Buffer }> {
  const name = 'backwards.qcow2';
  const writes = [45, 30, 15, 0].map((start) => `write -P ${start + 1} ${start}M 15M`).join('; ');
  await makeImage(directory, { commands: ['qemu-img create -q -f qcow2 IMAGE 60M', `qemu-io IMAGE ${writes}`] }, name);
  return { file: await readFile(join(directory, name)), expected: await decodedByQemu(directory, name) };
}

describe('an image that is not in the order of the disk', () => {
  let image: { file: Buffer; expected: Buffer };
  before(async () => {
    image = await makeBackwardsImage();
  });

  test('is read by ranges', async () => {
    mirror.put('/image', image.file);
    const { bytes } = await withOpened((opened) => decoded(opened));
    assert.ok(bytes.equals(image.expected));
  });

  test('is read twice with a checksum, which is verified before any data comes', async () => {
    mirror.put('/image', image.file);
    const { bytes, passes } = await withOpened((opened) => decoded(opened, sha256Check(sha256(image.file))));
    assert.equal(passes, 'twice');
    assert.ok(bytes.equals(image.expected));
    await assert.rejects(
      withOpened((opened) => openVerified(opened, sha256Check('another'), never)),
      assert.AssertionError,
    );
  });

  test('is refused when what is read the second time is not what was verified', async () => {
    // Without tag and date the server does not show that the file is another one.
    const unmarked = { etag: undefined, lastModified: undefined };
    mirror.put('/image', image.file, unmarked);
    const forged = Buffer.from(image.file);
    forged[40 * mebibyte] = (forged[40 * mebibyte] ?? 0) ^ 1;
    await withOpened(async (opened) => {
      const disk = await openVerified(opened, sha256Check(sha256(image.file)), never);
      mirror.put('/image', forged, unmarked);
      await assert.rejects(collect(disk.extents()), FileChangedError);
    });
  });

  test('is refused from a server without ranges, with what to do', async () => {
    mirror.put('/image', image.file, { ranges: false });
    await assert.rejects(
      withOpened((opened) => decoded(opened)),
      {
        name: 'DecompressError',
        message:
          /^cannot decode the image: its data is not in the order of the disk, and the server does not send parts of a file \(serve it from a server with range requests, or write it in order with qemu-img convert -O qcow2 IMAGE NEW-IMAGE\): byte \d+ is needed after byte \d+$/,
      },
    );
  });

  test('ends what it has begun when its reader stops, and when the signal is aborted', async () => {
    mirror.put('/image', image.file);
    await withOpened(async (opened) => {
      const disk = await openVerified(opened, undefined, never);
      for await (const extent of disk.extents()) {
        if (extent.kind === 'data') extent.release();
        break;
      }
    });
    const abort = new AbortController();
    await withOpened(async (opened) => {
      const disk = await openQcow2(opened, abort.signal);
      const read = async () => {
        for await (const extent of disk.extents() as AsyncIterable<Extent>) {
          if (extent.kind === 'data') extent.release();
          abort.abort(new Error('enough'));
        }
      };
      await assert.rejects(read(), /^Error: enough$/);
    });
  });

  test('is in order when qemu-img has converted it, also compressed', async () => {
    for (const options of ['', '-c ', '-c -o compression_type=zstd ']) {
      await makeImage(
        directory,
        { commands: [`qemu-img convert -O qcow2 ${options}backwards.qcow2 IMAGE`] },
        'forwards.qcow2',
      );
      const file = await readFile(join(directory, 'forwards.qcow2'));
      mirror.put('/image', file, { ranges: false });
      const { bytes } = await withOpened((opened) => decoded(opened, sha256Check(sha256(file))));
      assert.ok(bytes.equals(image.expected), options);
    }
  });
});

test('openQcow2() reads only what has data, and what is together at once', async () => {
  const name = 'sparse.qcow2';
  const writes = 'write -P 1 0 20M; write -P 2 100G 64k; write -P 3 1023G 3M; discard 4M 12M';
  await makeImage(directory, { commands: ['qemu-img create -q -f qcow2 IMAGE 1T', `qemu-io IMAGE ${writes}`] }, name);
  const file = await readFile(join(directory, name));
  mirror.put('/image', file);
  const requestsBefore = mirror.requests.length;
  let [dataBytes, zeroBytes] = [0, 0];
  await withOpened(async (opened) => {
    const disk = await openVerified(opened, undefined, never);
    assert.equal(disk.sizeBytes, 2 ** 40);
    for await (const extent of disk.extents()) {
      if (extent.kind === 'zero') zeroBytes += extent.lengthBytes;
      else {
        dataBytes += extent.bytes.length;
        extent.release();
      }
    }
  });
  assert.equal(dataBytes, 11 * mebibyte + 64 * 1024);
  assert.equal(dataBytes + zeroBytes, 2 ** 40);
  const ranges = mirror.requests.slice(requestsBefore).map(({ range }) => {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? [];
    return Number(last) - Number(first) + 1;
  });
  const readBytes = ranges.reduce((sum, length) => sum + length, 0);
  assert.ok(readBytes <= dataBytes + 2 * mebibyte, `${readBytes} bytes read for ${dataBytes} of data`);
  assert.ok(ranges.length <= 10, `${ranges.length} requests`);
});

test('openQcow2() holds a few MiB of an image at once', async () => {
  const name = 'large.qcow2';
  const raw = join(directory, 'large.raw');
  await writeFile(raw, mixedBytes(48 * mebibyte, 1));
  await makeImage(directory, { commands: ['qemu-img convert -f raw -O qcow2 -S 0 large.raw IMAGE'] }, name);
  using access = await openFileAccess(join(directory, name));
  let [requested, delivered, most] = [0, 0, 0];
  const counted = {
    origin: access.origin,
    sizeBytes: access.sizeBytes,
    isSequential: false,
    read(offsetBytes: number, lengthBytes: number, signal: AbortSignal) {
      requested += lengthBytes;
      most = Math.max(most, requested - delivered);
      return access.read(offsetBytes, lengthBytes, signal);
    },
    finish: (signal: AbortSignal) => access.finish(signal),
    [Symbol.dispose]() {},
  };
  const disk = await openQcow2(counted, never);
  for await (const extent of disk.extents()) {
    delivered += extent.kind === 'zero' ? extent.lengthBytes : extent.bytes.length;
    if (extent.kind === 'data') extent.release();
  }
  assert.equal(delivered, 48 * mebibyte);
  assert.ok(most <= 24 * mebibyte, `${most} bytes ahead of the reader`);
});

describe('openQcow2() refuses what does not have all of the data, before it reads any', () => {
  const refused: Readonly<Record<string, readonly [commands: readonly string[], message: string]>> = {
    'a backing file': [
      ['qemu-img create -q -f qcow2 base.qcow2 1M', 'qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 IMAGE'],
      'it is a qcow2 image with the backing file base.qcow2, which has a part of its data (make one image of both with qemu-img convert -O qcow2 IMAGE NEW-IMAGE)',
    ],
    encryption: [
      [
        'qemu-img create -q -f qcow2 --object secret,id=key,data=abc -o encrypt.format=aes,encrypt.key-secret=key IMAGE 1M',
      ],
      'it is a qcow2 image with encryption (AES) (decrypt it with qemu-img convert --object secret,id=key,file=PASSWORD-FILE --image-opts driver=qcow2,file.filename=IMAGE,encrypt.key-secret=key -O qcow2 NEW-IMAGE)',
    ],
    'an external data file': [
      ['qemu-img create -q -f qcow2 -o data_file=data.raw IMAGE 1M'],
      'it is a qcow2 image with its data in another file, data.raw (make one image of both with qemu-img convert -O qcow2 IMAGE NEW-IMAGE)',
    ],
  };
  for (const [name, [commands, message]] of Object.entries(refused)) {
    test(name, async () => {
      const path = await makeImage(directory, { commands }, `refused-${name.replaceAll(' ', '-')}.qcow2`);
      using access = await openFileAccess(path);
      await assert.rejects(openQcow2(access, never), {
        name: 'DecompressError',
        message: `cannot decode the image: ${message}`,
      });
    });
  }
});

test('the way out of a refusal leads to an image that is accepted', async () => {
  await makeImage(
    directory,
    {
      commands: [
        `qemu-img convert -f raw -O qcow2 ${3 * mebibyte}.raw base-with-data.qcow2`,
        'qemu-img create -q -f qcow2 -b base-with-data.qcow2 -F qcow2 IMAGE',
        'qemu-io IMAGE write -P 5 1M 100k',
      ],
    },
    'overlay.qcow2',
  );
  execFileSync('qemu-img', ['convert', '-O', 'qcow2', 'overlay.qcow2', 'flat.qcow2'], { cwd: directory });
  using access = await openFileAccess(join(directory, 'flat.qcow2'));
  const { bytes } = await decoded(access);
  assert.ok(bytes.equals(await decodedByQemu(directory, 'overlay.qcow2')));
});
