import { access, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';
import { OperationError } from '../../errors/operation-error.ts';
import { KexecError, type KexecOptions, loadKernel, startKernel, writeDirtyPages } from './kexec.ts';
import { runCommand } from './run-command.ts';

/** How a machine ends what it does; `kexec`: another kernel takes over, without firmware and boot loader. */
export type Finish = 'reboot' | 'poweroff' | 'kexec';

/** The machine does not reboot or power off. */
export class PowerError extends OperationError {
  override readonly name = 'PowerError';
}

/** Port to the machine's power switch. */
export interface Power {
  /** Whether an action has asked for a restart, by writing a file; HookOS introduced that. Asking does not take the request back. */
  rebootRequested(): Promise<boolean>;
  /**
   * Restarts the machine or switches it off, and takes the request of an action back. If that works this never returns: the signal is aborted by the
   * machine's going down, or another kernel has taken over. A machine that cannot do `kexec` is restarted.
   *
   * @throws {PowerError} when the machine is still up after all ways were tried; the reason of `signal` when that is aborted
   */
  finish(how: Finish, signal: AbortSignal): Promise<never>;
}

export interface PowerOptions {
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /** The file that asks for a restart is `reboot` in this directory. */
  readonly workDirectory: string;
  readonly rebootCommand: string;
  readonly poweroffCommand: string;
  /** Ask the kernel when the command does not do it. False where the machine is not ours, as on a developer's. */
  readonly sysrq: boolean;
  readonly kexec: KexecOptions;
  /** Told why the machine is restarted where `kexec` was asked for. */
  readonly warn: (message: string) => void;
  /** How long the machine may take to go down after its command succeeded. Default 30. */
  readonly patienceSeconds?: number;
}

/** {@link Power} through commands, as init's (`reboot` and `poweroff` of busybox), and the kernel as the last resort. */
export function createPower({
  clock = systemClock,
  workDirectory,
  rebootCommand,
  poweroffCommand,
  sysrq,
  kexec,
  warn,
  patienceSeconds = 30,
}: PowerOptions): Power {
  const requestFile = join(workDirectory, 'reboot');
  const commands = { reboot: rebootCommand, poweroff: poweroffCommand };

  /** Why the other kernel does not run. */
  async function tryKexec(signal: AbortSignal): Promise<string> {
    try {
      await loadKernel(kexec, signal);
    } catch (error) {
      if (error instanceof KexecError) return error.message;
      throw error;
    }
    const failure = await startKernel(kexec, signal);
    if (failure !== undefined) return failure;
    await clock.wait(patienceSeconds, signal);
    return `${kexec.command} succeeded, but the machine is still up after ${patienceSeconds} s`;
  }

  return {
    async rebootRequested() {
      return access(requestFile).then(
        () => true,
        () => false,
      );
    },

    async finish(wanted, signal) {
      // Taken back first: where the directory is on a disk, the machine would otherwise restart for ever.
      await rm(requestFile, { force: true });
      if (wanted === 'kexec') warn(`no kexec, the machine is restarted instead: ${await tryKexec(signal)}`);
      const how = wanted === 'kexec' ? 'reboot' : wanted;
      // A command line of words without quoting.
      const [program = '', ...parameters] = commands[how].split(/\s+/);
      const failure = await runCommand(program, parameters, signal);
      if (failure === undefined) await clock.wait(patienceSeconds, signal);
      const why = failure ?? `${commands[how]} succeeded, but the machine is still up after ${patienceSeconds} s`;
      if (!sysrq) throw new PowerError({ what: how, target: 'the machine', why });
      await askKernel(how);
      await clock.wait(patienceSeconds, signal);
      throw new PowerError({ what: how, target: 'the machine', why: `${why}, and neither did sysrq` });
    },
  };
}

/** Writes dirty pages back, then restarts or switches off at once (kernel document admin-guide/sysrq: s, b and o). */
async function askKernel(how: 'reboot' | 'poweroff'): Promise<void> {
  await writeDirtyPages();
  await writeFile('/proc/sysrq-trigger', how === 'reboot' ? 'b' : 'o');
}
