import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../../../clock/clock.ts';
import { systemClock } from '../../../clock/system.ts';
import { engineKinds, type RuntimeFixture, shell, startFixtureOf } from './runtime-fixture.ts';

const never = new AbortController().signal;

for (const kind of engineKinds)
  describe(kind, () => {
    let fixture: RuntimeFixture;
    before(async () => {
      fixture = await startFixtureOf(kind);
    });
    after(() => fixture[Symbol.asyncDispose]());

    /** Runs a script and counts its output; the lines are not kept. */
    async function measure(script: string) {
      let bytes = 0;
      let lines = 0;
      let longest = 0;
      let peakRss = 0;
      const runtime = fixture.createRuntime({
        onEvent(event) {
          if (event.kind !== 'output') return;
          bytes += Buffer.byteLength(event.line);
          if (!event.continues) lines += 1;
          longest = Math.max(longest, event.line.length);
          if (lines % 1000 === 0) peakRss = Math.max(peakRss, process.memoryUsage.rss());
        },
      });
      // What the first run loads for good is not growth.
      await runtime.run(shell('echo warm'), never);
      [bytes, lines, peakRss] = [0, 0, 0];
      const rssBefore = process.memoryUsage.rss();
      const outcome = await runtime.run(shell(script, { timeoutSeconds: 300 }), never);
      peakRss = Math.max(peakRss, process.memoryUsage.rss());
      return { outcome, bytes, lines, longest, growthBytes: peakRss - rssBefore };
    }

    test('200 MB of output arrive completely and keep the memory flat', async () => {
      const line = 'x'.repeat(199);
      const { outcome, bytes, lines, growthBytes } = await measure(
        `yes ${line} | head -n 1000000; echo the end; exit 3`,
      );
      assert.equal(outcome.message, `exit code 3: the end | before that: ${Array(4).fill(line).join(' | ')}`);
      assert.equal(lines, 1_000_001);
      assert.equal(bytes, 199_000_007);
      assert.ok(growthBytes < 80_000_000, `the memory grew by ${growthBytes} bytes`);
    });

    test('what is left of the output at the exit waits for a slow reader too', async () => {
      let lines = 0;
      let isBusy = false;
      // On a busy machine the reader may need longer than the runtime waits for it.
      const schedule: Clock['schedule'] = (seconds, callback) => systemClock.schedule(seconds * 60, callback);
      const runtime = fixture.createRuntime({
        clock: { ...systemClock, schedule },
        async onEvent(event) {
          if (event.kind !== 'output') return;
          assert.equal(isBusy, false, `the reader was still busy when line ${lines} came`);
          isBusy = true;
          lines += 1;
          await delay(5);
          isBusy = false;
        },
      });
      const outcome = await runtime.run(shell('seq 300'), never);
      assert.equal(outcome.verdict, 'SUCCESS', outcome.message);
      assert.equal(lines, 300);
    });

    test('a line of 50 MB arrives completely, in pieces, and keeps the memory flat', async () => {
      const { outcome, bytes, lines, longest, growthBytes } = await measure(
        'head -c 50000000 /dev/zero | tr "\\0" y; echo; echo the end',
      );
      assert.equal(outcome.verdict, 'SUCCESS', outcome.message);
      assert.equal(lines, 2);
      assert.equal(bytes, 50_000_007);
      assert.equal(longest, 16_384);
      assert.ok(growthBytes < 80_000_000, `the memory grew by ${growthBytes} bytes`);
    });
  });
