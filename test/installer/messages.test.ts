import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { createLoopDevice, type LoopDevice } from '../sandbox/loop-device.ts';
import { type Mirror, startMirror } from '../sandbox/mirror.ts';
import { messageTable } from './message-table.ts';
import { runInstaller } from './run.ts';
import { textsOf } from './texts.ts';

const mebibyte = 1024 * 1024;
let directory: string;
let disk: LoopDevice;
let mirror: Mirror;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-messages-'));
  disk = await createLoopDevice({ sizeBytes: 16 * mebibyte });
  mirror = await startMirror();
  mirror.put('/1.0/flatcar_production_image.bin.bz2', Buffer.alloc(1000));
  mirror.put('/1.0/flatcar_production_image.bin.bz2.sig', Buffer.from('no signature'));
  mirror.put('/2.0/flatcar_production_image.bin.bz2', Buffer.alloc(1000));
  mirror.put('/login/current/version.txt', Buffer.from('<html>'));
  mirror.put('/stable/current/version.txt', Buffer.from('FLATCAR_VERSION=4593.2.5\n'));
  const files = { text: 'a text\n', empty: '', 'bad.ign': '{"ignition": {"version": "3.3.0",}}' };
  for (const [name, content] of Object.entries(files)) await writeFile(join(directory, name), content);
  const config = '{"ignition": {"version": "3.3.0"}}';
  const configs = {
    'gzip.ign': gzipSync(config),
    'bom.ign': Buffer.from(`\ufeff${config}`),
    'latin1.ign': Buffer.from('{"a": "\u00e9"}', 'latin1'),
    'list.ign': Buffer.from('[]'),
    'none.ign': Buffer.from('{}'),
    'new.ign': Buffer.from('{"ignition": {"version": "3.6.0"}}'),
    'old.ign': Buffer.from('{"ignition": {"version": "2.9.0"}}'),
  };
  for (const [name, content] of Object.entries(configs)) await writeFile(join(directory, name), content);
  mirror.put('/large/current/version.txt', Buffer.alloc(100_000));
  const images = {
    'image.zip': Buffer.from('504b030414000000', 'hex'),
    'image.qcow2': Buffer.from('514649fb00000003', 'hex'),
    'image.br': Buffer.alloc(2 * mebibyte, 'x'),
    // A frame with the dictionary 5, and one with a window of 256 MiB (RFC 8878, section 3.1.1.1).
    'dictionary.zst': Buffer.from('28b52ffd210500010000', 'hex'),
    'long.zst': Buffer.from('28b52ffd0090010000', 'hex'),
    // Of `xz --lzma2=dict=512MiB`.
    'dictionary.xz': Buffer.from(
      'fd377a585a000004e6d6b44602002101220000008240acdc01000261626300002776271a4a09d82c00011b030b2fb9101fb6f37d010000000004595a',
      'hex',
    ),
    'cut.gz': gzipSync(Buffer.alloc(2 * mebibyte, 'x')).subarray(0, 30),
  };
  for (const [name, content] of Object.entries(images)) await writeFile(join(directory, name), content);
  await writeFile(join(directory, 'zeroes'), Buffer.alloc(2 * mebibyte));
});
after(async () => {
  await mirror[Symbol.asyncDispose]();
  await disk[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

/**
 * Each failure as a person reads it, with DIR, DISK and MIRROR for what differs from run to run.
 * Reviewed one by one: what could not be done, to what, why, and what to do about it; without the
 * words of a programming language.
 */
const table: readonly (readonly [args: string, message: string])[] = [
  [
    '',
    'cannot install without a target: no target block device provided (give -d DEVICE, -s for the smallest unused disk, or -D to download only; see --help)',
  ],
  [
    '-d DIR/no-disk',
    'cannot install to DIR/no-disk: there is no such device (list the disks with --list-disks, or give --size to make a file)',
  ],
  [
    '-d DIR/text',
    'cannot install to DIR/text: it is a file of 7 bytes, which is no multiple of 512 (give its size with --size, such as --size 10GiB)',
  ],
  ['-d DIR', 'cannot install to DIR: it is not a block device (list the disks with --list-disks)'],
  [
    '-s --size 10GiB',
    'cannot use --size: no file is given with -d (give a file, such as -d disk.img, or leave out --size)',
  ],
  [
    '-d DISK --min-size 20GB',
    'cannot install to DISK: its size is 0.017GB, but it must be larger than 20GB (choose a larger disk with -d, or give a smaller --min-size)',
  ],
  [
    '-d DISK --offline',
    'cannot work offline without a local image: that needs the network (give the path of one with -f, or leave out --offline)',
  ],
  [
    '-d DISK --save-partlabel data -f DIR/none',
    'cannot save partitions of DISK: it has no partition table (GPT) at its start (leave out --save-partlabel and --save-partindex if there is nothing to save, or repair the table with gdisk)',
  ],
  [
    '-d DISK -f DIR/none',
    "cannot read the image DIR/none: ENOENT: no such file or directory, stat 'DIR/none' (give the path of an image file with -f, or - for standard input)",
  ],
  [
    '-d DISK -f DIR',
    'cannot read the image DIR: it is neither a regular file nor a pipe (give the path of an image file with -f, or - for standard input)',
  ],
  [
    '-d DISK -f DIR/empty',
    'cannot read the image DIR/empty: it is empty (give the path of an image file with -f, or - for standard input)',
  ],
  [
    '-d DISK -f DIR/zeroes',
    'cannot install the image: it does not start with a partition table (GPT), so it is not a disk image (check what -f, -b or -V name)',
  ],
  [
    '-d DISK -f DIR/image.zip',
    'cannot decode the image: it is a zip archive, not a disk image (unpack it: an image is raw, or compressed with bzip2, gzip, xz or zstd)',
  ],
  [
    '-d DISK -f DIR/image.qcow2',
    'cannot decode the image: it is a qcow2 image, not a disk image (convert it with qemu-img convert -O raw)',
  ],
  [
    '-d DISK -f DIR/image.br',
    'cannot decode the image: it is a brotli file by its name, not a disk image (unpack it: an image is raw, or compressed with bzip2, gzip, xz or zstd)',
  ],
  [
    '-d DISK -f DIR/dictionary.zst',
    'cannot decode the image: zstd needs the dictionary that it was compressed with (compress the image without -D)',
  ],
  [
    '-d DISK -f DIR/long.zst',
    'cannot decode the image: zstd needs a window of more than 128 MiB of memory (allow it with --zstd-window 2GiB, or compress the image without --long)',
  ],
  [
    '-y -d DISK -f DIR/long.zst --zstd-window 256MiB',
    'cannot install the image: it ends after 0 bytes, within its partition table (check what -f, -b or -V name)',
  ],
  [
    '-d DISK -f DIR/dictionary.xz',
    'cannot decode the image: xz needs more than 100 MiB of memory to decode it (compress the image with a preset of xz, such as -9)',
  ],
  [
    '-d DISK -f DIR/cut.gz',
    'cannot decode the image: the gzip data before byte 30 is invalid: the file ends unexpectedly (get the image again, or compare it with its checksum)',
  ],
  [
    '-d DISK -i DIR/none',
    "cannot read the Ignition config DIR/none: ENOENT: no such file or directory, open 'DIR/none' (give a readable file with -i)",
  ],
  [
    '-d DISK -c DIR/none',
    "cannot read the cloud-config DIR/none: ENOENT: no such file or directory, open 'DIR/none' (give a readable file with -c)",
  ],
  [
    '-d DISK -i DIR/gzip.ign',
    'cannot use DIR/gzip.ign: it is compressed with gzip (decompress it first; checked as Ignition 2.24.0 reads it; --ignition-unchecked overrides this)',
  ],
  [
    '-d DISK -i DIR/bom.ign',
    'cannot use DIR/bom.ign: it starts with a byte order mark, which Ignition does not accept (save it as UTF-8 without one; checked as Ignition 2.24.0 reads it; --ignition-unchecked overrides this)',
  ],
  [
    '-d DISK -i DIR/none.ign',
    'cannot use DIR/none.ign: it has no ignition.version: an Ignition config starts with {"ignition": {"version": "3.3.0"}} (checked as Ignition 2.24.0 reads it; --ignition-unchecked overrides this)',
  ],
  [
    '-d DISK -i DIR/old.ign',
    'cannot use DIR/old.ign: $.ignition.version (line 1, column 26): Ignition 2.24.0 does not support version 2.9.0; it supports 2.0.0 to 2.4.0, 3.0.0 to 3.5.0 and 3.6.0-experimental (checked as Ignition 2.24.0 reads it; --ignition-unchecked overrides this)',
  ],
  [
    // Only the release that the server names says which Ignition reads the config.
    '-d DISK -i DIR/new.ign -b MIRROR/stable',
    'cannot use DIR/new.ign: $.ignition.version (line 1, column 26): Ignition 2.24.0 does not support version 3.6.0; it supports 2.0.0 to 2.4.0, 3.0.0 to 3.5.0 and 3.6.0-experimental (checked as Ignition 2.24.0 reads it; --ignition-unchecked overrides this)',
  ],
  [
    '-d DISK -i DIR/old.ign --ignition-version 2.23.0',
    'cannot check as Ignition 2.23.0: no release of Flatcar has it, or it is newer than this program (give one of 2.26.0, 2.24.0-r2, 2.24.0, 2.22.0, 2.21.0, 2.20.0, 2.19.0, 2.18.0, 2.15.0, 2.14.0)',
  ],
  [
    '-d DISK --ignition-hash sha512-12',
    'cannot use the hash sha512-12: it must be sha512- with 128 or sha256- with 64 hexadecimal digits (make one with: echo sha512-$(sha512sum FILE | cut -d " " -f 1))',
  ],
  [
    `-d DISK --ignition-hash sha256-${'0'.repeat(64)}`,
    'cannot check the Ignition config: there is a hash but no config (give it with -i or --ignition-url)',
  ],
  [
    '-d DISK --offline -f DIR/none --ignition-url https://server/a.ign',
    'cannot work offline with https://server/a.ign: that needs the network (download it first and give the file with -i)',
  ],
  ['-D --offline', 'cannot work offline with -D: that needs the network (leave out --offline)'],
  [
    '-d DISK -b MIRROR/large',
    'cannot read the current version from MIRROR/large/current/version.txt: version.txt unavailable: it is larger than 65536 bytes (check the version, channel, board and base URL)',
  ],
  [
    '-d DISK -i DIR/bad.ign --ignition-url https://server/a.ign',
    'cannot use the Ignition config https://server/a.ign: DIR/bad.ign is given too (give either -i or --ignition-url)',
  ],
  [
    '-d DISK --ignition-url http://server/a.ign',
    'cannot use the Ignition config http://server/a.ign: plain HTTP can be tampered with (use https, or add --ignition-hash sha512-…)',
  ],
  [
    '-d DISK --append-karg a="b"',
    `cannot use --append-karg 'a="b"': the boot loader cannot pass quotes, backslashes or non-ASCII characters to the kernel (remove them)`,
  ],
  [
    '-d DISK -b ftp://mirror -V 1.0',
    'cannot download ftp://mirror/1.0/flatcar_production_image.bin.bz2: it is not an HTTP URL (check -b, -C, -B and -V)',
  ],
  [
    '-d DISK -b MIRROR',
    'cannot read the current version from MIRROR/current/version.txt: version.txt unavailable: HTTP status 404 Not Found (check the version, channel, board and base URL)',
  ],
  [
    '-d DISK -b MIRROR/login',
    'cannot read the current version from MIRROR/login/current/version.txt: version.txt unavailable: the file has no FLATCAR_VERSION (name a version with -V)',
  ],
  [
    '-d DISK -b MIRROR -V 9.0',
    'cannot download MIRROR/9.0/flatcar_production_image.bin.bz2: Image URL unavailable: HTTP status 404 Not Found (check the version, channel, board and base URL)',
  ],
  [
    '-d DISK -b MIRROR -V 2.0',
    'cannot download MIRROR/2.0/flatcar_production_image.bin.bz2.sig: Image signature unavailable: HTTP status 404 Not Found (check the version, channel, board and base URL)',
  ],
  [
    '-d DISK -b http://127.0.0.1:1 -V 1.0 --tries 1',
    'cannot download http://127.0.0.1:1/1.0/flatcar_production_image.bin.bz2: connect ECONNREFUSED 127.0.0.1:1 (tried once) (check the network, name resolution and proxy)',
  ],
  [
    '-d DISK -b MIRROR -b http://127.0.0.1:1 -V 9.0 --tries 1',
    'cannot download MIRROR/9.0/flatcar_production_image.bin.bz2 or http://127.0.0.1:1/9.0/flatcar_production_image.bin.bz2: Image URL unavailable: MIRROR/9.0/flatcar_production_image.bin.bz2: HTTP status 404 Not Found; http://127.0.0.1:1/9.0/flatcar_production_image.bin.bz2: connect ECONNREFUSED 127.0.0.1:1 (tried once) (check the version, channel, board and each base URL)',
  ],
  [
    '-d DISK -b MIRROR -V 1.0',
    'cannot read the signature MIRROR/1.0/flatcar_production_image.bin.bz2.sig: it is not an OpenPGP signature (check the mirror of -b, or use another)',
  ],
];

for (const [args, message] of table) {
  test(`flatcar-install ${args}: ${message.slice(0, 60)}…`, async () => {
    const places = [
      ['DIR', directory],
      ['DISK', disk.path],
      ['MIRROR', mirror.url],
    ] as const;
    const real = places.reduce((text, [name, place]) => text.replaceAll(name, place), args);
    const shown = (text: string) => places.reduce((text, [name, place]) => text.replaceAll(place, name), text);
    const ran = await runInstaller(directory, [...real.split(' ').filter((arg) => arg !== ''), '--json']);
    assert.equal(ran.exitCode, 1);
    assert.equal(shown(ran.stderr), `Error: ${message}\n`);
    const { event, what, target, why, hint } = JSON.parse(ran.stdout.trimEnd().split('\n').at(-1) ?? '');
    assert.equal(event, 'error');
    for (const [name, part] of Object.entries({ what, target, why, hint }))
      assert.ok(typeof part === 'string' && part.length > 2, `the error has no ${name}`);
    assert.equal(`cannot ${what} ${target}: ${why} (${hint})`, ran.stderr.slice('Error: '.length, -1));
  });
}

const sources = join(import.meta.dirname, '../../installer');
/** What it shares with the agent. */
const groundFloor = ['errors', 'net', 'tools'];

/**
 * Texts of several words that are shown to people otherwise: by --help, as what is being done, or
 * as what is wrong with a config or an image (tested there).
 */
const elsewhere = [
  /^options\.ts$/,
  /^image2disk\/variables\.ts$/,
  /^(decompress|qcow2)\//,
  /^configure\/ignition\/(?!check)/,
];

/** Each text of the sources that is part of a message, by file. */
async function collectTexts(): Promise<Record<string, string[]>> {
  const shared: string[] = [];
  for (const folder of groundFloor)
    shared.push(...(await readdir(join(sources, '..', folder))).map((name) => join('..', folder, name)));
  const files = [...(await readdir(sources, { recursive: true })), ...shared]
    .filter((name) => name.endsWith('.ts'))
    .toSorted();
  const collected: Record<string, string[]> = {};
  for (const file of files.filter((name) => !elsewhere.some((pattern) => pattern.test(name)))) {
    const texts = textsOf(await readFile(join(sources, file), 'utf8'))
      .filter(
        ({ text, before }) =>
          text.split(' ').filter((word) => word !== '').length >= 3 && /[a-z]/.test(text) && !isProgress(before),
      )
      .map(({ text }) => text);
    if (texts.length > 0) collected[file] = [...new Set(texts)];
  }
  return collected;
}

/** What a report tells about its progress is no message of something that is wrong. */
function isProgress(before: string): boolean {
  return /report\.(phase|note|detail)\([^;]*$/.test(before);
}

test('every message of the sources is in the table of those that were reviewed, and the table has no others', async () => {
  const collected = await collectTexts();
  const rows = Object.entries(messageTable).flatMap(([file, texts]) => Object.keys(texts).map((text) => [file, text]));
  const found = Object.entries(collected).flatMap(([file, texts]) => texts.map((text) => [file, text]));
  assert.ok(found.length > 200);
  const reviewed = new Set(rows.map((row) => row.join(': ')));
  const present = new Set(found.map((row) => row.join(': ')));
  assert.deepEqual([...present.difference(reviewed)], [], 'new: review them and add them to the table');
  assert.deepEqual([...reviewed.difference(present)], [], 'no longer in the sources');
});

test('no message has the words of a programming language, blames, or ends as a sentence does', () => {
  for (const [file, rows] of Object.entries(messageTable)) {
    for (const [text, situation] of Object.entries(rows)) {
      assert.ok(situation.length >= 2, `${file}: ${text} has no situation`);
      assert.doesNotMatch(
        text,
        /undefined|null|exception|stack(?!\)$)|invalid|illegal|failed to|\berror:|please|!(?! )/i,
        file,
      );
      if (!text.startsWith('Could not find smallest disk')) assert.doesNotMatch(text, /\.$/, file);
      assert.match(text, /^[\x20-\x7e\u2026]+$/, file);
    }
  }
});
