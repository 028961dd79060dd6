import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
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
