import { readdir, readFile } from 'node:fs/promises';
import { bytesTransferred } from './disk-statistics.ts';
import type { Machine } from './machine.ts';

/** How long a phase may take. All seconds are the machine's own: those in which it did not wait for a processor of the host. */
export interface PatienceLimits {
  /** Without any progress. */
  readonly stallSeconds: number;
  /** In all: a machine that goes round in circles makes progress without end. */
  readonly totalSeconds: number;
}

/** What a machine has done since it was started. Each only grows. */
export interface Progress {
  readonly consoleLines: number;
  readonly diskBytes: number;
  readonly networkBytes: number;
}

/** A look at the machine. */
export interface Observation extends Progress {
  /** Seconds for which the busiest thread of the emulator has waited for a processor of the host. */
  readonly waitedSeconds: number;
  /** Seconds of the host's monotonic clock. */
  readonly atSeconds: number;
}

/** About ten times of what the longest phase of an emulated machine needs. */
export const usualLimits: PatienceLimits = { stallSeconds: 300, totalSeconds: 1200 };

/** Less than that is a poll, and an agent that polls may be one that hangs. */
const significantNetworkBytes = 1 << 20;

/** Between two looks. */
const lookEverySeconds = 5;

/**
 * Counts the machine's own seconds, in all and since its last progress. A host that is busy with other work gives the machine fewer processor seconds; they
 * are not counted against it.
 */
export class PatienceMeter {
  readonly #limits: PatienceLimits;
  #last: Observation;
  #progressAt: Progress;
  #hostSeconds = 0;
  #ownSeconds = 0;
  #stalledSeconds = 0;

  constructor(limits: PatienceLimits, first: Observation) {
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
      return `no line on the console, no disk access and no download for ${stallSeconds} s`;
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
    now.consoleLines > before.consoleLines ||
    now.diskBytes > before.diskBytes ||
    now.networkBytes - before.networkBytes >= significantNetworkBytes
  );
}

export interface PatienceOptions {
  readonly tap?: string;
  /** Default: {@link usualLimits}. */
  readonly limits?: PatienceLimits;
  readonly signal?: AbortSignal;
  readonly onSlow?: (waitedShare: number) => void;
}

/**
 * Runs `work` as long as the machine makes progress.
 *
 * @param tap the host's end of the machine's cable, in this network namespace. Default: traffic is not looked at
 * @param onSlow is called once, when the machine has waited for the host for more than half of at least a minute
 * @throws {Error} what `work` throws; when the machine has ended, or the limits are exceeded
 */
export async function whileProgressing<T>(
  machine: Machine,
  { tap, limits = usualLimits, signal, onSlow }: PatienceOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = new AbortController();
  const meter = new PatienceMeter(limits, await observe(machine, tap));
  let isSlow = false;
  const look = async () => {
    const reason = meter.observe(await observe(machine, tap));
    if (!isSlow && meter.hostSeconds >= 60 && meter.waitedShare > 0.5) {
      isSlow = true;
      onSlow?.(meter.waitedShare);
    }
    if (reason === undefined) return;
    const slowness = isSlow ? `; it waited ${Math.round(meter.waitedShare * 100)} % of the time for a processor` : '';
    over.abort(new Error(`${reason}, by the machine's own time${slowness}`));
  };
  void machine.exited.then((code) => over.abort(new Error(`the machine ended with code ${code}`)));
  // A look that fails is one at a machine that has just ended.
  const timer = setInterval(() => void look().catch(() => {}), lookEverySeconds * 1000);
  try {
    return await work(signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]));
  } finally {
    clearInterval(timer);
  }
}

async function observe(machine: Machine, tap: string | undefined): Promise<Observation> {
  const [diskBytes, networkBytes, waitedSeconds] = await Promise.all([
    bytesTransferred(machine),
    tap === undefined ? 0 : bytesOnCable(tap),
    secondsOnRunQueue(machine.pid),
  ]);
  const consoleLines = machine.console.lines.length;
  return { consoleLines, diskBytes, networkBytes, waitedSeconds, atSeconds: performance.now() / 1000 };
}

async function bytesOnCable(tap: string): Promise<number> {
  const counters = ['rx_bytes', 'tx_bytes'].map((name) => readFile(`/sys/class/net/${tap}/statistics/${name}`, 'utf8'));
  return (await Promise.all(counters)).reduce((sum, text) => sum + Number(text), 0);
}

/** The second number of schedstat: nanoseconds for which a thread was ready to run and another ran. */
async function secondsOnRunQueue(pid: number): Promise<number> {
  const threads = await readdir(`/proc/${pid}/task`);
  const waits = threads.map(async (thread) => {
    // A thread may have ended since the directory was read.
    const text = await readFile(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').catch(() => '0 0 0');
    return Number(text.split(' ')[1]) / 1e9;
  });
  return Math.max(0, ...(await Promise.all(waits)));
}
