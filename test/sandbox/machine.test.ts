import { deepEqual, equal, rejects } from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { cpio } from '../../initramfs/cpio.ts';
import { Tree } from '../../initramfs/tree.ts';
import { startMachine } from './machine.ts';
import { whileProgressing } from './progress-limits.ts';

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
      await whileProgressing(running, {}, async (signal) => {
        const first = await running.console.waitForLine(/iPXE/, { signal });
        await running.monitor.command('system_reset');
        await running.monitor.waitForEvent('RESET', { signal });
        await running.console.waitForLine(/iPXE/, { signal, after: first });
      });
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

/**
 * Turning the scheduler's statistics on and off makes the kernel patch code that both processors
 * run all the time.
 */
const patching = `#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
while :; do /bin/busybox stat /init /proc/self; done > /dev/null &
/bin/busybox yes | /bin/busybox cat > /dev/null &
for n in $(/bin/busybox seq 100); do
  echo 1 > /proc/sys/kernel/sched_schedstats
  echo 0 > /proc/sys/kernel/sched_schedstats
  echo patch $n
done
echo patched
/bin/busybox poweroff -f
`;

test('a machine whose kernel patches itself goes on', async () => {
  const tree = new Tree();
  for (const name of ['bin', 'dev', 'proc']) tree.directory(name);
  await tree.copy('/bin/busybox', 'bin/busybox');
  tree.file('init', patching, 0o755);
  const initramfs = join(directory, 'initramfs');
  await writeFile(initramfs, cpio(tree, 0));
  const kernel = join(import.meta.dirname, '../../build/vmlinuz-x86_64');
  await using machine = await startMachine({
    name: 'm',
    directory,
    acceleration: 'tcg',
    cpus: 2,
    memoryMiB: 256,
    boot: { kind: 'kernel', kernel, initramfs, commandLine: 'console=ttyS0 panic=-1 quiet' },
  });
  await whileProgressing(machine, {}, (signal) => machine.console.waitForLine(/patched$/, { signal }));
  equal(await machine.exited, 0);
});
