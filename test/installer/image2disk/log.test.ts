import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../../clock/system.ts';
import { createActionLog, formatSize } from '../../../installer/image2disk/log.ts';

const clock = { ...systemClock, now: () => new Date('2026-03-04T05:06:07.089Z') };

function logged(form: 'json' | 'text', attributes: Record<string, string>): string {
  const lines: string[] = [];
  createActionLog(form, { write: (text) => lines.push(text) }, clock).info('a message', attributes);
  return lines.join('');
}

test('a line of JSON, without passwords and control characters', () => {
  deepEqual(JSON.parse(logged('json', { image: 'http://user:secret@host/x\u001b[31m' })), {
    time: '2026-03-04T05:06:07.089Z',
    level: 'INFO',
    msg: 'a message',
    image: 'http://user:***@host/x',
  });
});

test('a line of text: values with spaces are quoted', () => {
  equal(
    logged('text', { disk: '/dev/sda', err: 'it is "in use"' }),
    'Mar  4 05:06:07.089 INF a message disk=/dev/sda err="it is \\"in use\\""\n',
  );
});

test('sizes as the original prints them', () => {
  equal(formatSize(0), '0.000000B');
  equal(formatSize(1023), '1023.000000B');
  equal(formatSize(3 * 2 ** 20), '3.000000MiB');
  equal(formatSize(undefined), '-1.000000B');
});
