/** More output than its reader takes: the agent as a program, with a real engine. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createProcessMachine } from '../sandbox/agent-under-test/process-machine.ts';
import { type SharedEngine, startSharedEngine } from '../sandbox/agent-under-test/shared-engine.ts';

let shared: SharedEngine;

before(async () => {
  shared = await startSharedEngine();
});

after(() => shared?.[Symbol.asyncDispose]());

test('100 MB of output for a slow reader: all of it arrives, and the memory stays flat', async (test) => {
  const machine = await createProcessMachine(test, shared);
  const words = 'x'.repeat(199);
  let lines = 0;
  let rest = '';
  /** Less than 60 MB a second: far less than the agent writes. */
  async function readSlowly(stdout: Readable): Promise<void> {
    for await (const chunk of stdout) {
      const text = rest + chunk;
      lines += text.split(words).length - 1;
      rest = text.slice(-words.length + 1);
      await delay(1);
    }
  }
  const agent = machine.start([], {}, readSlowly);
  const first = machine.createWorkflow([{ name: 'warm', script: 'echo warm' }]);
  await machine.reported(first, 'ACTION_SUCCESS', 'warm');
  const before = await residentBytes(agent.process.pid, 'VmRSS');
  const workflow = machine.createWorkflow([
    { name: 'loud', script: `yes ${words} | head -n 500000`, timeoutSeconds: 200 },
  ]);
  await machine.reported(workflow, 'ACTION_SUCCESS', 'loud');
  const growth = (await residentBytes(agent.process.pid, 'VmHWM')) - before;
  assert.equal(await agent.end('SIGTERM'), 0);
  assert.equal(lines, 500_000);
  assert.ok(growth < 64 * 2 ** 20, `the memory grew by ${growth} bytes`);
});

test('a reader that reads nothing: the end of the action is reported anyway, with its last lines, and the agent stops on SIGTERM', async (test) => {
  const machine = await createProcessMachine(test, shared);
  const agent = machine.start([], {}, () => {});
  const workflow = machine.createWorkflow([
    { name: 'loud', script: 'yes many words | head -n 200000; echo the end; exit 3' },
  ]);
  const message = await machine.reported(workflow, 'ACTION_FAILED', 'loud');
  assert.match(message, /^exit code 3: the end/);
  assert.equal(await agent.end('SIGTERM'), 0);
});

/** In bytes (proc_pid_status(5)). */
async function residentBytes(pid: number | undefined, field: 'VmRSS' | 'VmHWM'): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${field}:\\s*(\\d+) kB$`, 'm').exec(text)?.[1]) * 1024;
}
