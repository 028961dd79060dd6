import assert from 'node:assert/strict';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as pause } from 'node:timers/promises';
import { createRedactor } from '../../agent/log/redact.ts';
import { createStatusBoard } from '../../agent/status/board.ts';
import { createMetrics } from '../../agent/status/metrics.ts';
import { startStatusServer } from '../../agent/status/server.ts';

/** What work did to the process that it ran in. */
export interface LoopFigures {
  /**
   * Longest time for which the event loop was held: the longest delay by `monitorEventLoopDelay()`,
   * or the most processor time of this thread between two turns, whichever is less. On a machine
   * with other work the first counts the time in which another program had the processor.
   */
  readonly heldMilliseconds: number;
  readonly delayMilliseconds: number;
  /** How much the process has grown at most. */
  readonly grownMiB: number;
  /** Answers of /healthz meanwhile. */
  readonly healthAnswers: number;
}

/** The most that input from outside may hold the event loop. */
const maxHeldMilliseconds = 50;

/** Fails if work holds the event loop for more than 50 ms. Meanwhile /healthz must answer. */
export async function assertLoopIsFree(name: string, work: () => Promise<void>, maxGrownMiB = 64): Promise<void> {
  const figures = await measureLoop(work);
  const shown = `${name}: ${JSON.stringify(figures)}`;
  if (process.env['SHOW_FIGURES'] !== undefined) process.stderr.write(`${shown}\n`);
  assert.ok(figures.heldMilliseconds < maxHeldMilliseconds, shown);
  assert.ok(figures.healthAnswers > 0, shown);
  assert.ok(figures.grownMiB < maxGrownMiB, shown);
}

export async function measureLoop(work: () => Promise<void>): Promise<LoopFigures> {
  const { redact } = createRedactor();
  const board = createStatusBoard({ machine: 'm', hostName: 'h', server: undefined, version: '1', redact });
  const metrics = createMetrics({ build: { version: '1' }, dialect: () => undefined });
  await using server = await startStatusServer({ host: '127.0.0.1', port: 0, board, metrics, redact });
  const ask = async () => assert.equal((await fetch(`http://127.0.0.1:${server.port}/healthz`)).status, 200);
  await ask();
  let healthAnswers = 0;
  let isOver = false;
  const poll = async () => {
    do {
      await ask();
      healthAnswers += 1;
      await pause(5);
    } while (!isOver);
  };
  const before = process.resourceUsage().maxRSS;
  using processor = watchProcessorTime();
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const polling = poll();
  try {
    // So that the monitor sees the beginning of what holds the loop.
    await pause(5);
    await work();
    // So that the monitor sees the end of what held the loop.
    await pause(5);
  } finally {
    isOver = true;
    delay.disable();
  }
  await polling;
  return {
    heldMilliseconds: Math.round(Math.min(delay.max / 1e6, processor.longestTurnMilliseconds())),
    delayMilliseconds: Math.round(delay.max / 1e6),
    grownMiB: Math.round((process.resourceUsage().maxRSS - before) / 1024),
    healthAnswers,
  };
}

/** The processor time of this thread from one turn of the event loop to the next. */
function watchProcessorTime(): Disposable & { readonly longestTurnMilliseconds: () => number } {
  const used = () => {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1000;
  };
  let [last, longest] = [used(), 0];
  const look = () => {
    const now = used();
    [last, longest] = [now, Math.max(longest, now - last)];
  };
  const timer = setInterval(look, 1);
  return {
    longestTurnMilliseconds: () => longest,
    [Symbol.dispose]: () => clearInterval(timer),
  };
}
