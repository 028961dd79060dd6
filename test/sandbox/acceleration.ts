import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, constants, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * How QEMU runs the guest's instructions: by the processor, or by emulation (about ten times
 * slower, works everywhere).
 */
export type Acceleration = 'kvm' | 'tcg';

const kernel = new URL('../../build/vmlinuz-x86_64', import.meta.url).pathname;

let found: Promise<Acceleration> | undefined;

/**
 * What works on this host. A /dev/kvm that opens proves nothing (nested kinds of it start the
 * firmware and then hang in a stock kernel), so a kernel is started: without a root file system it
 * panics and resets within seconds. The finding is kept until the host restarts.
 */
export function findAcceleration(): Promise<Acceleration> {
  found ??= readOrProbe();
  return found;
}

async function readOrProbe(): Promise<Acceleration> {
  if (!(await isUsable('/dev/kvm', constants.R_OK | constants.W_OK))) return 'tcg';
  if (!(await isUsable(kernel, constants.R_OK))) return 'tcg'; // nothing to probe with yet, and not remembered
  const hostStart = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  const memory = new URL(`../../build/cache/acceleration-${hostStart}`, import.meta.url).pathname;
  const remembered = await readFile(memory, 'utf8').catch(() => ''); // not there yet: probe
  if (remembered === 'kvm' || remembered === 'tcg') return remembered;
  const acceleration = (await kvmStartsKernel()) ? 'kvm' : 'tcg';
  await mkdir(dirname(memory), { recursive: true });
  await writeFile(memory, acceleration);
  return acceleration;
}

async function kvmStartsKernel(): Promise<boolean> {
  const child = spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'KILL', 'qemu-system-x86_64', '-accel', 'kvm', '-cpu', 'host', '-machine', 'q35', '-m', '256'],
      ...['-nodefaults', '-display', 'none', '-no-reboot', '-kernel', kernel, '-append', 'panic=-1 quiet'],
    ],
    { stdio: 'ignore' },
  );
  const overdue = setTimeout(() => child.kill('SIGKILL'), 10_000);
  const [code] = await once(child, 'close');
  clearTimeout(overdue);
  return code === 0;
}

async function isUsable(path: string, mode: number): Promise<boolean> {
  try {
    await access(path, mode);
    return true;
  } catch {
    return false;
  }
}
