import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import type { Fault } from '../../sandbox/mirror.ts';
import type { Cell } from './cell.ts';
import type { DiskFaultKind } from './disk-protocol.ts';
import { type Ended, imagePath, type Machine, publish, VARIANTS, type Variant } from './machine.ts';
import { killAtByte, killAtOperation, runWithMemory } from './processes.ts';
import type { Expected } from './states.ts';

const mebibyte = 1024 * 1024;

/** What the cells of a fault are made for. */
interface Plan {
  readonly machine: Machine;
  /** Results of installations without faults, and how many operations the disk had in each. */
  readonly learned: ReadonlyMap<Variant, { readonly expected: Expected; readonly operations: number }>;
  /** How many cells a fault gets. */
  readonly points: number;
  /** The same for the same seed. */
  readonly random: () => number;
}

/** The cells of a fault. */
type Cells = (plan: Plan) => readonly Cell[];

const diskError = /(EIO: i\/o error|Input\/output error)/;

/** Each fault of the table, by the name that `ROW=` has. */
export const faults: Readonly<Record<string, Cells>> = {
  killed: (plan) => [
    ...atBytes(plan, 'plain', Math.floor(plan.points / 4), (byte) => ({
      ...{ ends: 'killed', says: /^/ },
      run: (machine, variant) => killAtByte(machine, variant, byte),
    })),
    ...atOperations(plan, VARIANTS, Math.ceil((plan.points * 3) / 4), (at) => ({
      ...{ ends: 'killed', says: /^/, diskFault: { kind: 'stop', at } },
      run: killAtOperation,
    })),
  ],
  'disk-error': onDisk('broken', { ends: 'either', says: diskError, isDiskGood: false }),
  'disk-error-once': onDisk('broken', { ends: 'either', says: diskError, isDiskGood: false }, 1),
  'disk-slow': onDisk('slow', { ends: 'success', says: /^/ }, 15),
  // For what went through its cache, the kernel reports EIO at the next sync (fs/buffer.c).
  'disk-full': onDisk('full', {
    ...{ ends: 'either', says: /(ENOSPC: no space left on device|EIO: i\/o error, fsync)/, isDiskGood: false },
  }),
  'disk-removed': onDisk('removed', { ends: 'either', says: diskError, isDiskGood: false }),
  'net-cut': onImage((cutAfterBytes) => ({ ends: 'success', once: { cutAfterBytes } })),
  'net-reset': onImage((cutAfterBytes) => ({ ends: 'success', once: { cutAfterBytes, reset: true } })),
  'net-gone': onImage((cutAfterBytes, size) => ({
    ...{ ends: cutAfterBytes < size ? 'failure' : 'success', says: /socket hang up|the connection broke|ECONNRESET/ },
    ...{ once: { cutAfterBytes }, always: { cutBeforeHead: true } },
  })),
  'net-slow': onImage((afterBytes) => ({
    ...{ ends: 'success', once: { slow: { afterBytes, slowBytes: 1000, bytesPerSecond: 10_000 } } },
  })),
  'corrupt-byte': onImage((flipByteAt, size) => ({
    ...{ ends: flipByteAt < size ? 'failure' : 'success', says: badImage, always: { flipByteAt } },
  })),
  'length-short': onImage((announceBytes, size) => ({
    ...{ ends: announceBytes < size ? 'failure' : 'success', says: badImage, always: { announceBytes } },
  })),
  'length-long': onImage((byte, size) => ({
    ...{ ends: 'either', says: /the connection broke|416|ends after|size/, always: { announceBytes: size + 1 + byte } },
  })),
  'redirect-loop': (plan) => {
    const { version } = plan.machine.releaseFor('plain');
    const path = imagePath(plan.machine.releaseFor('plain'));
    const loop = (one: string): Fault => ({ redirectTo: one });
    const first = ['/current/version.txt', path, `${path}.sig`].map(
      (one): Cell => ({
        ...{
          point: one.replace(version, 'VERSION'),
          variant: 'plain',
          ends: 'failure',
          says: /more than \d+ redirects/,
        },
        arrange: ({ mirror }) => mirror.failAlways(one, loop(one)),
      }),
    );
    const later = onImage((cutAfterBytes, size) => ({
      ...{ ends: cutAfterBytes < size ? 'failure' : 'success', says: /more than \d+ redirects/ },
      ...{ once: { cutAfterBytes }, always: loop(path) },
    }))({ ...plan, points: plan.points - first.length });
    return [...first, ...later];
  },
  'no-range': onImage((cutAfterBytes) => ({
    ends: 'success',
    once: { cutAfterBytes },
    always: { ignoreRange: true },
  })),
  'proxy-truncates': (plan) =>
    onImage((endAfterBytes, size) => ({
      ...{ ends: endAfterBytes < size ? 'failure' : 'success', says: badImage },
      always: { endAfterBytes, hideLength: true },
    }))(plan).map((cell) => ({
      ...cell,
      run: (machine, variant) => machine.run(variant, { HTTP_PROXY: machine.mirror.url, NO_PROXY: '' }),
    })),
  'signature-swapped': signatureSwapped,
  'version-changed': versionChanged,
  'image-replaced': imageReplaced,
  'out-of-memory': ({ points }) =>
    Array.from({ length: points }, (_, index): Cell => {
      const limitMebibytes = Math.round(24 * (200 / 24) ** (index / Math.max(1, points - 1)));
      return {
        ...{ point: `${limitMebibytes} MiB`, variant: 'plain', ends: 'killed', says: /^Error: /m },
        run: (machine, variant) => runWithMemory(machine, variant, limitMebibytes * mebibyte),
      };
    }),
  'tmp-full': ({ points }) =>
    Array.from({ length: points }, (_, index): Cell => {
      const kibibytes = Math.round(4 * 40_000 ** (index / Math.max(1, points - 1)));
      return {
        ...{ point: `${kibibytes} KiB`, variant: 'config', ends: 'either' },
        says: /ENOSPC|No space left|set TMPDIR to a directory/i,
        run: (machine, variant) => withTemporary(machine, `size=${kibibytes}k`, () => machine.run(variant)),
      };
    }),
  'tmp-read-only': (plan) => [
    {
      ...{ point: 'begin', variant: 'config', ends: 'failure', says: /EROFS|[Rr]ead-only/ },
      run: (machine, variant) => withTemporary(machine, 'ro', () => machine.run(variant)),
    },
    ...atOperations(plan, ['config'], plan.points - 1, (at) => ({
      ...{ ends: 'either', says: /EROFS|[Rr]ead-only/, diskFault: { kind: 'stop', at } },
      run: (machine, variant) =>
        withTemporary(machine, 'rw', async (directory) => {
          const running = machine.run(variant);
          await Promise.race([machine.disks.stopped, running]);
          await execa('mount', ['-o', 'remount,ro', directory], { reject: false }); // EBUSY while a file is written
          machine.disks.repair();
          return await running;
        }),
    })),
  ],
};

