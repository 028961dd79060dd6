import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { access, mkdir, mkdtemp, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { parseTable } from '../../installer/disk/gpt.ts';
import { type FakeTools, makeFakeTools } from '../sandbox/fake-tools.ts';
import { createLoopDevice, type LoopDevice } from '../sandbox/loop-device.ts';
import { type Fault, startMirror } from '../sandbox/mirror.ts';
import { imageFile, makeSignedRelease, publish, type SignedRelease } from '../sandbox/signed-release.ts';
import { attachedLoops } from './attached-loops.ts';
import { installerProgram, readOemFile, startInstaller } from './run.ts';

const mebibyte = 1024 * 1024;
const dataBytes = 8 * mebibyte;
const ignitionConfig = '{"ignition":{"version":"3.3.0"}}';

/** A failure is repeated by giving its seed. */
const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));

let release: SignedRelease;
let configPath: string;
before(async () => {
  release = await makeSignedRelease();
  configPath = join(release.directory, 'config.ign');
  await writeFile(configPath, ignitionConfig);
});
after(async () => {
  await release[Symbol.asyncDispose]();
});

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function randomFrom(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What a disk can be after an interruption; anything else is a mistake. */
type OrderlyState = 'as it was' | 'no table' | 'only the saved partition' | 'installed';

/**
 * A killed installer can also leave the image's table as the backup alone. It is written when all
 * of the image is on the disk, verified and configured: firmware that boots from a backup boots a
 * whole system.
 */
type State = OrderlyState | 'the backup of the table written';

interface UsedDisk extends AsyncDisposable {
  readonly path: string;
  /** Also checks that `data` has what it had, as long as the table has it. */
  state(): Promise<State>;
  /**
   * Whether its first partition is gone. Unlike `state`, to be asked while the disk is written to,
   * when a table may be there in part.
   */
  hasChanged(): Promise<boolean>;
}

/** Of an earlier system, with a partition `data` behind where the image will be. */
async function makeUsedDisk(): Promise<UsedDisk> {
  const loop: LoopDevice = await createLoopDevice({ sizeBytes: release.imageBytes + 32 * mebibyte });
  const [first, length] = [release.imageBytes / 512, dataBytes / 512];
  await execa('sgdisk', [
    ...['--new', '1:2048:+4M', '--change-name', '1:system'],
    ...['--new', `12:${first}:${first + length - 1}`, '--change-name', '12:data', loop.path],
  ]);
  await using device = await open(loop.path, 'r+');
  const data = randomBytes(dataBytes);
  await device.write(data, 0, dataBytes, release.imageBytes);
  await device.sync();
  const digestOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  return {
    path: loop.path,
    async hasChanged() {
      await using device = await open(loop.path);
      const { buffer } = await device.read(Buffer.alloc(mebibyte), 0, mebibyte, 0);
      return !buffer.includes(Buffer.from('system', 'utf16le'));
    },
    async state() {
      await using device = await open(loop.path);
      const read = async (offset: number, length: number) =>
        (await device.read(Buffer.alloc(length), 0, length, offset)).buffer;
      const head = await read(0, mebibyte);
      const labels = parseTable(head, loop.path)?.partitions.map(({ label }) => label);
      const tail = await read(loop.sizeBytes - mebibyte, mebibyte);
      const isInBackup = tail.includes(Buffer.from('USR-A', 'utf16le'));
      if (labels === undefined) {
        if (isInBackup && !head.some((byte) => byte !== 0)) return 'the backup of the table written';
        assert.ok(!Buffer.concat([head, tail]).some((byte) => byte !== 0), 'nothing is left of a table at either end');
        return 'no table';
      }
      if (labels.includes('data')) assert.equal(digestOf(await read(release.imageBytes, dataBytes)), digestOf(data));
      if (labels.includes('USR-A')) return 'installed';
      if (labels.join() === 'data' && isInBackup) return 'the backup of the table written';
      assert.match((await execa('sgdisk', ['--verify', loop.path])).stdout, /No problems found/);
      if (labels.join() === 'data') return 'only the saved partition';
      assert.deepEqual(labels, ['system', 'data']);
      return 'as it was';
    },
    [Symbol.asyncDispose]: () => loop[Symbol.asyncDispose](),
  };
}

const says: Readonly<Record<OrderlyState, RegExp>> = {
  'as it was': /^Error: cannot finish this run: interrupted by SIG\w+ \(no disk was changed\)$/m,
  'no table': /^Error: .+: it was interrupted; the disk was left without a partition table and will not boot$/m,
  'only the saved partition':
    /^Error: .+: it was interrupted; the disk was left with only the saved partitions and will not boot$/m,
  installed: /^$/,
};

interface Run {
  readonly disk: UsedDisk;
  /** Directory for temporary files of this run alone. */
  readonly temporary: string;
  readonly child: ReturnType<typeof startInstaller>;
}

interface Way {
  readonly saving: boolean;
  readonly fault?: { readonly path: string; readonly fault: Fault } | undefined;
  readonly tools?: FakeTools | undefined;
}

/** At this call, it makes a file `reached`, and goes on when there is a file `go`. */
function makeStallingTool(tool: string, call: number): Promise<FakeTools> {
  const script = `echo >>"$DIR/count"; if [ "$(wc -l <"$DIR/count")" = ${call} ]; then touch "$DIR/reached"; while [ ! -e "$DIR/go" ]; do sleep 0.05; done; fi; exec ${tool} "$@"`;
  return makeFakeTools({ [tool]: script });
}

/** Starts an installation and hands it to `action`, which interrupts it. */
async function during<Result>(way: Way, action: (run: Run) => Promise<Result>): Promise<Result> {
  await using mirror = await startMirror();
  publish(mirror, release);
  if (way.fault !== undefined) mirror.fail(way.fault.path, way.fault.fault);
  await using disk = await makeUsedDisk();
  const temporary = await mkdtemp(join(release.directory, 'tmp-'));
  await mkdir(temporary, { recursive: true });
  const env = { TMPDIR: temporary, ...(way.tools === undefined ? {} : { PATH: way.tools.path }) };
  const child = startInstaller(
    [
      ...['-d', disk.path, '-b', mirror.url, '-k', release.keyPath, '-i', configPath],
      ...(way.saving ? ['--save-partlabel', 'data'] : []),
    ],
    env,
  );
  try {
    return await action({ disk, temporary, child });
  } finally {
    child.kill('SIGKILL');
    await child;
  }
}

/**
 * Nothing of the run is left on the machine: temporary files, mounts, loop devices on top of the
 * disk.
 */
async function assertNothingLeft({ disk, temporary }: Run): Promise<void> {
  assert.deepEqual(await readdir(temporary), [], 'temporary files');
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  assert.deepEqual(
    mounts.filter((line) => line.includes(temporary) || line.includes(`${disk.path} `)),
    [],
    'mounts',
  );
  assert.deepEqual(await attachedLoops(disk.path), [], 'loop devices');
}

/** What a killed run had mounted stays: no process was left to clean up. */
async function unmountLeft({ temporary }: Run): Promise<void> {
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').map((line) => line.split(' ')[4] ?? '');
  for (const mount of mounts.filter((path) => path.startsWith(temporary)).reverse()) await execa('umount', [mount]);
}

/**
 * Waits for the end; the disk is in one of the states there are, and the program has said in which.
 */
async function assertOrderly(run: Run, context: string): Promise<OrderlyState> {
  const { exitCode, stderr, stdout } = await run.child;
  const state = await run.disk.state();
  if (state === 'the backup of the table written') assert.fail(`${context}: ${state}`);
  if (state === 'installed') {
    assert.deepEqual([exitCode, stdout.includes('Success!')], [0, true], `${context}: ${stderr}`);
    assert.equal(await readOemFile(run.disk, 'config.ign'), ignitionConfig);
  } else {
    assert.deepEqual([exitCode, stdout], [1, ''], context);
    assert.match(stderr, says[state], context);
  }
  await assertNothingLeft(run);
  return state;
}

/** Waits until `condition` holds; the child's end before that is a failure. */
async function until(condition: () => Promise<boolean>, child: PromiseLike<{ stderr: string }>): Promise<void> {
  const ended = Promise.resolve(child).then(({ stderr }) =>
    assert.fail(`it ended before it was interrupted: ${stderr}`),
  );
  const held = (async () => {
    while (!(await condition())) await sleep(20);
  })();
  await Promise.race([held, ended]);
  ended.catch(() => {});
}

const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

for (const saving of [false, true]) {
  const left: State = saving ? 'only the saved partition' : 'no table';
  const withSaving = saving ? ', with a partition to save' : '';

  for (const [moment, path, stallAfterBytes, expected] of [
    ['it asks for the version', '/current/version.txt', 10, ['as it was']],
    ['it asks for the signature', `${imageFile}.sig`, 10, ['as it was']],
    ['the first bytes arrive', imageFile, 1000, ['as it was']],
    ['the image arrives', imageFile, 14_000_000, [left]],
    ['it waits for the last byte before the verdict', imageFile, -1, [left]],
  ] as const) {
    test(`flatcar-install is interrupted while ${moment}${withSaving}`, async () => {
      const stalled = Promise.withResolvers<void>();
      let isStalled = false;
      stalled.promise.then(() => {
        isStalled = true;
      });
      const bytes = stallAfterBytes < 0 ? release.compressed.length - 1 : stallAfterBytes;
      const fault = { stallAfterBytes: bytes, afterwards: stalled.resolve };
      await during({ saving, fault: { path, fault } }, async (run) => {
        await until(async () => isStalled, run.child);
        if (!(expected as readonly State[]).includes('as it was')) await until(run.disk.hasChanged, run.child);
        run.child.kill('SIGINT');
        // A person presses Ctrl-C more than once.
        run.child.kill('SIGINT');
        run.child.kill('SIGTERM');
        assert.ok((expected as readonly State[]).includes(await assertOrderly(run, moment)));
      });
    });
  }

  // Each stops halfway at one of its calls, until it may go on: the moment of the interruption. The
  // first calls are those of the rehearsal, which does not touch the disk.
  for (const [tool, ofRehearsal, isUsedLater] of [
    ['losetup', 2, false],
    ['mount', 2, true],
    ['umount', 2, true],
    ['fallocate', 0, true],
  ] as const) {
    const calls = [1, ofRehearsal, ofRehearsal + Number(isUsedLater)];
    for (const call of new Set(calls.filter((number) => number > 0))) {
      const expected = call <= ofRehearsal ? 'as it was' : left;
      test(`flatcar-install is interrupted while ${tool} runs for the ${call}. time${withSaving}`, async () => {
        await using tools = await makeStallingTool(tool, call);
        await during({ saving, tools }, async (run) => {
          await until(() => exists(join(tools.directory, 'reached')), run.child);
          run.child.kill('SIGTERM');
          await writeFile(join(tools.directory, 'go'), '');
          assert.equal(await assertOrderly(run, tool), expected);
        });
      });
    }
  }
}

test('flatcar-install -D leaves no file when it is interrupted', async () => {
  await using mirror = await startMirror();
  publish(mirror, release);
  const stalled = Promise.withResolvers<void>();
  mirror.fail(imageFile, { stallAfterBytes: 14_000_000, afterwards: stalled.resolve });
  const directory = await mkdtemp(join(release.directory, 'download-'));
  const args = ['-D', '-b', mirror.url, '-k', release.keyPath];
  const child = startInstaller(args, {}, directory);
  const ended = child.then(({ stderr }) => assert.fail(`it ended before it was interrupted: ${stderr}`));
  await Promise.race([stalled.promise, ended]);
  ended.catch(() => {});
  await until(async () => (await readdir(directory)).length > 0, child);
  child.kill('SIGINT');
  const { exitCode, stderr } = await child;
  assert.equal(exitCode, 1);
  assert.match(stderr, says['as it was']);
  assert.deepEqual(await readdir(directory), []);
});

test('flatcar-install that has ended is not killed by a signal that comes late', async () => {
  const lateSignals = `
    import { main } from '${import.meta.resolve('../../installer/main.ts')}';
    process.exitCode = await main(['-d', '/dev/no-such-disk'], {});
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.kill(process.pid, name);
  `;
  const child = execa(process.execPath, ['--input-type=module', '--eval', lateSignals], { reject: false });
  const { exitCode, signal, stderr } = await child;
  assert.deepEqual([exitCode, signal], [1, undefined], stderr);
  assert.match(stderr, /^Error: .*\/dev\/no-such-disk/m);
});

/** Whether the kernel detaches it after the last use. Source: sysfs-block-loop of Linux. */
async function endsByItself(loop: string): Promise<boolean> {
  return (await readFile(`/sys/class/block/${basename(loop)}/loop/autoclear`, 'utf8')).trim() === '1';
}

test('flatcar-install that is killed with its container leaves the disk free for the next run', async () => {
  await using mirror = await startMirror();
  publish(mirror, release);
  await using disk = await makeUsedDisk();
  // The configuration is written, and still mounted: the third time, after those of the rehearsal.
  await using tools = await makeStallingTool('umount', 3);
  const args = ['-d', disk.path, '-b', mirror.url, '-k', release.keyPath, '-i', configPath];
  // Its mounts end with the container, without umount(8).
  const container = execa(
    'unshare',
    ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc', process.execPath, ...installerProgram, ...args],
    { reject: false, env: { PATH: tools.path } },
  );
  await until(() => exists(join(tools.directory, 'reached')), container);
  const loops = await attachedLoops(disk.path);
  assert.equal(loops.length, 1);
  assert.ok((await Promise.all(loops.map(endsByItself))).every(Boolean), 'detached by the kernel');
  container.kill('SIGKILL');
  await container;
  while ((await attachedLoops(disk.path)).length > 0) await sleep(20);
  const again = await startInstaller(args);
  assert.equal(again.exitCode, 0, again.stderr);
  assert.equal(await disk.state(), 'installed');
});

/** How long an undisturbed run takes on this machine. */
async function measureRun(): Promise<number> {
  const begin = performance.now();
  await during({ saving: true }, async (run) => {
    const { exitCode, stderr } = await run.child;
    assert.equal(exitCode, 0, stderr);
  });
  return performance.now() - begin;
}

test(`flatcar-install is interrupted at any moment (SEED=${seed})`, async () => {
  const random = randomFrom(seed);
  const longest = await measureRun();
  for (let round = 0; round < 5; round++) {
    const [saving, delay] = [random() < 0.5, Math.round(random() * longest)];
    const context = `round ${round}, after ${delay} ms${saving ? ', saving' : ''}`;
    await during({ saving }, async (run) => {
      await Promise.race([sleep(delay), run.child]);
      // Before it listens for signals it has not looked at a disk.
      const listening = run.child.kill('SIGTERM');
      const { signal } = await run.child;
      if (signal === undefined || !listening) await assertOrderly(run, context);
      else assert.deepEqual([signal, await run.disk.state()], ['SIGTERM', 'as it was'], context);
    });
  }
});

test(`flatcar-install is killed at any moment: the disk boots all or nothing (SEED=${seed})`, async () => {
  const random = randomFrom(seed + 1);
  const longest = await measureRun();
  for (let round = 0; round < 4; round++) {
    const [saving, delay] = [round % 2 === 0, Math.round(random() * longest)];
    const context = `round ${round}, after ${delay} ms`;
    await during({ saving }, async (run) => {
      await Promise.race([sleep(delay), run.child]);
      run.child.kill('SIGKILL');
      await run.child;
      await unmountLeft(run);
      const state = await run.disk.state();
      const changed: readonly State[] = ['installed', 'the backup of the table written'];
      const possible = ['as it was', saving ? 'only the saved partition' : 'no table', ...changed];
      assert.ok(possible.includes(state), `${context}: ${state}`);
      if (changed.includes(state)) assert.equal(await readOemFile(run.disk, 'config.ign'), ignitionConfig, context);
    });
  }
});
