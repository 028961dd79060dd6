import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

const root = join(import.meta.dirname, '../..');
const executable = join(root, `build/nibs-linux-${process.arch}`);

describe('the executable', () => {
  let directory: string;
  before(() => {
    assert.ok(existsSync(executable), `${executable} is missing; run \`make build\``);
    directory = mkdtempSync(join(tmpdir(), 'nibs-executable-'));
  });
  after(() => rmSync(directory, { recursive: true }));

  /** Runs it through a link, with nothing of this repository in the environment. */
  function run(name: string, ...args: string[]) {
    const link = join(directory, name);
    if (!existsSync(link)) symlinkSync(executable, link);
    return spawnSync(link, args, { encoding: 'utf8', cwd: '/', env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } });
  }

  for (const name of ['tink-agent', 'tink-worker', 'flatcar-install']) {
    test(`${name} --version says version, commit and Node`, () => {
      const { stdout, status } = run(name, '--version');
      const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
      assert.match(
        stdout,
        new RegExp(`^${name} \\(nibs\\) ${version}, commit [0-9a-f]{12}(-dirty)?, Node ${process.version}\\n$`),
      );
      assert.equal(status, 0);
    });

    test(`${name} --help explains itself`, () => {
      const { stdout, stderr, status } = run(name, '--help');
      assert.match(stdout, new RegExp(`^Usage: ${name}`));
      assert.equal(stderr, '');
      assert.equal(status, 0);
    });

    test(`${name} refuses an unknown option with a reason and without a stack trace`, () => {
      const { stderr, status } = run(name, '--no-such-option');
      assert.match(stderr, /no-such-option/);
      assert.doesNotMatch(stderr, /^ +at /m);
      assert.notEqual(status, 0);
    });
  }

  test('takes the name as its first argument under another name', () => {
    assert.match(run('nibs', 'flatcar-install', '--help').stdout, /^Usage: flatcar-install/);
  });

  test('under another name and without one says which names it has', () => {
    const { stderr, status } = run('nibs');
    assert.match(stderr, /tink-agent \| tink-worker \| flatcar-install/);
    assert.equal(status, 1);
  });
});
