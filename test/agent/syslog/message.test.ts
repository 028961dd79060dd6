import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { messagesOf, type SyslogFormat } from '../../../agent/syslog/message.ts';
import { VirtualClock } from '../../sandbox/virtual-clock.ts';

const clock = new VirtualClock();
const sender = { hostName: 'machine one', programName: 'tink-agent', processId: 42 };
const time = '2026-03-04T05:06:07.890Z';

function textsOf(record: object, format: SyslogFormat, limitBytes = 1400): string[] {
  let number = 0;
  const line = `${JSON.stringify({ level: 'info', time, ...record })}\n`;
  return messagesOf(line, { clock, sender, format, limitBytes, nextNumber: () => ++number }).map(String);
}

const event = { workflow: 'ns/w', task: 't', action: 'a "b" \\ c]' };

describe('RFC 5424 without structured data', () => {
  const header = `1 ${time} machine_one tink-agent 42`;
  const of = (record: object, limitBytes?: number) => textsOf(record, 'rfc5424', limitBytes);

  test('messagesOf() has - in its place, and all fields of the event in the text', () => {
    assert.deepEqual(of({ level: 'warn', msg: 'no work' }), [`<28>${header} - - no work`]);
    assert.deepEqual(of({ ...event, seconds: 3, msg: 'ended' }), [
      `<30>${header} - - [a "b" \\ c]] ended (workflow=ns/w, task=t, seconds=3)`,
    ]);
  });

  test('messagesOf() has with output only the action', () => {
    assert.deepEqual(of({ ...event, stream: 'stderr', msg: 'ü' }), [`<30>${header} output - [a "b" \\ c]] ü`]);
  });

  test('messagesOf() names the action in each line of a text, and the fields in the last', () => {
    assert.deepEqual(of({ action: 'a', workflow: 'w', msg: 'one\n\ntwo\r\n' }), [
      `<30>${header} - - [a] one`,
      `<30>${header} - - [a] two (workflow=w)`,
    ]);
  });
});

describe('RFC 5424 with structured data', () => {
  const header = `1 ${time} machine_one tink-agent 42`;
  const of = (record: object, limitBytes?: number) => textsOf(record, 'rfc5424-structured', limitBytes);

  test('messagesOf() has a sequence number and the fields of the event there', () => {
    assert.deepEqual(of({ level: 'warn', msg: 'no work' }), [`<28>${header} - [meta sequenceId="1"] no work`]);
    assert.deepEqual(of({ ...event, stream: 'stderr', msg: 'ü' }), [
      `<30>${header} output [meta sequenceId="1"][nibs@32473 action="a \\"b\\" \\\\ c\\]" workflow="ns/w" task="t" stream="stderr"] ü`,
    ]);
  });

  test('messagesOf() makes a message of each line of a text', () => {
    const texts = of({ msg: 'one\n\ntwo\r\nthree' }).map((text) => text.slice(text.indexOf('] ') + 2));
    assert.deepEqual(texts, ['one', 'two', 'three']);
  });

  test('messagesOf() sends what it cannot read as it is', () => {
    const options = { clock, sender, format: 'rfc5424-structured', limitBytes: 1400, nextNumber: () => 7 } as const;
    const [message] = messagesOf('{"level":***}\n', options).map(String);
    assert.match(
      message ?? '',
      /^<30>1 2026-01-01T00:00:00\.000Z machine_one tink-agent 42 - \[meta sequenceId="7"\] \{"level":\*\*\*\}$/,
    );
  });
});

describe('RFC 3164', () => {
  test('messagesOf() has local time, a host name that is no tag, and the tag', () => {
    const [message] = textsOf({ ...event, stream: 'stdout', msg: 'ü' }, 'rfc3164');
    const day = new Date(time);
    const timeOfDay = [day.getHours(), day.getMinutes(), day.getSeconds()].map((part) => String(part).padStart(2, '0'));
    assert.equal(
      message,
      `<30>Mar  ${day.getDate()} ${timeOfDay.join(':')} machine-one tink-agent[42]: [a "b" \\ c]] ü`,
    );
  });
});

for (const format of ['rfc5424', 'rfc5424-structured', 'rfc3164'] as const) {
  test(`${format}: messagesOf() has the severities of RFC 5424`, () => {
    const severities = ['fatal', 'error', 'warn', 'info', 'debug', 'trace'].map(
      (level) => /^<(\d+)>/.exec(textsOf({ level, msg: 'x' }, format)[0] ?? '')?.[1],
    );
    assert.deepEqual(severities, ['26', '27', '28', '30', '31', '31']);
  });

  test(`${format}: messagesOf() splits a long line at the limit, between characters, and loses nothing of it`, () => {
    const text = 'aé€😀'.repeat(500);
    const messages = textsOf({ msg: text }, format, 480);
    assert.ok(messages.length > 5);
    for (const message of messages) assert.ok(Buffer.byteLength(message) <= 480, String(Buffer.byteLength(message)));
    const begin = (message: string) =>
      message.indexOf({ rfc5424: '- - ', 'rfc5424-structured': '"] ', rfc3164: ']: ' }[format]);
    const length = { rfc5424: 4, 'rfc5424-structured': 3, rfc3164: 3 }[format];
    assert.equal(messages.map((message) => message.slice(begin(message) + length)).join(''), text);
  });
}

test('messagesOf() leaves room for the text, however long the name of an action is', () => {
  const messages = textsOf({ action: 'a'.repeat(5000), msg: 'text' }, 'rfc5424-structured', 480);
  for (const message of messages) assert.ok(Buffer.byteLength(message) <= 480);
  assert.match(messages.at(-1) ?? '', /text$/);
});
