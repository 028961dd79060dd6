import type { Writable } from 'node:stream';
import type { Clock } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';

/** Writes lines to a stream whose reader may be slow, stuck or gone, with a bounded amount of memory. */
export interface LineWriter extends AsyncDisposable {
  /** Takes a line, with its end. Returns at once. */
  write(line: string): void;
  /** When whoever has many lines may go on; `undefined`: at once. Never rejects. */
  ready(): Promise<void> | undefined;
}

export interface LineWriterOptions {
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /** Told how many lines were left out, when the reader takes lines again. */
  onLost(count: number): void;
  /** From so many bytes on their way on, {@link LineWriter.ready} waits until there are none. Default: 64 KiB. */
  readonly enoughBytes?: number | undefined;
  /** Lines that do not fit into so many bytes are left out. Default: 1 MiB. */
  readonly limitBytes?: number | undefined;
  /** A reader that takes longer for what is on its way is not waited for. Default: 10. */
  readonly patienceSeconds?: number | undefined;
  /** How long disposing of it waits for the reader. Default: 2. */
  readonly farewellSeconds?: number | undefined;
}

/**
 * Makes a writer to a stream, which stays the caller's.
 *
 * A reader that is slow sets the pace of whoever waits for {@link LineWriter.ready}, as in a pipe. One that takes nothing must not hold up the work for
 * good: it is waited for once, and until it has caught up lines are left out. One that is gone holds up nothing.
 */
export function createLineWriter(stream: Writable, options: LineWriterOptions): LineWriter {
  const { onLost, enoughBytes = 64 * 1024, limitBytes = 1024 * 1024 } = options;
  const { clock = systemClock, patienceSeconds = 10, farewellSeconds = 2 } = options;
  /** Lines of this turn of the event loop: one write for all of them costs a tenth of one for each. */
  let gathered = '';
  let lost = 0;
  let isGone = false;
  let isStuck = false;
  /** Settled when the stream has taken everything, or will never take anything again. */
  let caughtUp: PromiseWithResolvers<void> | undefined;
  let allowed: Promise<void> | undefined;

  // An error that nobody listens to would end the process.
  stream.on('error', end).on('close', end).on('drain', drained);

  function end(): void {
    isGone = true;
    drained();
  }

  function drained(): void {
    isStuck = false;
    caughtUp?.resolve();
    caughtUp = undefined;
    const count = lost;
    lost = 0;
    if (count > 0 && !isGone) onLost(count);
  }

  function flush(): void {
    const lines = gathered;
    gathered = '';
    if (!isGone && lines !== '' && !stream.write(lines)) caughtUp ??= Promise.withResolvers();
  }

  function pendingBytes(): number {
    return stream.writableLength + gathered.length;
  }

  async function patiently(until: Promise<void>, seconds: number): Promise<'over' | 'late'> {
    const late = Promise.withResolvers<'late'>();
    using _ = clock.schedule(seconds, () => late.resolve('late'));
    return await Promise.race([until.then(() => 'over' as const), late.promise]);
  }

  async function untilCaughtUp(until: Promise<void>): Promise<void> {
    const outcome = await patiently(until, patienceSeconds);
    isStuck = outcome === 'late' && caughtUp !== undefined;
    allowed = undefined;
  }

  return {
    write(line) {
      if (isGone) return;
      if (pendingBytes() + line.length > limitBytes) {
        lost += 1;
        return;
      }
      if (gathered === '') queueMicrotask(flush);
      gathered += line;
    },
    ready() {
      if (isGone || isStuck || pendingBytes() < enoughBytes) return undefined;
      flush();
      if (caughtUp !== undefined) allowed ??= untilCaughtUp(caughtUp.promise);
      return allowed;
    },
    async [Symbol.asyncDispose]() {
      flush();
      const { promise: taken, resolve } = Promise.withResolvers<void>();
      if (!isGone) stream.write('', () => resolve());
      if (!isGone) await patiently(taken, farewellSeconds);
      stream.off('close', end).off('drain', drained);
    },
  };
}
