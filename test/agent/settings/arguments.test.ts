import assert from 'node:assert/strict';
import { test } from 'node:test';
import { helpText, parseArguments, settingsAsMarkdown } from '../../../agent/settings/arguments.ts';
import { settings } from '../../../agent/settings/settings.ts';

test('helpText() and settingsAsMarkdown() name every flag, environment variable and kernel parameter', () => {
  const help = helpText('tink-worker');
  const table = settingsAsMarkdown();
  assert.match(help, /^Usage: tink-worker \[flags\]/);
  for (const { names } of settings) {
    for (const name of [...names.flags.map((flag) => `--${flag}`), ...names.environment, ...names.kernel]) {
      assert.ok(help.includes(name), `${name} in the help`);
      assert.ok(table.includes(`\`${name}\``), `${name} in the table`);
    }
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
