import assert from 'node:assert/strict';
import { test } from 'node:test';
import { helpText, parseArguments, settingsAsMarkdown } from '../../../agent/settings/arguments.ts';
import { settings } from '../../../agent/settings/settings.ts';

test('helpText() has every flag, the rule for our other names, and every name from another program', () => {
  const help = helpText('tink-worker');
  assert.match(help, /^Usage: tink-worker \[flags\]/);
  assert.match(
    help.replace(/\s+/g, ' '),
    /--log-level, NIBS_LOG_LEVEL in the environment, nibs_log_level= on the kernel/,
  );
  for (const { names } of settings) {
    const [environment, kernel] = [names.environment.slice(0, -1), names.kernel.slice(0, -1)];
    for (const name of [...names.flags.map((flag) => `--${flag}`), ...environment, ...kernel]) {
      assert.ok(help.includes(name), name);
    }
  }
});

test('settingsAsMarkdown() has every flag, environment variable and kernel argument', () => {
  const table = settingsAsMarkdown();
  for (const { names } of settings) {
    for (const name of [...names.flags.map((flag) => `--${flag}`), ...names.environment, ...names.kernel])
      assert.ok(table.includes(`\`${name}\``), name);
  }
});

test('settingsAsMarkdown() has one row of five cells a setting', () => {
  const rows = settingsAsMarkdown().trimEnd().split('\n');
  assert.equal(rows.length, settings.length + 2);
  for (const row of rows) assert.equal(row.replaceAll('\\|', '').split('|').length, 7, row);
});

test('parseArguments() lets the last of several flags for one setting win, and remembers how it was written', () => {
  const { flags } = parseArguments(['-id', 'a', '--worker-id=b']);
  assert.deepEqual(flags.get('workerId'), { value: 'b', flag: '--worker-id' });
});

test('parseArguments() takes a bare switch as true and does not take the next flag for its value', () => {
  const { flags } = parseArguments(['-grpc-tls', '--finish=none']);
  assert.equal(flags.get('tls')?.value, 'true');
  assert.equal(flags.get('finish')?.value, 'none');
});

test('parseArguments() understands the flags that are no settings', () => {
  assert.equal(parseArguments(['-h']).help, true);
  assert.equal(parseArguments(['--help']).help, true);
  assert.equal(parseArguments(['--print-config']).printConfig, true);
  assert.equal(parseArguments([]).help, false);
});

test('parseArguments() names the flag that is nearest to an unknown one, among all its names', () => {
  for (const [written, near] of [
    ['--log-levl=debug', '--log-level'],
    ['-log-levl', '--log-level'],
    ['--tinkerbell-tsl', '--tinkerbell-tls'],
    ['--registry-usr', '--registry-user'],
    ['--print-confg', '--print-config'],
  ] as const)
    assert.throws(
      () => parseArguments([written]),
      (error: Error) => error.message.includes(`(Did you mean ${near}?)`) && !error.message.includes('\n'),
      written,
    );
});

test('parseArguments() takes the shells that there are completions for', () => {
  assert.equal(parseArguments(['--completion', 'zsh']).completion, 'zsh');
  assert.throws(() => parseArguments(['--completion=csh']), /does not know 'csh': give one of bash, zsh, fish$/);
});

test('parseArguments() takes a command in front of the flags, and names of settings after explain', () => {
  assert.deepEqual(parseArguments(['doctor', '--json', '--id=w']).command, {
    name: 'doctor',
    json: true,
    image: undefined,
  });
  assert.deepEqual(parseArguments(['explain', 'tls', 'finish', '--id=w']).command, {
    name: 'explain',
    json: false,
    settings: ['tls', 'finish'],
  });
  assert.equal(parseArguments(['--id=w']).command, undefined);
  assert.throws(() => parseArguments(['doctor', 'tls']), /too many arguments|excess/i);
});
