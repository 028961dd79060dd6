import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ExitInfo } from '../../../agent/runtime/container.ts';
import { messageOf, verdictOf } from '../../../agent/runtime/outcome.ts';

const success: ExitInfo = {
  exitCode: 0,
  outOfMemory: false,
  timedOut: false,
  engineError: '',
  endedAt: new Date(),
  startedAt: new Date(),
  engineWasAway: false,
  lastLines: ['one', 'two', 'three'],
};

test('only exit code 0 within the limit is success', () => {
  assert.equal(verdictOf(success), 'SUCCESS');
  assert.equal(verdictOf({ ...success, exitCode: 1 }), 'FAILED');
  assert.equal(verdictOf({ ...success, timedOut: true }), 'TIMEOUT');
  assert.equal(verdictOf({ ...success, timedOut: true, exitCode: 137 }), 'TIMEOUT');
});

test('the message begins with what matters most', () => {
  const message = (rest: Partial<ExitInfo>) => messageOf({ ...success, ...rest }, 30);
  assert.equal(message({}), 'finished successfully');
  assert.equal(message({ exitCode: 3 }), 'exit code 3: three | before that: one | two');
  assert.equal(message({ exitCode: 1, lastLines: [] }), 'exit code 1: no output');
  assert.equal(message({ exitCode: 139, lastLines: ['x'] }), 'ended by SIGSEGV (exit code 139): x');
  assert.equal(message({ exitCode: 255, lastLines: ['x'] }), 'exit code 255: x');
  assert.equal(message({ exitCode: 137, outOfMemory: true, lastLines: ['x'] }), 'out of memory (exit code 137): x');
  assert.equal(message({ exitCode: 137, timedOut: true, lastLines: ['x'] }), 'timed out after 30 s: x');
  assert.equal(
    message({ exitCode: 255, engineWasAway: true, lastLines: ['x'] }),
    'exit code 255, or lost (containerd 1.7 and newer do not keep the exit code of a container that ends while containerd is down), the container engine was unavailable meanwhile: x',
  );
  assert.equal(
    message({ exitCode: 3, engineWasAway: true, lastLines: ['x'] }),
    'exit code 3, the container engine was unavailable meanwhile: x',
  );
  assert.equal(
    message({
      exitCode: 128,
      engineError: 'no space left on device',
      lastLines: ['x'],
    }),
    'exit code 128, engine error: no space left on device: x',
  );
});

test('the message has at most a kibibyte of output, the newest', () => {
  const lastLines = ['1', '2', '3', '4', '5'].map((digit) => digit.repeat(300));
  const message = messageOf({ ...success, exitCode: 1, lastLines }, 30);
  assert.equal(message, `exit code 1: ${lastLines[4]} | before that: ${lastLines[2]} | ${lastLines[3]}`);
});
