import assert from 'node:assert/strict';
import { mkdtempDisposable, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';

/** A test that prints its process ID and does not end. */
const endless = `
  import { test } from 'node:test';
  test('endless', async () => {
    console.log('pid', process.pid);
    await new Promise((resolve) => setTimeout(resolve, 3_600_000));
  });
`;

/** Runs that test, and calls `onStarted` when it has printed its process ID. */
async function runEndless(directory: string, onStarted: (runner: number, child: number) => void) {
  const file = join(directory, 'endless.test.mjs');
  await writeFile(file, endless);
  const runner = execa(process.execPath, [join(import.meta.dirname, 'run.ts'), file], {
    // Without the variable by which Node's runner finds that it runs in a test.
    env: { TMPDIR: directory, NODE_TEST_CONTEXT: undefined },
    ...{ all: true, reject: false },
  });
  let child: number | undefined;
  for await (const line of runner.iterable({ from: 'all' })) {
    const [, pid] = /^pid (\d+)$/.exec(line) ?? [];
    if (pid === undefined || runner.pid === undefined) continue;
    child = Number(pid);
    onStarted(runner.pid, child);
  }
  assert.ok(child !== undefined, (await runner).all);
  return { ...(await runner), child, left: (await readdir(directory)).filter((name) => name.startsWith('nibs-')) };
}

test('run.ts ends the processes of its tests when it is interrupted, and leaves no files', async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'run-'));
  const { exitCode, all, child, left } = await runEndless(directory.path, (runner) => process.kill(runner, 'SIGINT'));
  assert.equal(exitCode, 130);
  assert.match(all, /interrupted by SIGINT/);
  assert.throws(() => process.kill(child, 0), { code: 'ESRCH' });
  assert.deepEqual(left, []);
});

test('run.ts reports a test whose process was killed before it could report its processor time', async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'run-'));
  const { exitCode, all, left } = await runEndless(directory.path, (_, child) => process.kill(child, 'SIGINT'));
  assert.equal(exitCode, 1);
  assert.match(all, /✖ .*endless\.test\.mjs/);
  assert.doesNotMatch(all, /ENOENT/);
  assert.deepEqual(left, []);
});
