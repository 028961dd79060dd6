import { execFileSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Random } from '../decompress/random.ts';

/** How an image is made: commands of qemu-img and qemu-io in a directory. */
export interface Recipe {
  readonly name: string;
  /** They may begin with one of the raw images, `LENGTH.raw`. */
  readonly commands: readonly string[];
  /** Whether programs may fail, as one that stops without closing the image. Default: no. */
  readonly mayFail?: boolean;
}

const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;

/** Text, random bytes, and zeroes, in runs of odd lengths. */
export function mixedBytes(lengthBytes: number, seed: number): Buffer {
  const random = new Random(seed);
  const bytes = Buffer.alloc(lengthBytes);
  const noise = random.bytes(64 * kibibyte);
  for (let at = 0; at < lengthBytes; ) {
    const runBytes = random.pick([512, 4096, 5000, 64 * kibibyte, 70_001, 300_000]);
    const end = Math.min(lengthBytes, at + runBytes);
    const kind = random.pick(['noise', 'text', 'zero', 'zero'] as const);
    if (kind === 'text') bytes.fill(`line ${random.below(1e6)} of a file of text\n`, at, end);
    if (kind === 'noise') bytes.fill(noise.subarray(random.below(4096)), at, end);
    at = end;
  }
  return bytes;
}

/** Raw images by the length that their names have. */
const rawSizes = [512, 1536, 65_535, 1_000_003, 2 * mebibyte + 512, 3 * mebibyte, 9 * mebibyte];

export async function writeRawImages(directory: string): Promise<void> {
  for (const size of rawSizes) await writeFile(join(directory, `${size}.raw`), mixedBytes(size, size));
}

const clusterSizes = [
  512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144, 524_288, 1_048_576, 2_097_152,
];

function converted(name: string, options: string, raw = 2 * mebibyte + 512): Recipe {
  return { name, commands: [`qemu-img convert -f raw -O qcow2 ${options} ${raw}.raw IMAGE`] };
}

/** One of writes: `write -P 1 0 64k` of qemu-io, separated by semicolons. */
function written(name: string, create: string, ...writes: readonly string[]): Recipe {
  return {
    name,
    commands: [`qemu-img create -q -f qcow2 ${create}`, ...writes.map((write) => `qemu-io IMAGE ${write}`)],
  };
}

const partial = 'write -P 1 5k 3k; write -P 2 100k 1k; write -P 3 190k 40k; write -P 4 1023k 2k; write -P 5 3000k 72k';
const zeroes = 'write -P 1 0 2M; write -z 64k 64k; write -z 300k 100k; discard 512k 256k; write -z -u 1M 128k';

