import assert from 'node:assert/strict';
import { access, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { createPower, PowerError } from '../../../agent/power/power.ts';
import { VirtualClock } from '../../sandbox/virtual-clock.ts';

/** What nothing here asks for. */
const noKexec = { kexec: { command: 'false', kernel: undefined }, warn: assert.fail };
const never = new AbortController().signal;
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-power-'));
});

afterEach(() => rm(directory, { recursive: true }));

/**
 * A machine that records its commands and stays up: with `sysrq` false, only the given commands are
 * used.
 */
function powerOf(rebootCommand: string, poweroffCommand = 'false') {
  return createPower({
    ...{ workDirectory: directory, rebootCommand, poweroffCommand, sysrq: false, clock: new VirtualClock() },
    ...noKexec,
  });
}

async function script(content: string): Promise<string> {
  const file = join(directory, 'command');
  await writeFile(file, `#!/bin/sh\n${content}\n`, { mode: 0o755 });
  return file;
}

test('finish() runs the command of what is asked, with its words', async () => {
  const file = await script('echo "$@" >> "$0.called"');
  const power = powerOf(`${file} -f now`, `${file} off`);
  await assert.rejects(power.finish('reboot', never), PowerError);
  await assert.rejects(power.finish('poweroff', never), PowerError);
  assert.equal(await readFile(`${file}.called`, 'utf8'), '-f now\noff\n');
});

test('finish() says so when the machine is still up after the command', async () => {
  await assert.rejects(
    powerOf('true').finish('reboot', never),
    /cannot reboot the machine: true succeeded, but the machine is still up after 30 s/,
  );
});

test('finish() says what the command said when it fails', async () => {
  const file = await script('echo "not today" >&2; exit 4');
  await assert.rejects(
    powerOf(file).finish('reboot', never),
    /cannot reboot the machine: .*not today.* \(\S+: exit code 4\)/s,
  );
});

for (const [how, letter] of [
  ['reboot', 'b'],
  ['poweroff', 'o'],
] as const) {
  test(`finish() triggers sysrq ${letter} if the command to ${how} fails, and says that the machine is still up`, async () => {
    const sysrqFile = join(directory, 'sysrq-trigger');
    const power = createPower({
      ...{ workDirectory: directory, rebootCommand: 'false', poweroffCommand: 'false', sysrq: true, sysrqFile },
      ...{ clock: new VirtualClock(), ...noKexec },
    });
    await assert.rejects(
      power.finish(how, never),
      new RegExp(`cannot ${how} the machine: .*\\(false: exit code 1\\), and neither did sysrq`),
    );
    assert.equal(await readFile(sysrqFile, 'utf8'), letter);
  });
}

test('finish() says why the command failed also where sysrq cannot be triggered', async () => {
  const power = createPower({
    ...{ workDirectory: directory, rebootCommand: 'false', poweroffCommand: 'false', sysrq: true },
    ...{ sysrqFile: join(directory, 'none', 'sysrq-trigger'), clock: new VirtualClock(), ...noKexec },
  });
  await assert.rejects(power.finish('reboot', never), (error) => {
    assert.ok(error instanceof PowerError);
    assert.match(error.message, /^cannot reboot the machine: .*\(false: exit code 1\), and sysrq: ENOENT/);
    return true;
  });
});

test('finish() says so when there is no such command', async () => {
  await assert.rejects(powerOf('/nonexistent/reboot').finish('reboot', never), /cannot reboot the machine: .*ENOENT/s);
});

test('finish() ends with the reason of the signal when the machine goes down', async () => {
  const controller = new AbortController();
  const reason = new Error('it received SIGTERM');
  const power = createPower({
    workDirectory: directory,
    rebootCommand: 'true',
    poweroffCommand: 'true',
    sysrq: false,
    patienceSeconds: 60,
    ...noKexec,
  });
  setTimeout(() => controller.abort(reason), 100);
  await assert.rejects(power.finish('reboot', controller.signal), reason);
});

test('rebootRequested() sees the file that an action writes, and finish() takes the request back', async () => {
  const power = powerOf('true');
  assert.equal(await power.rebootRequested(), false);
  await writeFile(join(directory, 'reboot'), '');
  assert.equal(await power.rebootRequested(), true);
  await assert.rejects(power.finish('reboot', never), PowerError);
  await assert.rejects(access(join(directory, 'reboot')));
  assert.equal(await power.rebootRequested(), false);
});

test('rebootRequested() and finish() take whatever has that name for a request, and remove it', async () => {
  const power = powerOf('true');
  const request = join(directory, 'reboot');
  for (const make of [
    () => mkdir(join(request, 'below'), { recursive: true }),
    () => symlink('nowhere', request),
    () => symlink('/', request),
  ]) {
    await make();
    assert.equal(await power.rebootRequested(), true);
    await assert.rejects(power.finish('reboot', never), /succeeded, but the machine is still up/);
    assert.equal(await power.rebootRequested(), false);
  }
});