/** Words for an image that is not the one that was signed. */
const badImage = /damaged|signature|incomplete|ends|truncated|bzip2|no bytes|not a disk image/i;

type CellParts = Omit<Cell, 'point' | 'variant'>;

/** A fault at operations of the disk, in each variant. */
function onDisk(kind: DiskFaultKind, parts: CellParts, size?: number): Cells {
  return (plan) =>
    atOperations(plan, VARIANTS, plan.points, (at) => ({
      ...parts,
      diskFault: { kind, at, ...(size !== undefined && { size }) },
    }));
}

/** The first and the last operations of each variant, and others by chance. */
function atOperations(
  { learned, random }: Plan,
  variants: readonly Variant[],
  count: number,
  partsOf: (at: number) => CellParts,
): readonly Cell[] {
  const all = variants.map((variant) => {
    const operations = learned.get(variant)?.operations ?? 0;
    const numbers = Array.from({ length: operations }, (_, number) => number);
    const isEnd = (number: number) => number < 3 || number >= operations - 8;
    const others = numbers.filter((number) => !isEnd(number)).sort(() => random() - 0.5);
    return [...numbers.filter(isEnd).sort(() => random() - 0.5), ...others].map((at) => ({ variant, at }));
  });
  const cells: Cell[] = [];
  for (let index = 0; cells.length < count && all.some((list) => index < list.length); index++) {
    for (const list of all) {
      const one = list[index];
      if (one === undefined || cells.length >= count) continue;
      cells.push({ ...partsOf(one.at), point: `operation ${one.at} of the disk`, variant: one.variant });
    }
  }
  return cells;
}

interface ImageFault {
  readonly ends: Cell['ends'];
  readonly says?: RegExp;
  /** Of the first request for the image. */
  readonly once?: Fault;
  /** Of all others. */
  readonly always?: Fault;
}

/** A fault at bytes of the download. */
function onImage(faultOf: (byte: number, sizeBytes: number) => ImageFault): Cells {
  return (plan) =>
    atBytes(plan, 'plain', plan.points, (byte, size) => {
      const { ends, says = /^/, once, always } = faultOf(byte, size);
      return {
        ...{ ends, says },
        arrange({ mirror, releaseFor }) {
          const path = imagePath(releaseFor('plain'));
          if (once !== undefined) mirror.fail(path, once);
          if (always !== undefined) mirror.failAlways(path, always);
        },
      };
    });
}

/** The first and last bytes, those around each MiB, and others by chance. */
function atBytes(
  { machine, random }: Plan,
  variant: Variant,
  count: number,
  partsOf: (byte: number, sizeBytes: number) => CellParts,
): readonly Cell[] {
  const size = machine.releaseFor(variant).compressed.length;
  const ends = [0, size - 1, mebibyte - 1, mebibyte, 1, size, size - 2, mebibyte + 1, 3, 4, 10, 4095, 4096, size - 10];
  const bytes = new Set(ends.slice(0, count));
  while (bytes.size < count) bytes.add(Math.floor(random() * size));
  return [...bytes].map((byte) => ({ ...partsOf(byte, size), point: `byte ${byte} of ${size}`, variant }));
}

