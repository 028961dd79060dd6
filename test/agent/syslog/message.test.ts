import assert from 'node:assert/strict';
import { test } from 'node:test';
import { messagesOf } from '../../../agent/syslog/message.ts';

const sender = { hostName: 'machine one', programName: 'tink-agent', processId: 42 };
const time = '2026-03-04T05:06:07.890Z';

function textsOf(record: object, limitBytes = 1400): string[] {
  let number = 0;
  const line = `${JSON.stringify({ level: 'info', time, ...record })}\n`;
  return messagesOf(line, sender, limitBytes, () => ++number).map(String);
}

test('messagesOf() writes an event as RFC 5424 has it', () => {
  assert.deepEqual(textsOf({ level: 'warn', msg: 'nothing to do' }), [
    `<28>1 ${time} machine_one tink-agent 42 - [meta sequenceId="1"] nothing to do`,
  ]);
});

test('messagesOf() gives output of an action as such, with where it comes from as structured data', () => {
  assert.deepEqual(textsOf({ workflow: 'ns/w', task: 't', action: 'a "b" \\ c]', stream: 'stderr', msg: 'ü' }), [
    `<30>1 ${time} machine_one tink-agent 42 output [meta sequenceId="1"][nibs@32473 action="a \\"b\\" \\\\ c\\]" workflow="ns/w" task="t" stream="stderr"] ü`,
  ]);
});

test('messagesOf() has the severities of RFC 5424', () => {
  const severities = ['fatal', 'error', 'warn', 'info', 'debug', 'trace'].map(
    (level) => /^<(\d+)>/.exec(textsOf({ level, msg: 'x' })[0] ?? '')?.[1],
  );
  assert.deepEqual(severities, ['26', '27', '28', '30', '31', '31']);
});

test('messagesOf() makes a message of each line of a text', () => {
  const texts = textsOf({ msg: 'one\n\ntwo\r\nthree' }).map((text) => text.slice(text.indexOf('] ') + 2));
  assert.deepEqual(texts, ['one', 'two', 'three']);
});

test('messagesOf() splits a long line at the limit, between characters, and loses nothing of it', () => {
  const text = 'aé€😀'.repeat(500);
  const messages = textsOf({ action: 'a'.repeat(5000), msg: text }, 480);
  assert.ok(messages.length > 5);
  for (const message of messages) assert.ok(Buffer.byteLength(message) <= 480, String(Buffer.byteLength(message)));
  assert.equal(messages.map((message) => message.slice(message.indexOf('] ') + 2)).join(''), text);
});

test('messagesOf() sends what it cannot read as it is', () => {
  const [message] = messagesOf('{"level":***}\n', sender, 1400, () => 7).map(String);
  assert.match(message ?? '', /^<30>1 \S+ machine_one tink-agent 42 - \[meta sequenceId="7"\] \{"level":\*\*\*\}$/);
});
