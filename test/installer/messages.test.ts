import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createLoopDevice, type LoopDevice } from '../sandbox/loop-device.ts';
import { type Mirror, startMirror } from '../sandbox/mirror.ts';
import { runInstaller } from './run.ts';

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
  mirror.put('/odd/version.txt', Buffer.alloc(100_000));
  mirror.put('/login/current/version.txt', Buffer.from('<html>'));
  const files = { text: 'a text\n', empty: '', 'bad.ign': '{"ignition": {"version": "3.3.0",}}' };
  for (const [name, content] of Object.entries(files)) await writeFile(join(directory, name), content);
  await writeFile(join(directory, 'zeroes'), Buffer.alloc(2 * mebibyte));
});
after(async () => {
  await mirror[Symbol.asyncDispose]();
  await disk[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

/**
 * Each failure as a person reads it, with DIR, DISK and MIRROR for what differs from run to run. Reviewed one by one: what could not be done, to what,
 * why, and what to do about it; without the words of a programming language.
 */
const table: readonly (readonly [args: string, message: string])[] = [
  [
    '',
    'cannot install without a target: no target block device provided (give -d DEVICE, -s for the smallest unused disk, or -D to download only; see --help)',
  ],
  ['-d DIR/no-disk', 'cannot install to DIR/no-disk: there is no such device (list the disks with --list-disks)'],
  ['-d DIR/text', 'cannot install to DIR/text: it is not a block device (list the disks with --list-disks)'],
  [
    '-d DISK --min-size 20GB',
    'cannot install to DISK: it has 0.017GB, not more than the 20GB asked for (choose a larger disk with -d, or give a smaller --min-size)',
  ],
  [
    '-d DISK --offline',
    'cannot work offline without a local image: that needs the network (give the path of one with -f, or leave out --offline)',
  ],
  [
    '-d DISK --save-partlabel data -f DIR/none',
    'cannot save partitions of DISK: it has no partition table (GPT) at its start (leave out --save-partlabel if there is nothing to save, or repair the table with gdisk)',
  ],
  [
    '-d DISK -f DIR/none',
    "cannot read the image DIR/none: ENOENT: no such file or directory, stat 'DIR/none' (give the path of an image file with -f)",
  ],
  ['-d DISK -f DIR', 'cannot read the image DIR: it is not a regular file (give the path of an image file with -f)'],
  ['-d DISK -f DIR/empty', 'cannot read the image DIR/empty: it is empty (give the path of an image file with -f)'],
  [
    '-d DISK -f DIR/zeroes',
    'cannot install the image: it does not start with a partition table (GPT), so it is no disk image (check what -f, -b or -V name)',
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
    '-d DISK -i DIR/bad.ign --ignition-url https://server/a.ign',
    'cannot use the Ignition config https://server/a.ign: DIR/bad.ign is given too (give either -i or --ignition-url)',
  ],
  [
    '-d DISK --ignition-url http://server/a.ign',
    'cannot use the Ignition config http://server/a.ign: whoever is on the way could change it (use https, or add --ignition-hash sha512-…)',
  ],
  [
    '-d DISK --append-karg a="b"',
    `cannot use --append-karg 'a="b"': the boot loader cannot hand on quotes, backslashes and letters beyond ASCII (leave those out)`,
  ],
  [
    '-d DISK -b ftp://mirror -V 1.0',
    'cannot download ftp://mirror/1.0/flatcar_production_image.bin.bz2: it is not an HTTP URL (check -b, -C, -B and -V)',
  ],
  [
    '-d DISK -b MIRROR',
    'cannot find out the current version from MIRROR/current/version.txt: version.txt unavailable: the server answers 404 Not Found (check the version, channel, board and base URL)',
  ],
  [
    '-d DISK -b MIRROR/login',
    'cannot find out the current version from MIRROR/login/current/version.txt: version.txt unavailable: the file there has no FLATCAR_VERSION (name a version with -V)',
  ],
  [
    '-d DISK -b MIRROR -V 9.0',
    'cannot download MIRROR/9.0/flatcar_production_image.bin.bz2: Image URL unavailable: the server answers 404 Not Found (check the version, channel, board and base URL)',
  ],
  [
    '-d DISK -b MIRROR -V 2.0',
    'cannot download MIRROR/2.0/flatcar_production_image.bin.bz2.sig: Image signature unavailable: the server answers 404 Not Found (check the version, channel, board and base URL)',
  ],
  [
    '-d DISK -b http://127.0.0.1:1 -V 1.0 --tries 1',
    'cannot download http://127.0.0.1:1/1.0/flatcar_production_image.bin.bz2: connect ECONNREFUSED 127.0.0.1:1 (tried once) (check the network, name resolution and proxy)',
  ],
  [
    '-d DISK -b MIRROR -b http://127.0.0.1:1 -V 9.0 --tries 1',
    'cannot download MIRROR/9.0/flatcar_production_image.bin.bz2 or http://127.0.0.1:1/9.0/flatcar_production_image.bin.bz2: Image URL unavailable: MIRROR/9.0/flatcar_production_image.bin.bz2: the server answers 404 Not Found; http://127.0.0.1:1/9.0/flatcar_production_image.bin.bz2: connect ECONNREFUSED 127.0.0.1:1 (tried once) (check the version, channel, board and each base URL)',
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