/** Before it is read it is another one, cut or damaged; or it is replaced as the image arrives. */
function signatureSwapped(plan: Plan): readonly Cell[] {
  const half = Math.floor(plan.points / 2);
  const before = Array.from({ length: half }, (_, index): Cell => {
    const { signature } = plan.machine.releaseFor('plain');
    const at = Math.floor(plan.random() * signature.length);
    const damaged = Buffer.from(signature);
    damaged[at] = (damaged[at] ?? 0) ^ (1 << Math.floor(plan.random() * 8));
    const [what, bytes] = [
      ['that of another image', plan.machine.nextRelease.signature],
      [`cut after ${at} bytes`, signature.subarray(0, at)],
      [`byte ${at} damaged`, damaged],
    ][index % 3] as [string, Buffer];
    return {
      ...{ point: `before it is read: ${what}`, variant: 'plain', ends: 'failure', says: /signature/i },
      arrange: ({ mirror, releaseFor }) => mirror.put(`${imagePath(releaseFor('plain'))}.sig`, bytes),
    };
  });
  // The signature is requested when the image begins to arrive: it may be the first or the second.
  const later = atBytes(plan, 'plain', plan.points - half, (cutAfterBytes) => ({
    ...{ ends: 'either', says: /signature/ },
    arrange: ({ mirror, releaseFor, nextRelease }) => {
      const path = imagePath(releaseFor('plain'));
      const afterwards = () => mirror.put(`${path}.sig`, nextRelease.signature);
      mirror.fail(path, { cutAfterBytes, afterwards });
    },
  }));
  return [...before, ...later];
}

/** Another release becomes the current one, and the one that was current may be removed. */
function versionChanged(plan: Plan): readonly Cell[] {
  const change = ({ mirror, releaseFor, nextRelease }: Machine, isRemoved: boolean) => {
    publish(mirror, nextRelease);
    if (!isRemoved) return;
    mirror.remove(imagePath(releaseFor('plain')));
    mirror.remove(`${imagePath(releaseFor('plain'))}.sig`);
  };
  const first = [true, false].map(
    (isRemoved): Cell => ({
      ...{ point: `after version.txt${isRemoved ? ', the other removed' : ''}`, variant: 'plain' },
      ...{ ends: isRemoved ? 'failure' : 'success', says: /HTTP status 404/ },
      arrange: (machine) =>
        machine.mirror.fail('/current/version.txt', { afterwards: () => change(machine, isRemoved) }),
    }),
  );
  const later = atBytes(plan, 'plain', plan.points - first.length, (cutAfterBytes, size) => {
    const isRemoved = cutAfterBytes % 2 === 0;
    // A signature that is removed after the whole image has come matters only if it was not read.
    const removed = cutAfterBytes < size ? 'failure' : 'either';
    return {
      ...{ ends: isRemoved ? removed : 'success', says: /HTTP status 404/ },
      arrange: (machine: Machine) =>
        machine.mirror.fail(imagePath(machine.releaseFor('plain')), {
          ...{ cutAfterBytes, afterwards: () => change(machine, isRemoved) },
        }),
    };
  });
  return [...first, ...later];
}

/**
 * The file of the image and its signature are replaced while it is read: the other one is
 * installed. What has come as a whole is not read again; its signature may be the other one.
 */
function imageReplaced(plan: Plan): readonly Cell[] {
  const expected = plan.learned.get('plain')?.expected;
  if (expected === undefined) throw new Error('nothing was learned of an installation without faults');
  const installed = expected.initial.slice();
  installed.set(plan.machine.nextRelease.raw);
  installed.fill(0, installed.length - mebibyte);
  return atBytes(plan, 'plain', plan.points, (cutAfterBytes, size) => ({
    ends: cutAfterBytes < size ? 'success' : 'either',
    says: /signature/,
    ...(cutAfterBytes < size && { expected: { ...expected, installed } }),
    arrange: ({ mirror, releaseFor, nextRelease }) => {
      const path = imagePath(releaseFor('plain'));
      const afterwards = () => {
        mirror.put(path, nextRelease.compressed);
        mirror.put(`${path}.sig`, nextRelease.signature);
      };
      mirror.fail(path, { cutAfterBytes, afterwards });
    },
  }));
}

/** With a file system of its own for temporary files. */
async function withTemporary(
  { temporary }: Machine,
  options: string,
  action: (directory: string) => Promise<Ended>,
): Promise<Ended> {
  const directory = await mkdtemp(join(temporary, 'small-'));
  await execa('mount', ['-t', 'tmpfs', '-o', options, 'nibs-torture', directory]);
  const before = process.env['TMPDIR'];
  process.env['TMPDIR'] = directory;
  try {
    return await action(directory);
  } finally {
    if (before === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = before;
    await execa('umount', ['--recursive', directory]);
  }
}
