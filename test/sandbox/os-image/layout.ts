import assert from 'node:assert/strict';
import { mkdtemp, open, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { execa } from 'execa';
import { buildOsImage, type OsImage } from './build.ts';

/**
 * Flatcar's table, written down once more and not taken from the recipe:
 * build_library/disk_layout.json of flatcar/scripts. `guid` and `attributes` only where the
 * original fixes them.
 */
const flatcar = [
  { number: 1, label: 'EFI-SYSTEM', type: 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B' },
  { number: 2, label: 'BIOS-BOOT', type: '21686148-6449-6E6F-744E-656564454649' },
  {
    number: 3,
    label: 'USR-A',
    type: '5DFBF5F4-2848-4BAC-AA5E-0D9A20B745A6',
    guid: '7130C94A-213A-4E5A-8E26-6CCE9662F132',
    attributes: 0x0101_0000_0000_0000n, // priority 1, successful 1
  },
  {
    number: 4,
    label: 'USR-B',
    type: '5DFBF5F4-2848-4BAC-AA5E-0D9A20B745A6',
    guid: 'E03DD35C-7C2D-4A47-B3FE-27F15780A57C',
  },
  { number: 6, label: 'OEM', type: '0FC63DAF-8483-4772-8E79-3D69D8477DE4' },
  { number: 7, label: 'OEM-CONFIG', type: 'C95DC21A-DF0E-4340-8D7B-26CBFA9A03E0' },
  { number: 9, label: 'ROOT', type: '3884DD41-8582-4404-B9A8-E9B84F2DF50E' },
] as const;

/** What blkid finds in the partitions that have a file system. */
const fileSystems: Record<string, { type: string; label: string }> = {
  'EFI-SYSTEM': { type: 'vfat', label: 'EFI-SYSTEM' },
  'USR-A': { type: 'btrfs', label: 'USR-A' },
  OEM: { type: 'btrfs', label: 'OEM' },
  ROOT: { type: 'ext4', label: 'ROOT' },
};

describe('the image to install', () => {
  let image: OsImage;

  before(async () => {
    image = await buildOsImage();
  });

  it('is a valid GPT disk with the GUID that first boots look for, a multiple of 258,048 sectors long', async () => {
    const { stdout } = await execa('sgdisk', ['--verify', '--print', image.disk]);
    assert.match(stdout, /No problems found/);
    assert.match(stdout, /Disk identifier \(GUID\): 00000000-0000-0000-0000-000000000001/);
    assert.equal((await stat(image.disk)).size % (258_048 * 512), 0);
  });

  it('has exactly the partitions of Flatcar', async () => {
    const { stdout } = await execa('sgdisk', ['--print', image.disk]);
    const numbers = stdout.matchAll(/^ {1,3}(\d+) /gm).map(([, number]) => Number(number));
    assert.deepEqual(
      numbers.toArray(),
      flatcar.map(({ number }) => number),
    );
  });

  for (const expected of flatcar) {
    it(`has partition ${expected.number} as ${expected.label}`, async () => {
      const partition = await readPartition(image.disk, expected.number);
      assert.equal(partition.label, expected.label);
      assert.equal(partition.type, expected.type);
      if ('guid' in expected) assert.equal(partition.guid, expected.guid);
      assert.equal(partition.attributes, 'attributes' in expected ? expected.attributes : 0n);
      assert.equal(partition.firstSector % 4096, 0, 'aligned to 2 MiB');
      assert.deepEqual(
        await probe(image.disk, partition.firstSector, partition.sectors),
        fileSystems[expected.label] ?? { type: undefined, label: undefined },
      );
    });
  }

  it('begins at sector 4096', async () => {
    assert.equal((await readPartition(image.disk, 1)).firstSector, 4096);
  });

  it('has nothing but zeroes in USR-B', async () => {
    const { firstSector, sectors } = await readPartition(image.disk, 4);
    await using file = await open(image.disk);
    const piece = Buffer.alloc(sectors * 512);
    await file.read(piece, 0, piece.length, firstSector * 512);
    assert.ok(piece.equals(Buffer.alloc(piece.length)));
  });

  it('carries the first boot marker and a boot loader for UEFI on its EFI system partition', async () => {
    const offsetBytes = (await readPartition(image.disk, 1)).firstSector * 512;
    const { stdout } = await execa('mdir', ['-b', '-/', '-i', `${image.disk}@@${offsetBytes}`, '::/']);
    assert.match(stdout, /^::\/flatcar\/first_boot$/m);
    assert.match(stdout, /^::\/EFI\/BOOT\/BOOTX64\.EFI$/m);
  });

  it('carries a boot loader for BIOS that points into BIOS-BOOT', async () => {
    const { firstSector } = await readPartition(image.disk, 2);
    await using file = await open(image.disk);
    const master = Buffer.alloc(512);
    await file.read(master, 0, 512, 0);
    assert.equal(master.readBigUInt64LE(0x5c), BigInt(firstSector));
    assert.equal(master.readUInt16LE(510), 0xaa55);
    assert.equal(master[446 + 4], 0xee, 'the MBR still protects the GPT');
  });

  it('is offered, compressed and signed, as a release server offers it', async () => {
    for (const release of [image.version, 'current']) {
      const version = await readFile(join(image.mirror, release, 'version.txt'), 'utf8');
      assert.ok(version.split('\n').includes(`FLATCAR_VERSION=${image.version}`));
      await verifySignature(join(image.mirror, release, 'flatcar_production_image.bin.bz2'), image.signingKey);
    }
  });

  it('is not built again when nothing has changed', async () => {
    const { mtimeMs } = await stat(image.disk);
    assert.deepEqual(await buildOsImage(), image);
    assert.equal((await stat(image.disk)).mtimeMs, mtimeMs);
  });
});

async function readPartition(disk: string, number: number) {
  const { stdout } = await execa('sgdisk', [`--info=${number}`, disk]);
  const field = (pattern: RegExp): string => {
    const value = pattern.exec(stdout)?.[1];
    assert.ok(value !== undefined, `sgdisk says nothing like ${pattern} about partition ${number}: ${stdout}`);
    return value;
  };
  return {
    label: field(/^Partition name: '(.*)'$/m),
    type: field(/^Partition GUID code: (\S+)/m),
    guid: field(/^Partition unique GUID: (\S+)/m),
    attributes: BigInt(`0x${field(/^Attribute flags: (\S+)/m)}`),
    firstSector: Number(field(/^First sector: (\d+)/m)),
    sectors: Number(field(/^Partition size: (\d+) sectors/m)),
  };
}

async function probe(disk: string, firstSector: number, sectors: number) {
  const place = ['--offset', String(firstSector * 512), '--size', String(sectors * 512)];
  const { stdout } = await execa('blkid', ['--probe', '--output', 'export', ...place, disk], { reject: false });
  return { type: /^TYPE=(.*)$/m.exec(stdout)?.[1], label: /^LABEL=(.*)$/m.exec(stdout)?.[1] };
}

async function verifySignature(file: string, publicKey: string): Promise<void> {
  const home = await mkdtemp(join(tmpdir(), 'nibs-gpg-'));
  try {
    await execa('gpg', ['--homedir', home, '--batch', '--quiet', '--import', publicKey]);
    const { stdout } = await execa('gpg', [
      '--homedir',
      home,
      '--batch',
      '--status-fd',
      '1',
      '--verify',
      `${file}.sig`,
      file,
    ]);
    assert.match(stdout, /^\[GNUPG:\] GOODSIG /m);
  } finally {
    await execa('gpgconf', ['--homedir', home, '--kill', 'all']);
    await rm(home, { recursive: true, force: true });
  }
}
