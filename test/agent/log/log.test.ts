import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLog, type LogOptions, messageOf } from '../../../agent/log/log.ts';
import { createRedactor } from '../../../agent/log/redact.ts';

function logOf(options: Partial<LogOptions>) {
  const lines: string[] = [];
  const redactor = createRedactor();
  redactor.learn('hunter22');
  const log = createLog({ level: 'info', format: 'json', redactor, write: (line) => lines.push(line), ...options });
  return { log, lines };
}

test('createLog() writes one line of JSON an event', () => {
  const { log, lines } = logOf({});
  log.info({ action: 'install' }, 'two\nlines');
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? '', /^[^\n]*\n$/);
  const { time, ...rest } = JSON.parse(lines[0] ?? '');
  assert.deepEqual(rest, { level: 'info', action: 'install', msg: 'two lines' });
  assert.ok(!Number.isNaN(Date.parse(time)));
});

test('createLog() writes lines for people in the format text', () => {
  const { log, lines } = logOf({ format: 'text' });
  log.warn({ action: 'install', exitCode: 3 }, 'it failed');
  log.error('plain');
  assert.match(lines[0] ?? '', /^\d\d:\d\d:\d\d WARN {2}\[install\] it failed \(exitCode=3\)\n$/);
  assert.match(lines[1] ?? '', /^\d\d:\d\d:\d\d ERROR plain\n$/);
});

test('createLog() leaves out what is less severe than the level', () => {
  const { log, lines } = logOf({ level: 'warn' });
  log.info('no');
  log.warn('yes');
  assert.equal(lines.length, 1);
});

for (const format of ['json', 'text'] as const) {
  test(`createLog() masks secrets wherever they are, in the format ${format}`, () => {
    const { log, lines } = logOf({ format });
    log.info('the password is hunter22');
    log.info({ deep: { inside: ['hunter22'] } }, 'x');
    log.error(new Error('login with hunter22 failed', { cause: new Error('hunter22') }));
    log.info(
      { password: 'never learned', nested: { token: 'never learned' }, action: { environment: ['A=never learned'] } },
      'x',
    );
    assert.equal(lines.length, 4);
    assert.doesNotMatch(lines.join(''), /hunter22|never learned/);
    assert.match(lines.join(''), /the password is \*\*\*/);
  });
}

test('createLog() forwards events as JSON, without secrets, whatever it writes itself', () => {
  const forwarded: string[] = [];
  const { log, lines } = logOf({ format: 'text', forward: (line) => forwarded.push(line) });
  log.info({ action: 'install' }, 'hunter22');
  log.debug('not at this level');
  assert.equal(lines.length, 1);
  assert.equal(forwarded.length, 1);
  const { time: _, ...rest } = JSON.parse(forwarded[0] ?? '');
  assert.deepEqual(rest, { level: 'info', action: 'install', msg: '***' });
});

test('messageOf() puts an error and its causes on one line, and says nothing twice', () => {
  const error = new Error('cannot reach the server', {
    cause: new Error('connect ECONNREFUSED\n127.0.0.1:1', { cause: 'boom' }),
  });
  assert.equal(messageOf(error), 'cannot reach the server: connect ECONNREFUSED 127.0.0.1:1: boom');
  assert.equal(messageOf(new Error('it failed: boom', { cause: new Error('boom') })), 'it failed: boom');
  const refused = new Error('cannot ask: UNAVAILABLE: refused (is it there?)', {
    cause: new Error('14 UNAVAILABLE: refused'),
  });
  assert.equal(messageOf(refused), refused.message);
  assert.equal(messageOf('text'), 'text');
  assert.equal(messageOf(new TypeError('')), 'TypeError');
});

test('createLog() writes lines of JSON whatever the secrets are', async () => {
  for (const secret of [
    '","level":"',
    '"msg"',
    '{"level":"info"',
    '\\\\\\\\',
    'info',
    'msg"',
    '2026',
    '":"a"}',
    'action',
  ]) {
    const redactor = createRedactor();
    await redactor.learnEnvironment([`TOKEN=${secret}`], 'w1');
    const { log, lines } = logOf({ redactor });
    log.info({ action: 'install', count: 2026 }, `before ${secret} after`);
    const { time, ...rest } = JSON.parse(lines[0] ?? '');
    assert.ok(!Number.isNaN(Date.parse(time)), lines[0]);
    const action = secret.includes('install') ? '***' : 'install';
    assert.deepEqual(rest, { level: 'info', action, count: secret === '2026' ? '***' : 2026, msg: 'before *** after' });
  }
});
