import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { ActionName } from '../../../agent/runtime/event.ts';
import { createStatusBoard } from '../../../agent/status/board.ts';
import { drawScreen, openConsoleView } from '../../../agent/status/console-view.ts';

const action: ActionName = { workflowId: 'ns/w1', taskName: 'task', name: 'install', id: '1' };

function createBoard() {
  return createStatusBoard({
    machine: '08:00:27:00:00:01',
    hostName: 'machine',
    server: '192.168.1.1:42113',
    version: '1.2.3',
    redact: (text) => text.replaceAll('hunter22', '***'),
  });
}

async function makeConsole(test: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-console-'));
  test.after(() => rm(directory, { recursive: true }));
  const path = join(directory, 'ttyS0');
  await writeFile(path, '');
  return path;
}

test('drawScreen() shows who the machine is, what it does, how far it is, and the last lines', () => {
  const board = createBoard();
  board.observe({ kind: 'begun', action, image: 'installer', at: new Date('2026-03-04T05:06:07Z') });
  board.observeRuntime({ kind: 'pulling', action, image: 'installer' });
  board.observeRuntime({ kind: 'pull-progress', action, image: 'installer', doneBytes: 30e6, totalBytes: 120e6 });
  board.observe({ kind: 'trouble', message: `the registry is away, ${'and so on '.repeat(20)}` });
  const line = '\u001b[31mred\u001b[0m\u0007 hunter22';
  board.observeRuntime({ kind: 'output', action, role: 'action', stream: 'stdout', line, continues: false });

  const picture = drawScreen(board.current(), board.lastLines(), ['eth0 192.168.1.5']);
  const rows = picture.replaceAll('\u001b[K', '').split('\r\n');
  assert.equal(rows[0], '\u001b[Hnibs 1.2.3 on 08:00:27:00:00:01 (machine)');
  assert.ok(rows.includes('addresses  eth0 192.168.1.5'));
  assert.ok(rows.includes('server     192.168.1.1:42113'));
  assert.ok(rows.includes('workflow   ns/w1'));
  assert.ok(rows.includes('action     install: pulling since 05:06:07 UTC, 25 % of 120.0 MB'));
  assert.ok(rows.includes('[install] red  ***'), picture);
  assert.ok(rows.length <= 24);
  for (const row of rows) assert.ok(Array.from(row.replace('\u001b[H', '')).length < 80, row);
});

test('a serial console gets a line for each step, and none for progress', async (t) => {
  const path = await makeConsole(t);
  const board = createBoard();
  const steps: (() => void)[] = [
    () => board.observe({ kind: 'asked', answer: 'idle', reason: 'no workflow' }),
    () => board.observe({ kind: 'begun', action, image: 'installer', at: new Date('2026-03-04T05:06:07Z') }),
    () => board.observeRuntime({ kind: 'pulling', action, image: 'installer' }),
    () => board.observeRuntime({ kind: 'pull-progress', action, image: 'installer', doneBytes: 1, totalBytes: 2 }),
    () => board.observe({ kind: 'ended', action, verdict: 'SUCCESS', message: '', seconds: 1.26 }),
  ];
  for (const step of steps) {
    // Disposing draws what is still to be drawn.
    await using _ = await openConsoleView({ console: path, board, onTrouble: assert.fail });
    step();
  }
  const lines = (await readFile(path, 'utf8')).split('\r\n');
  assert.deepEqual(lines, [
    'nibs 08:00:27:00:00:01: idle: no workflow',
    'nibs 08:00:27:00:00:01: install: preparing since 05:06:07 UTC',
    'nibs 08:00:27:00:00:01: install: pulling since 05:06:07 UTC',
    // A view of its own for each step tells the state anew.
    'nibs 08:00:27:00:00:01: install: pulling since 05:06:07 UTC',
    'nibs 08:00:27:00:00:01: none; last: install: SUCCESS after 1.3 s',
    '',
  ]);
});

test('nothing is drawn again that has not changed', async (t) => {
  const path = await makeConsole(t);
  const board = createBoard();
  {
    await using _ = await openConsoleView({ console: path, board, onTrouble: assert.fail });
    const { promise: drawn, resolve } = Promise.withResolvers<void>();
    const timer = setInterval(async () => {
      if ((await readFile(path, 'utf8')) !== '') resolve();
    }, 20);
    await drawn;
    clearInterval(timer);
    board.observeRuntime({ kind: 'engine', reachable: true, message: 'the engine answers' });
  }
  assert.equal(await readFile(path, 'utf8'), 'nibs 08:00:27:00:00:01: waiting for the server\r\n');
});

test('a missing console is reported, and nothing fails', async () => {
  const troubles: string[] = [];
  await using _ = await openConsoleView({
    console: '/dev/nonexistent',
    board: createBoard(),
    onTrouble: (message) => troubles.push(message),
  });
  assert.match(troubles.join(), /^cannot show the status on \/dev\/nonexistent: ENOENT/);
});

test('drawScreen() shows no control characters of others', () => {
  const status = { ...createBoard().current(), machine: 'a\u001b]0;title\u0007b\u009b31mc', reason: 'x\ny' };
  const picture = drawScreen(status, ['line\u001b[2J'], ['eth0\u0085']);
  const own = ['\u001b[H', '\u001b[K', '\u001b[J', '\r\n'].reduce((text, one) => text.replaceAll(one, ''), picture);
  assert.doesNotMatch(own, /\p{Cc}/u);
});
