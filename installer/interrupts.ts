import { InstallError } from './errors.ts';

/**
 * Turns the first Ctrl-C into an orderly end. Later ones have no effect, because the disk must not
 * be left half cleared. A closed terminal (SIGHUP) does not end it: Node hides whether the signal
 * was to be ignored, as under nohup. An exception that nothing caught ends it in the same way.
 */
export function listenForInterrupts(onFault: (error: unknown) => void): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const interruptBy = (what: string, cause?: unknown) =>
    controller.abort(
      new InstallError({
        what: 'finish',
        target: 'this run',
        why: `interrupted by ${what}`,
        hint: 'no disk was changed',
        cause,
      }),
    );
  const interrupt = (name: NodeJS.Signals) => interruptBy(name);
  const signals = ['SIGINT', 'SIGTERM'] as const;
  if (!process.listeners('SIGHUP').includes(ignore)) process.on('SIGHUP', ignore);
  const fault = (error: unknown) => {
    onFault(error);
    interruptBy('an internal error', error);
  };
  process.on('uncaughtException', fault);
  for (const name of signals) process.on(name, interrupt);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      process.off('uncaughtException', fault);
      for (const name of signals) {
        if (!process.listeners(name).includes(ignore)) process.on(name, ignore);
        process.off(name, interrupt);
      }
    },
  };
}

/** A signal in the last milliseconds must not replace the exit code by its own. */
function ignore(): void {}
