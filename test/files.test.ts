import assert from 'node:assert/strict';
import { basename } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { findTestFiles, unitArguments } from './files.ts';

test('the layer of a test follows from what it loads', async () => {
  const layers = {
    'authority.test.ts': 'unit',
    'agent.test.ts': 'unit',
    'journal.test.ts': 'integration', // starts processes that are killed
    'workflow-data.test.ts': 'integration', // gives a file to another user
    'cross-build.test.ts': 'integration', // reads the executable
    'log-drivers.test.ts': 'integration', // starts engines, through test/sandbox/
    'boot.test.ts': 'machine',
  };
  const files = (await findTestFiles()).map(({ path, layer }) => [basename(path), layer] as const);
  assert.deepEqual(Object.fromEntries(files.filter(([name]) => Object.hasOwn(layers, name))), layers);
});

test('every test file is found once, and a third of them are unit tests', async () => {
  const files = await findTestFiles();
  assert.equal(new Set(files.map(({ path }) => path)).size, files.length);
  const units = files.filter(({ layer }) => layer === 'unit');
  assert.ok(units.length * 3 > files.length, `${units.length} of ${files.length}`);
});

test('a unit test that starts a program fails', async () => {
  const start = "require('node:child_process').execFileSync('true')";
  const allowed = await execa(process.execPath, ['--eval', start]);
  assert.equal(allowed.exitCode, 0);
  const { exitCode, stderr } = await execa(process.execPath, [...unitArguments, '--eval', start], { reject: false });
  assert.equal(exitCode, 1);
  assert.match(stderr, /ERR_ACCESS_DENIED/);
});
