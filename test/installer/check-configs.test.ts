import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { runInstaller } from './run.ts';

let directory: string;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-check-configs-'));
  const configs = {
    'good.ign': '{"ignition": {"version": "3.3.0"}}',
    'odd.ign': '{"ignition": {"version": "3.3.0"}, "sytemd": {}}',
    'rot.ign': JSON.stringify({
      ignition: { version: '2.3.0' },
      storage: { files: [{ filesystem: 'rot', path: '/a' }] },
    }),
    'new.ign': '{"ignition": {"version": "3.6.0"}}',
    'bad.ign': '{"ignition": {"version": "3.3.0"}, "storage": {"files": [{"path": "a"}]}}',
    'empty.ign': '',
  };
  for (const [name, text] of Object.entries(configs)) await writeFile(join(directory, name), text);
});
after(() => rm(directory, { recursive: true }));

async function check(...args: string[]) {
  const { exitCode, stdout, stderr } = await runInstaller(
    directory,
    ['--check-ignition', ...args].map((arg) => (arg.endsWith('.ign') ? join(directory, arg) : arg)),
  );
  assert.equal(stderr, '');
  return { exitCode, output: stdout.replaceAll(`${directory}/`, '') };
}

test('flatcar-install --check-ignition accepts good configs and shows their warnings', async () => {
  const { exitCode, output } = await check('good.ign', 'odd.ign', 'rot.ign', 'empty.ign', '-V', '4593.2.5');
  assert.equal(exitCode, 0);
  assert.deepEqual(output.split('\n'), [
    'good.ign: accepted (version 3.3.0, read by Ignition 2.24.0)',
    'odd.ign: accepted (version 3.3.0, read by Ignition 2.24.0)',
    'odd.ign: warning: $.sytemd (line 1, column 36): Unused key sytemd: version 3.3.0 does not know it and ignores it',
    'rot.ign: accepted (version 2.3.0, read by Ignition 2.24.0)',
    'rot.ign: warning: $.storage.files.0.filesystem (line 1, column 67): there is no file system rot: Flatcar takes it as root, so that the path is /a',
    'empty.ign: accepted (read by Ignition 2.24.0)',
    'empty.ign: warning: it is empty: Ignition ignores it and goes on without a config',
    '',
  ]);
});

test('flatcar-install --check-ignition rejects with exit code 1, and still checks the others', async () => {
  const { exitCode, output } = await check('bad.ign', 'none.ign', 'good.ign', '-V', '4593.2.5');
  assert.equal(exitCode, 1);
  assert.match(
    output,
    /^bad\.ign: rejected \(version 3\.3\.0, read by Ignition 2\.24\.0\)\nbad\.ign: \$\.storage\.files\.0\.path \(line 1, column 67\): a is not an absolute path\nnone\.ign: cannot read .*ENOENT.*\ngood\.ign: accepted .*\n$/,
  );
});

test('flatcar-install --check-ignition checks for a release, or an Ignition', async () => {
  assert.equal((await check('new.ign', '-V', '4593.2.5')).exitCode, 1);
  assert.equal((await check('new.ign', '-V', '4799.0.0')).exitCode, 0);
  assert.equal((await check('new.ign', '--ignition-version', '2.24.0')).exitCode, 1);
  assert.equal((await check('new.ign', '--ignition-version', '2.26.0')).exitCode, 0);
  const { exitCode, output } = await check('new.ign', '-C', 'stable');
  assert.equal(exitCode, 1);
  assert.match(output, /new\.ign: warning: the newest release .* may have a newer one, and Ignition 2\.26\.0 accepts/);
  const unknown = await runInstaller(directory, ['--check-ignition', 'x', '--ignition-version', '2.23.0']);
  assert.equal(unknown.exitCode, 1);
});

test('flatcar-install --check-ignition --json writes a line for each config', async () => {
  const { exitCode, output } = await check('odd.ign', 'rot.ign', 'bad.ign', '--json', '--ignition-version', '2.24.0');
  assert.equal(exitCode, 1);
  const results = output
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    results.map(({ event, file, verdict, ignition }) => [event, file, verdict, ignition]),
    [
      ['ignition-check', 'odd.ign', 'warn', '2.24.0'],
      ['ignition-check', 'rot.ign', 'accept', '2.24.0'],
      ['ignition-check', 'bad.ign', 'reject', '2.24.0'],
    ],
  );
  const [, rot, bad] = results;
  assert.equal(rot.advice.length, 1);
  assert.deepEqual(bad.errors, [
    { path: '$.storage.files.0.path', line: 1, column: 67, message: 'a is not an absolute path' },
  ]);
});