export const recipes: readonly Recipe[] = [
  ...clusterSizes.map((size) => converted(`clusters of ${size}`, `-o cluster_size=${size}`)),
  ...[512, 4096, 65_536, 262_144, 2_097_152].flatMap((size) => [
    converted(`clusters of ${size}, compressed with zlib`, `-c -o cluster_size=${size}`),
    converted(`clusters of ${size}, compressed with zstd`, `-c -o cluster_size=${size},compression_type=zstd`),
  ]),
  ...[512, 65_536, 2_097_152].flatMap((size) => [
    converted(`version 2, clusters of ${size}`, `-o compat=0.10,cluster_size=${size}`),
    converted(`version 2, clusters of ${size}, compressed`, `-c -o compat=0.10,cluster_size=${size}`),
  ]),
  ...[16_384, 32_768, 131_072, 2_097_152].flatMap((size) => [
    converted(`subclusters, clusters of ${size}`, `-o extended_l2=on,cluster_size=${size}`),
    converted(`subclusters, clusters of ${size}, compressed`, `-c -o extended_l2=on,cluster_size=${size}`),
    written(
      `subclusters, clusters of ${size}, written in part`,
      `-o extended_l2=on,cluster_size=${size} IMAGE 4M`,
      partial,
    ),
  ]),
  ...['metadata', 'falloc', 'full'].flatMap((mode) => [
    converted(`preallocated (${mode})`, `-o preallocation=${mode}`),
    converted(`preallocated (${mode}), clusters of 4096`, `-o preallocation=${mode},cluster_size=4096`),
    written(`preallocated (${mode}) and written in part`, `-o preallocation=${mode} IMAGE 4M`, partial),
  ]),
  written('preallocated (metadata) with subclusters', '-o preallocation=metadata,extended_l2=on IMAGE 4M', partial),
  ...[1, 64].map((bits) => converted(`reference counts of ${bits} bits`, `-o refcount_bits=${bits}`)),
  converted('lazy reference counts', '-o lazy_refcounts=on'),
  ...rawSizes.flatMap((size) => [
    converted(`a disk of ${size} bytes`, '', size),
    converted(`a disk of ${size} bytes, compressed with zstd`, '-c -o compression_type=zstd', size),
  ]),
  converted('a disk of 1000003 bytes, clusters of 512', '-o cluster_size=512', 1_000_003),
  converted('a disk of 1000003 bytes with subclusters', '-o extended_l2=on,cluster_size=16384', 1_000_003),
  converted('written out of order', '-W -m 16 -o cluster_size=4096', 9 * mebibyte),
  converted('compressed out of order', '-c -W -m 16 -o cluster_size=4096', 9 * mebibyte),
  converted('without looking for zeroes', '-S 0'),
  { name: 'an empty disk', commands: ['qemu-img create -q -f qcow2 IMAGE 0'] },
  { name: 'a disk without data', commands: ['qemu-img create -q -f qcow2 IMAGE 5M'] },
  written('zeroes and discarded clusters', 'IMAGE 4M', zeroes),
  written('zeroes and discarded clusters, version 2', '-o compat=0.10 IMAGE 4M', zeroes),
  written('zeroes and discarded clusters, clusters of 512', '-o cluster_size=512 IMAGE 4M', zeroes),
  written('zeroes and discarded subclusters', '-o extended_l2=on IMAGE 4M', zeroes),
  written('written in part, clusters of 2 MiB', '-o cluster_size=2M IMAGE 5M', partial),
  written('written backwards', '-o cluster_size=4k IMAGE 4M', 'write -P 3 2M 1M; write -P 2 1M 1M; write -P 1 0 1M'),
  {
    name: 'compressed clusters and others',
    commands: [
      `qemu-img convert -f raw -O qcow2 -c ${3 * mebibyte}.raw IMAGE`,
      'qemu-io IMAGE write -P 7 100k 300k; write -z 1M 128k; discard 2M 64k; write -c -P 9 1088k 64k',
    ],
  },
  {
    name: 'internal snapshots',
    commands: [
      `qemu-img convert -f raw -O qcow2 ${3 * mebibyte}.raw IMAGE`,
      'qemu-img snapshot -c one IMAGE',
      'qemu-io IMAGE write -P 7 0 1M; discard 2M 512k',
      'qemu-img snapshot -c two IMAGE',
      'qemu-io IMAGE write -P 8 512k 1M',
    ],
  },
  {
    name: 'a snapshot that was applied, and one that was deleted',
    commands: [
      `qemu-img convert -f raw -O qcow2 -c ${3 * mebibyte}.raw IMAGE`,
      'qemu-img snapshot -c one IMAGE',
      'qemu-io IMAGE write -P 7 0 3M',
      'qemu-img snapshot -c two IMAGE',
      'qemu-img snapshot -a one IMAGE',
      'qemu-img snapshot -d two IMAGE',
      'qemu-io IMAGE write -P 8 64k 64k',
    ],
  },
  {
    name: 'enlarged, with the L1 table at the end',
    commands: [
      `qemu-img convert -f raw -O qcow2 -o cluster_size=512 ${2 * mebibyte + 512}.raw IMAGE`,
      'qemu-img resize -q IMAGE 9M',
      'qemu-io IMAGE write -P 5 8M 10k',
    ],
  },
  {
    name: 'made smaller',
    commands: [
      `qemu-img convert -f raw -O qcow2 ${9 * mebibyte}.raw IMAGE`,
      'qemu-img resize -q --shrink IMAGE 1000448',
    ],
  },
  {
    name: 'changed to version 3',
    commands: [
      `qemu-img convert -f raw -O qcow2 -o compat=0.10 ${3 * mebibyte}.raw IMAGE`,
      'qemu-img amend -o compat=1.1 IMAGE',
      'qemu-io IMAGE write -z 0 128k',
    ],
  },
  {
    name: 'a persistent bitmap',
    commands: [
      `qemu-img convert -f raw -O qcow2 ${3 * mebibyte}.raw IMAGE`,
      'qemu-img bitmap --add --enable IMAGE changes',
      'qemu-io IMAGE write -P 5 1M 100k',
    ],
  },
  {
    name: 'not closed (dirty)',
    commands: [
      'qemu-img create -q -f qcow2 -o lazy_refcounts=on IMAGE 4M',
      'qemu-io IMAGE write -P 5 1M 100k; write -P 6 3M 64k; flush; abort',
    ],
    mayFail: true,
  },
  {
    name: 'a backing file that was merged',
    commands: [
      `qemu-img convert -f raw -O qcow2 ${3 * mebibyte}.raw base-of-IMAGE`,
      'qemu-img create -q -f qcow2 -b base-of-IMAGE -F qcow2 IMAGE 4M',
      'qemu-io IMAGE write -P 5 1M 100k',
      'qemu-img rebase -t unsafe -b NOTHING IMAGE',
    ],
  },
];

/**
 * Makes an image.
 * @param directory with the raw images
 * @returns path of the image
 */
export async function makeImage(
  directory: string,
  recipe: Pick<Recipe, 'commands' | 'mayFail'>,
  name: string,
): Promise<string> {
  for (const command of recipe.commands)
    runCommand(directory, command.replaceAll('IMAGE', name), recipe.mayFail === true);
  return join(directory, name);
}

function runCommand(directory: string, command: string, mayFail: boolean): void {
  const [program = '', ...rest] = command.split(/ +/).map((word) => (word === 'NOTHING' ? '' : word));
  const [file = '', ...writes] = rest;
  // Nothing has to survive a power cut.
  const unsafe = ['-t', 'unsafe'];
  const argsOf: Readonly<Record<string, readonly string[]>> = {
    'qemu-io': [
      ...unsafe,
      ...writes
        .join(' ')
        .split(';')
        .flatMap((write) => ['-c', write.trim()]),
      file,
    ],
    'qemu-img': file === 'convert' ? [file, ...unsafe, ...writes] : rest,
  };
  const args = argsOf[program] ?? [];
  try {
    execFileSync(program, args, { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    if (!mayFail) throw error;
  }
}

/** The disk in the image by qemu-img. */
export async function decodedByQemu(directory: string, name: string): Promise<Buffer> {
  const raw = join(directory, `${name}.decoded`);
  execFileSync('qemu-img', ['convert', '-t', 'unsafe', '-f', 'qcow2', '-O', 'raw', join(directory, name), raw], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return await readFile(raw);
}
