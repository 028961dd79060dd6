import assert from 'node:assert/strict';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  maxIgnitionBytes,
  type Reader,
  readIgnitionFile,
  requireGoodIgnition,
} from '../../installer/ignition-config.ts';
import { createReport } from '../../installer/progress.ts';
import { VirtualClock } from '../sandbox/virtual-clock.ts';
import { runInstaller } from './run.ts';

const never = new AbortController().signal;
const stable: Reader = { flatcar: { version: '4593.2.5', channel: 'stable' } };
let directory: string;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-ignition-config-'));
});
after(() => rm(directory, { recursive: true }));

/** What is reported about a config, line by line. */
function reported(text: string, reader = stable, { unchecked = false, isFinal = true, runs = 1 } = {}): string[] {
  const lines: string[] = [];
  const output = { write: (line: string) => lines.push(line) };
  const report = createReport({ style: 'lines', verbose: false, output, clock: new VirtualClock() });
  const config = { name: 'a.ign', bytes: Buffer.from(text), reported: new Set<string>() };
  for (let run = 0; run < runs; run++) requireGoodIgnition(config, reader, { unchecked, isFinal }, report);
  return lines
    .join('')
    .trimEnd()
    .split('\n')
    .filter((line) => line !== '');
}

const one = '{"ignition": {"version": "3.3.0"}, "storage": {"files": [{"path": "a"}]}}';

test('requireGoodIgnition() refuses a config with the place of the error, and names the way round', () => {
  assert.throws(() => reported(one), {
    message:
      'cannot use a.ign: $.storage.files.0.path (line 1, column 67): a is not an absolute path (checked as Ignition 2.24.0 reads it; --ignition-unchecked overrides this)',
  });
});

test('requireGoodIgnition() lists all problems, but no more than ten', () => {
  const misspelled = '{"ignition": {"version": "3.3.0"}, "storage": {"files": [{"pth": "/a"}]}}';
  assert.throws(
    () => reported(misspelled),
    /it has several problems:\n {2}\$\.storage\.files\.0\.path .*: it is missing\n {2}warning: .*: Unused key pth: /,
  );
  const files = Array.from({ length: 15 }, () => ({ path: 7 }));
  const many = JSON.stringify({ ignition: { version: '3.3.0' }, storage: { files } });
  assert.throws(() => reported(many), /(?:\n {2}\$\.storage\.files\.\d\.path .*){10}\n {2}and 5 more \(/);
});

test('requireGoodIgnition() installs a refused config with --ignition-unchecked, and warns', () => {
  const [warning = '', ...others] = reported(one, stable, { unchecked: true });
  assert.match(
    warning,
    /a\.ign: NOT CHECKED, by --ignition-unchecked\. Ignition 2\.24\.0 would fail at first boot: .*a is not/,
  );
  assert.deepEqual(others, []);
  assert.match(reported('{', stable, { unchecked: true }).join(), /NOT CHECKED.*it ends too early/);
});

test('requireGoodIgnition() accepts an empty config, which Ignition goes on without', () => {
  assert.match(reported('').join(), /a\.ign: it is empty: Ignition ignores it/);
});

test('requireGoodIgnition() refuses what Ignition would silently ignore', () => {
  assert.throws(() => reported('#cloud-config\n'), /it is a cloud-config, not an Ignition config \(give it with -c; /);
  assert.throws(() => reported('#!/bin/sh\n'), /it is a script, not an Ignition config \(give it with -c; /);
});

test('requireGoodIgnition() reports a warning once, although the config is checked again for the release', () => {
  const odd = '{"ignition": {"version": "3.3.0"}, "sytemd": {}}';
  assert.equal(reported(odd, stable, { runs: 2 }).length, 1);
});

test('requireGoodIgnition() warns if it is not known which Ignition the image has', () => {
  const experimental = '{"ignition": {"version": "3.6.0-experimental"}}';
  assert.match(
    reported(experimental, {}).join(),
    /it is not known which Ignition the image has, and Ignition 2\.26\.0 refuses/,
  );
  assert.deepEqual(reported(experimental), []);
});

test('requireGoodIgnition() refuses nothing that a newer release may accept, before the release is known', () => {
  const newer = '{"ignition": {"version": "3.6.0"}}';
  const current: Reader = { flatcar: { version: 'current', channel: 'stable' } };
  assert.deepEqual(reported(newer, current, { isFinal: false }), []);
  assert.throws(() => reported(newer, current), /does not support version 3\.6\.0/);
});

test('readIgnitionFile() reads no more than is read from a server', async () => {
  const path = join(directory, 'large.ign');
  await writeFile(path, '');
  await truncate(path, maxIgnitionBytes + 1);
  await assert.rejects(readIgnitionFile(path, never), /large\.ign: it is larger than 67108864 bytes/);
  await truncate(path, maxIgnitionBytes);
  assert.equal((await readIgnitionFile(path, never)).length, maxIgnitionBytes);
});

test('flatcar-install -y takes an empty config, and with --ignition-unchecked a wrong one', async () => {
  const path = join(directory, 'config.ign');
  const dryRun = (...args: string[]) => runInstaller(directory, ['-y', '-D', '-i', path, '-V', '4593.2.5', ...args]);
  await writeFile(path, '');
  const empty = await dryRun();
  assert.equal(empty.exitCode, 0);
  assert.match(empty.stderr, /Warning: \S+config\.ign: it is empty: Ignition ignores it and goes on without a config/);
  await writeFile(path, one);
  const refused = await dryRun();
  assert.equal(refused.exitCode, 1);
  assert.match(refused.stderr, /Error: cannot use \S+config\.ign: \$\.storage\.files\.0\.path/);
  const unchecked = await dryRun('--ignition-unchecked');
  assert.equal(unchecked.exitCode, 0);
  assert.match(unchecked.stderr, /Warning: \S+config\.ign: NOT CHECKED, by --ignition-unchecked/);
});
