/**
 * Text from outside in every format and place that the agent shows it: output and names of actions,
 * details of gRPC, reasons of registries and HTTP servers. It commands no terminal and forges no
 * line.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Action } from '../../agent/action/action.ts';
import { createLog, logFields, messageOf } from '../../agent/log/log.ts';
import { createRedactor } from '../../agent/log/redact.ts';
import { createRuntimeLog } from '../../agent/log/runtime-log.ts';
import { createStatusBoard } from '../../agent/status/board.ts';
import { drawScreen } from '../../agent/status/console-view.ts';
import { messagesOf } from '../../agent/syslog/message.ts';
import { toMessage } from '../../agent/transport/message.ts';
import { TransportError } from '../../agent/transport/transport.ts';
import { systemClock } from '../../clock/system.ts';
import { createReport } from '../../installer/progress.ts';

const hostile = [
  'a\u001b[2J\u001b]0;owned\u0007b',
  'a\u009b2Jb',
  'a\n12:00:00 ERROR [install] forged',
  'a\r\nERROR forged',
  'a\u0085forged\u2028forged',
  'a\u202eb',
  'a\u0000b\ud800c',
  'x'.repeat(100_000),
];
const names = hostile.map((text) => ({ workflowId: text, taskName: text, name: text, id: text }));

/** Characters that no line has, but its end; and the most that it has. */
function assertHarmless(line: string, what: string): void {
  assert.match(line, /^[^\p{Cc}\u2028\u2029\u202a-\u202e]*\n?$/u, `${what}: ${JSON.stringify(line.slice(0, 200))}`);
  assert.ok(line.length < 120_000 && line.isWellFormed(), `${what}: ${line.length} characters`);
}

for (const format of ['text', 'json'] as const) {
  test(`the log as ${format}, and what goes to syslog, has one harmless line for each event`, () => {
    const [lines, forwarded]: [string[], string[]] = [[], []];
    const redactor = createRedactor();
    const write = (line: string) => void lines.push(line);
    const log = createLog({ level: 'info', format, redactor, write, forward: (line) => void forwarded.push(line) });
    const runtimeLog = createRuntimeLog(log, { output: true });
    for (const action of names) {
      const { name } = action;
      log.warn({ ...logFields(action as Action), reason: name, nested: { [name]: [name] } }, name);
      log.error(messageOf(new Error(name, { cause: new TransportError({ what: 'call', target: name, why: name }) })));
      runtimeLog({ kind: 'output', action, role: 'action', stream: 'stdout', line: name, continues: false });
      runtimeLog({ kind: 'warning', action, message: name });
    }
    assert.equal(lines.length, 4 * hostile.length);
    for (const line of lines) assertHarmless(line, format);
    const sender = { hostName: 'host', programName: 'agent', processId: 1 };
    for (const structured of ['rfc5424', 'rfc5424-structured', 'rfc3164'] as const) {
      const options = { clock: systemClock, format: structured, sender, limitBytes: 1400, nextNumber: () => 1 };
      for (const message of forwarded.flatMap((line) => messagesOf(line, options)))
        assertHarmless(message.toString(), structured);
    }
  });
}

test('status page, console and reports show it harmless', () => {
  const { redact } = createRedactor();
  const board = createStatusBoard({ machine: 'm', hostName: 'h', server: 's', version: '1', redact });
  for (const action of names) {
    const { name } = action;
    board.observe({ kind: 'asked', answer: 'idle', reason: name });
    board.observe({ kind: 'begun', action, image: name, at: new Date(0) });
    board.observeRuntime({ kind: 'pulling', action, image: name });
    board.observeRuntime({ kind: 'output', action, role: 'action', stream: 'stdout', line: name, continues: false });
    board.observeRuntime({ kind: 'warning', action, message: name });
    const status = board.current();
    assertHarmless(JSON.stringify(status), '/status');
    // Its own sequences move and clear the screen.
    const own = ['\u001b[H', '\u001b[J', '\u001b[K', '\r\n'];
    const drawn = drawScreen(status, board.lastLines(), ['eth0 10.0.0.1']);
    const screen = own.reduce((text, sequence) => text.replaceAll(sequence, ''), drawn);
    assertHarmless(screen, 'the console');
    assertHarmless(toMessage(name, 4000), 'a report');
    board.observe({ kind: 'ended', action, verdict: 'FAILED', message: name, seconds: 1 });
    assertHarmless(JSON.stringify(board.current()), '/status');
  }
});

test('a secret with control characters in it is masked', () => {
  const redactor = createRedactor();
  redactor.learn('hunter22');
  const lines: string[] = [];
  const log = createLog({ level: 'info', format: 'text', redactor, write: (line) => void lines.push(line) });
  log.info('hun\u001b[31mter22');
  assert.match(lines.join(), /INFO {2}\*\*\*\n$/);
});

test('messages of flatcar-install are harmless in each style', () => {
  for (const style of ['terminal', 'lines', 'json'] as const) {
    const written: string[] = [];
    const output = { write: (text: string) => written.push(text) };
    const report = createReport({ style, verbose: true, output, clock: systemClock });
    for (const text of hostile) {
      const { message } = new TransportError({ what: 'download', target: text, why: `HTTP status 500 ${text}` });
      report.warn(message);
    }
    const lines = written.flatMap((text) => text.trimEnd().split('\n'));
    for (const line of lines) assertHarmless(line, style);
    // What looks like a line of its own is indented.
    assert.equal(lines.filter((line) => !line.startsWith('  ')).length, hostile.length);
  }
});
