import { lstat, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';
import { OperationError } from '../../errors/operation-error.ts';
import { reasonOf } from '../../errors/reason.ts';
import { type KexecOptions, loadKernel, startKernel, writeDirtyPages } from './kexec.ts';
import { runCommand } from './run-command.ts';

/** What to do with the machine; `kexec`: start another kernel without firmware and boot loader. */
export type Finish = 'reboot' | 'poweroff' | 'kexec';

/** The machine does not reboot or power off. */
export class PowerError extends OperationError {
  override readonly name = 'PowerError';
}

/** Port to the machine's power switch. */
export interface Power {
  /** Whether an action has requested a reboot by writing a file, as in HookOS. */
  rebootRequested(): Promise<boolean>;
  /**
   * Removes the request of an action and reboots the machine or powers it off. On success it never
   * returns: the shutdown aborts the signal, or another kernel runs. If `kexec` fails, the machine
   * reboots.
   *
   * @throws {PowerError} the machine is still up after all attempts; the reason of `signal`
   */
  finish(how: Finish, signal: AbortSignal): Promise<never>;
}

export interface PowerOptions {
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /** The file `reboot` in this directory requests a reboot. */
  readonly workDirectory: string;
  readonly rebootCommand: string;
  readonly poweroffCommand: string;
  /** Use sysrq if the command fails. */
  readonly sysrq: boolean;
  /** Default: /proc/sysrq-trigger. */
  readonly sysrqFile?: string;
  readonly kexec: KexecOptions;
  /** Called with the reason why the machine reboots instead of `kexec`. */
  readonly warn: (message: string) => void;
  /** Time for the shutdown after the command has succeeded. Default: 30. */
  readonly patienceSeconds?: number;
}

/** {@link Power} by commands of init (`reboot` and `poweroff`), with sysrq as the last resort. */
export function createPower({
  clock = systemClock,
  workDirectory,
  rebootCommand,
  poweroffCommand,
  sysrq,
  sysrqFile = '/proc/sysrq-trigger',
  kexec,
  warn,
  patienceSeconds = 30,
}: PowerOptions): Power {
  const requestFile = join(workDirectory, 'reboot');
  const commands = { reboot: rebootCommand, poweroff: poweroffCommand };

  /** @returns why the other kernel does not run */
  async function tryKexec(signal: AbortSignal): Promise<string> {
    try {
      await loadKernel(kexec, signal);
    } catch (error) {
      signal.throwIfAborted();
      // Whatever it is, such as a full disk: the machine reboots.
      return reasonOf(error);
    }
    const failure = await startKernel(kexec, signal);
    if (failure !== undefined) return failure;
    await clock.wait(patienceSeconds, signal);
    return `${kexec.command} succeeded, but the machine is still up after ${patienceSeconds} s`;
  }

  return {
    async rebootRequested() {
      return lstat(requestFile).then(
        () => true,
        () => false,
      );
    },

    async finish(wanted, signal) {
      // Removed first: with the directory on a disk the machine would reboot again and again.
      // Whatever the action has made: a directory is a request too.
      await rm(requestFile, { recursive: true, force: true });
      if (wanted === 'kexec') warn(`kexec failed, rebooting instead: ${await tryKexec(signal)}`);
      const how = wanted === 'kexec' ? 'reboot' : wanted;
      // A command line of words without quoting.
      const [program = '', ...parameters] = commands[how].split(/\s+/);
      const failure = await runCommand(program, parameters, signal);
      if (failure === undefined) await clock.wait(patienceSeconds, signal);
      const why = failure ?? `${commands[how]} succeeded, but the machine is still up after ${patienceSeconds} s`;
      if (!sysrq) throw new PowerError({ what: how, target: 'the machine', why });
      await triggerSysrq(sysrqFile, how).catch((cause: unknown) => {
        throw new PowerError({ what: how, target: 'the machine', why: `${why}, and sysrq: ${reasonOf(cause)}`, cause });
      });
      await clock.wait(patienceSeconds, signal);
      throw new PowerError({ what: how, target: 'the machine', why: `${why}, and neither did sysrq` });
    },
  };
}

/**
 * Writes dirty pages back, then reboots or powers off at once (kernel document admin-guide/sysrq:
 * b, o).
 */
async function triggerSysrq(file: string, how: 'reboot' | 'poweroff'): Promise<void> {
  await writeDirtyPages();
  await writeFile(file, how === 'reboot' ? 'b' : 'o');
}
