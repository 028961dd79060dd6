import assert from 'node:assert/strict';
import type { Readable } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startAgentProcess } from './agent-process.ts';

test('the end of a program waits for a slow reader of its output', async () => {
  let bytes = 0;
  async function readSlowly(stdout: Readable): Promise<void> {
    for await (const chunk of stdout) {
      await delay(50);
      bytes += chunk.length;
    }
  }
  const command = ['sh', '-c', 'head --bytes=200000 /dev/zero'];
  await using program = startAgentProcess({ command, read: readSlowly });
  assert.equal(await program.end('SIGCONT'), 0);
  assert.equal(bytes, 200_000);
});
