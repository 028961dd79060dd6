import { deepEqual, equal, rejects } from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { startMachine } from './machine.ts';

const soon = { timeoutSeconds: 120 };
let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-machine-'));
});
afterEach(() => rm(directory, { recursive: true }));

for (const firmware of ['bios', 'uefi'] as const) {
  test(`startMachine() boots ${firmware} from the network, takes commands, and ends when disposed`, async () => {
    const machine = await startMachine({
      name: 'm',
      directory,
      firmware,
      acceleration: 'tcg',
      memoryMiB: 256,
      boot: { kind: 'firmware', order: ['network', 'disks'] },
      cards: [{ mac: '08:00:27:00:00:01', network: { kind: 'user' } }],
    });
    {
      await using running = machine;
      const first = await running.console.waitForLine(/iPXE/, soon);
      await running.monitor.command('system_reset');
      await running.monitor.waitForEvent('RESET', { timeoutSeconds: 10 });
      await running.console.waitForLine(/iPXE/, { ...soon, after: first });
      await rejects(running.monitor.command('no-such-command'), /refused/);
    }
    equal(await machine.exited, -1);
    equal((await readFile(machine.consoleLog, 'latin1')).includes('iPXE'), true);
    deepEqual(
      (await readdir(directory)).filter((name) => name.endsWith('.monitor')),
      [],
    );
  });
}

test('startMachine() says why a machine cannot start', async () => {
  const disk = { path: join(directory, 'no-such-disk') };
  await rejects(
    startMachine({ name: 'm', directory, acceleration: 'tcg', boot: { kind: 'firmware', order: [] }, disks: [disk] }),
    /cannot start machine m: .*no-such-disk.*No such file/,
  );
});

test('a machine ends when its signal is aborted', async () => {
  const plug = new AbortController();
  const machine = await startMachine({
    name: 'm',
    directory,
    acceleration: 'tcg',
    boot: { kind: 'firmware', order: [] },
    signal: plug.signal,
  });
  plug.abort();
  equal(await machine.exited, -1);
  await machine[Symbol.asyncDispose]();
});
