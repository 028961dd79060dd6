/**
 * Installations with faults, a few points of each kind: `make torture SECTION=installer` takes all
 * faults, and many points. Needs root, /dev/fuse and loop devices.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Bench, createBench, runFault } from './installer/matrix.ts';

const seed = Number(process.env['SEED'] ?? 1);

let bench: Bench;
before(async () => {
  bench = await createBench(seed, ['plain', 'exact', 'save']);
});
after(async () => {
  await bench[Symbol.asyncDispose]();
});

test('a disk whose power is lost at any operation holds the whole image, or nothing that boots', async (test) => {
  const { violations, states } = await runFault(bench, 'power-lost', { seed, points: 45, losses: 6 });
  test.diagnostic([...states].map(([state, count]) => `${state}: ${count}`).join(', '));
  assert.deepEqual(violations, []);
  // Else it would prove nothing.
  for (const state of ['being cleared', 'no table', 'only the kept partition', 'being committed', 'installed'])
    assert.ok((states.get(state) ?? 0) > 0, `no disk was left as: ${state}`);
});

for (const [what, isNext] of [
  [
    'the image before the backup of its table',
    (offset: number, sizeBytes: number) => offset >= sizeBytes - 1024 * 1024,
  ],
  ['the rest of the first MiB before its first sector', (offset: number) => offset === 0],
] as const) {
  test(`the loss of power finds an installation that does not flush ${what}`, async () => {
    const recording = bench.recordings.get('exact');
    assert.ok(recording);
    const { sent, expected } = recording;
    const next = sent.findLastIndex((one) => one.kind === 'write' && isNext(one.offsetBytes, expected.initial.length));
    // Sometimes the kernel sends two in a row.
    const last = sent.findLastIndex(({ kind }, index) => kind === 'flush' && index < next);
    const before = sent.findLastIndex(({ kind }, index) => kind !== 'flush' && index < last);
    const changed = { ...recording, sent: sent.toSpliced(before + 1, last - before) };
    const counts = [next + 1 - (last - before)];
    const recordings = new Map([['exact', changed] as const]);
    const options = { seed, points: 1, counts, losses: 100 };
    const { violations } = await runFault({ ...bench, recordings }, 'power-lost', options);
    assert.match(violations[0] ?? 'nothing was found', /the disk: /);
  });
}

for (const fault of [
  'disk-error-once',
  'disk-removed',
  'net-cut',
  'corrupt-byte',
  'proxy-truncates',
  'image-replaced',
] as const) {
  test(`flatcar-install leaves a disk that boots all or nothing with the fault ${fault}`, async () => {
    const { violations } = await runFault(bench, fault, { seed, points: 2 });
    assert.deepEqual(violations, []);
  });
}
