import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { helpText } from '../../../agent/settings/arguments.ts';
import { agentManual } from '../../../agent/settings/manual.ts';
import { settings } from '../../../agent/settings/settings.ts';

async function show(source: string): Promise<{ stdout: string; stderr: string }> {
  const env = { LC_ALL: 'C.UTF-8', MANPAGER: 'cat', MANWIDTH: '500' };
  return await execa('man', ['--warnings=w', '--local-file', '-'], { input: source, env });
}

test('tink-agent.8 is a manual page without a mistake', async () => {
  const source = await readFile(join(import.meta.dirname, '../../../agent/tink-agent.8'), 'utf8');
  const { stdout, stderr } = await show(source);
  assert.match(stdout, /tink-agent, tink-worker/);
  assert.equal(stderr, '');
  assert.notEqual((await show(source.replace('.Sh FILES', '.Sj FILES'))).stderr, '', 'a mistake would be noticed');
});

test('agentManual() shows every flag of --help with its value, and all names of each setting', async () => {
  const { stdout } = await show(agentManual());
  const headings = stdout.split('\n').filter((line) => /^ {5,7}-/.test(line));
  const options = [...helpText('tink-agent').matchAll(/^ {2}(--[\w-]+)(?: <(\S+)>)?/gm)];
  assert.ok(options.length > 50);
  assert.equal(headings.length, options.length);
  for (const [, flag = '', value = ''] of options) {
    const line = headings.find((one) => new RegExp(`^ {5,7}${flag}(,|\\s|$)`).test(one));
    assert.ok(line?.replace(/ {2}[A-Z].*/, '').includes(value), `${flag} ${value}`);
  }
  for (const { names } of settings) {
    for (const name of [...names.flags, ...names.environment, ...names.kernel.map((key) => `${key}=`)])
      assert.ok(stdout.includes(name), name);
  }
});
