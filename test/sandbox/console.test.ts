import { deepEqual, equal, rejects } from 'node:assert/strict';
import { test } from 'node:test';
import { SerialConsole } from './console.ts';

const soon = { timeoutSeconds: 10 };

test('waitForLine() finds a line that is there already, and one that comes in pieces', async () => {
  const console = new SerialConsole();
  console.feed(Buffer.from('first\r\nsec'));
  equal((await console.waitForLine(/^first$/, soon)).index, 0);
  const second = console.waitForLine(/^sec/, soon);
  console.feed(Buffer.from('ond\n'));
  equal((await second).text, 'second');
});

test('waitForLine() with `after` looks only at what came later, as after a reboot', async () => {
  const console = new SerialConsole();
  console.feed(Buffer.from('boot 1\n'));
  const first = await console.waitForLine(/boot/, soon);
  const next = console.waitForLine(/boot/, { ...soon, after: first });
  console.feed(Buffer.from('boot 2\n'));
  equal((await next).text, 'boot 2');
});

test('waitForPrompt() finds a line that has no end', async () => {
  const console = new SerialConsole();
  console.feed(Buffer.from('welcome\nlogin: '));
  deepEqual((await console.waitForPrompt(/login: $/, soon)).index, 1);
});

test('the console gives text without control sequences and without what was overwritten', () => {
  const console = new SerialConsole();
  console.feed(Buffer.from('\u001bc\u001b[2J\u001b[1;31mred\u001b[0m\r\n10 %\r20 %\r\n'));
  deepEqual(
    console.lines.map(({ text }) => text),
    ['red', '20 %'],
  );
});

test('a wait ends with the reason and the last lines when the machine ends, the time is over, or the caller says so', async () => {
  const console = new SerialConsole();
  console.feed(Buffer.from('Kernel panic\n'));
  await rejects(
    console.waitForLine(/login/, { timeoutSeconds: 0.01 }),
    /nothing like it for 0.01 s.*\n {2}Kernel panic/,
  );
  const caller = new AbortController();
  const cancelled = console.waitForLine(/login/, { ...soon, signal: caller.signal });
  caller.abort(new Error('no longer wanted'));
  await rejects(cancelled, /no longer wanted/);
  const waiting = console.waitForLine(/login/, soon);
  console.end('machine m ended with code 1');
  await rejects(waiting, /machine m ended with code 1.*\n {2}Kernel panic/);
});
