import { readdir, readFile } from 'node:fs/promises';
import { bytesTransferred } from './disk-statistics.ts';
import type { Machine } from './machine.ts';

/**
 * How long a phase may take. All seconds are the machine's own: those in which it did not wait for
 * a processor of the host.
 */
export interface ProgressLimits {
  /** Without any progress. */
  readonly stallSeconds: number;
  /** In all: a machine that restarts again and again may read its disk each time. */
  readonly totalSeconds: number;
}

/** What a machine has done since it was started. Each only grows. */
export interface Progress {
  /** Lines of the console that differ from all lines before, see {@link NewLines}. */
  readonly newLines: number;
  readonly diskBytes: number;
  readonly networkBytes: number;
}

/** The state of the machine at one time. */
export interface Observation extends Progress {
  /**
   * Seconds for which the busiest thread of the emulator has waited for a processor of the host.
   */
  readonly waitedSeconds: number;
  /** Seconds of the host's monotonic clock. */
  readonly atSeconds: number;
}

/** About ten times of what the longest phase of an emulated machine needs. */
export const usualLimits: ProgressLimits = { stallSeconds: 300, totalSeconds: 1200 };

/** Less than that is a poll, and an agent that polls may be one that hangs. */
const significantNetworkBytes = 1 << 20;

/** Between two observations. */
const observeEverySeconds = 5;

/**
 * Counts the lines of a console that differ from all lines before in more than numbers, times and
 * identifiers. A program that its supervisor starts again and again repeats its lines: that is no
 * progress. Neither are the lines of a second boot of the same system; its disk accesses and
 * downloads are.
 */
export class NewLines {
  readonly #seen = new Set<string>();
  #next = 0;

  /** @param lines all lines so far: those of the previous call, and later ones */
  count(lines: readonly { readonly text: string }[]): number {
    for (const { text } of lines.slice(this.#next)) this.#seen.add(text.replaceAll(varying, ' '));
    this.#next = lines.length;
    return this.#seen.size;
  }
}

/** Words with a digit (numbers, times, identifiers), and the spaces that align them. */
const varying = /(?:\b(?=[\w.:-]*\d)[\w.:-]+|\s)+/g;

/**
 * Counts the machine's own seconds, in all and since its last progress. Seconds in which it waited
 * for a processor of a busy host do not count.
 */
export class ProgressMeter {
  readonly #limits: ProgressLimits;
  #last: Observation;
  #progressAt: Progress;
  #hostSeconds = 0;
  #ownSeconds = 0;
  #stalledSeconds = 0;

  constructor(limits: ProgressLimits, first: Observation) {
    this.#limits = limits;
    this.#last = first;
    this.#progressAt = first;
  }

  /** @returns why the wait is over, or undefined while it goes on */
  observe(now: Observation): string | undefined {
    const hostSeconds = now.atSeconds - this.#last.atSeconds;
    const waitedSeconds = Math.min(hostSeconds, Math.max(0, now.waitedSeconds - this.#last.waitedSeconds));
    this.#last = now;
    this.#hostSeconds += hostSeconds;
    this.#ownSeconds += hostSeconds - waitedSeconds;
    this.#stalledSeconds += hostSeconds - waitedSeconds;
    if (hasProgressed(this.#progressAt, now)) {
      this.#progressAt = now;
      this.#stalledSeconds = 0;
    }
    const { stallSeconds, totalSeconds } = this.#limits;
    if (this.#stalledSeconds >= stallSeconds)
      return `no new line on the console, no disk access and no download for ${stallSeconds} s`;
    return this.#ownSeconds >= totalSeconds ? `not done after ${totalSeconds} s` : undefined;
  }

  /** The part of the time in which the machine waited for a processor of the host, 0 to 1. */
  get waitedShare(): number {
    return this.#hostSeconds === 0 ? 0 : 1 - this.#ownSeconds / this.#hostSeconds;
  }

  get hostSeconds(): number {
    return this.#hostSeconds;
  }
}

function hasProgressed(before: Progress, now: Progress): boolean {
  return (
    now.newLines > before.newLines ||
    now.diskBytes > before.diskBytes ||
    now.networkBytes - before.networkBytes >= significantNetworkBytes
  );
}

/** What is observed of a machine. */
export interface ObservedMachine extends Pick<Machine, 'exited' | 'pid'> {
  readonly console: { readonly lines: readonly { readonly text: string }[] };
  readonly monitor: Pick<Machine['monitor'], 'command'>;
}

export interface ProgressOptions {
  readonly tap?: string;
  /** Default: {@link usualLimits}. */
  readonly limits?: ProgressLimits;
  readonly signal?: AbortSignal;
  readonly onSlow?: (waitedShare: number) => void;
}

/**
 * Runs `work` as long as the machine makes progress.
 *
 * @param tap the host's end of the machine's cable, in this network namespace. Default: traffic is
 *   not counted
 * @param onSlow is called once, when the machine has waited for the host for more than half of at
 *   least a minute
 * @throws {Error} what `work` throws; when the machine has ended, or the limits are exceeded
 */
export async function whileProgressing<T>(
  machine: ObservedMachine,
  { tap, limits = usualLimits, signal, onSlow }: ProgressOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = new AbortController();
  const newLines = new NewLines();
  const meter = new ProgressMeter(limits, await observe(machine, newLines, tap));
  let isSlow = false;
  const check = async () => {
    const reason = meter.observe(await observe(machine, newLines, tap));
    if (!isSlow && meter.hostSeconds >= 60 && meter.waitedShare > 0.5) {
      isSlow = true;
      onSlow?.(meter.waitedShare);
    }
    if (reason === undefined) return;
    const slowness = isSlow ? `; it waited ${Math.round(meter.waitedShare * 100)} % of the time for a processor` : '';
    over.abort(new Error(`${reason}, by the machine's own time${slowness}`));
  };
  void machine.exited.then((code) => over.abort(new Error(`the machine ended with code ${code}`)));
  // An observation that fails is one of a machine that has just ended.
  const timer = setInterval(() => void check().catch(() => {}), observeEverySeconds * 1000);
  try {
    return await work(signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]));
  } finally {
    clearInterval(timer);
  }
}

async function observe(machine: ObservedMachine, newLines: NewLines, tap: string | undefined): Promise<Observation> {
  const [diskBytes, networkBytes, waitedSeconds] = await Promise.all([
    bytesTransferred(machine),
    tap === undefined ? 0 : bytesOnCable(tap),
    secondsOnRunQueue(machine.pid),
  ]);
  const atSeconds = performance.now() / 1000;
  return { newLines: newLines.count(machine.console.lines), diskBytes, networkBytes, waitedSeconds, atSeconds };
}

async function bytesOnCable(tap: string): Promise<number> {
  const counters = ['rx_bytes', 'tx_bytes'].map((name) => readFile(`/sys/class/net/${tap}/statistics/${name}`, 'utf8'));
  return (await Promise.all(counters)).reduce((sum, text) => sum + Number(text), 0);
}

/**
 * The second number of schedstat: nanoseconds for which a thread was ready to run and another ran.
 */
async function secondsOnRunQueue(pid: number): Promise<number> {
  const threads = await readdir(`/proc/${pid}/task`);
  const waits = threads.map(async (thread) => {
    // A thread may have ended since the directory was read.
    const text = await readFile(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').catch(() => '0 0 0');
    return Number(text.split(' ')[1]) / 1e9;
  });
  return Math.max(0, ...(await Promise.all(waits)));
}
