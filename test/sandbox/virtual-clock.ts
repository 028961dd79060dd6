import { performance } from 'node:perf_hooks';
import type { Clock, Timer } from '../../clock/clock.ts';

export interface VirtualClockOptions {
  /** The same seed gives the same random numbers. Default: 1. */
  readonly seed?: number | undefined;
  /** Time of day at the beginning. Default: 2026-01-01, 00:00 UTC. */
  readonly startsAt?: Date | undefined;
}

interface Entry {
  dueSeconds: number;
  /** Of two that are due at the same time the older one comes first. */
  order: number;
  readonly callback: () => void;
}

/** After so many turns of the event loop without an event the process counts as idle. */
const quietTurns = 3;

/**
 * Where there are sockets, so many pauses of two milliseconds must pass without an event besides.
 */
const quietPauses = 3;
const sockets = /^(TCPSocketWrap|UDPWrap|TLSWrap)$/i;

/**
 * What may stay open without end and without anything happening; all else that Node lists (requests
 * for files and names, child processes, connections that are made) is work.
 */
const mayBeIdle =
  /^(TCP(Socket|Server)Wrap|Pipe(Server)?Wrap|UDPWrap|TLSWrap|TTYWrap|SignalWrap|MessagePort|FSEventWrap|Timeout|Immediate)$/;

/**
 * A {@link Clock} whose time passes as soon as all code waits for it: then it jumps to the next
 * timer. An hour of waiting takes a millisecond, in the same order of events. Until something
 * waits, time stands still.
 *
 * Idle means: for some turns of the event loop (and some milliseconds, where there are sockets) no
 * event came from the kernel (data, connections, files, child processes), none is expected from a
 * file, a name server, a child process or a connection that is being made, and no timer was set or
 * cancelled. What peers in the same process do over sockets is therefore finished before time
 * passes. What it cannot know: that a peer in another process is busy. For that time {@link hold}
 * stops the clock.
 *
 * Not reproduced: timers that fire late, and a monotonic clock that stops while the machine sleeps.
 */
export class VirtualClock implements Clock {
  readonly #startsAt: number;
  readonly #entries = new Set<Entry>();
  #elapsedSeconds = 0;
  #offsetMilliseconds = 0;
  #order = 0;
  #state: number;
  #holds = 0;
  #isWatching = false;
  /** Grows with each timer that is set or cancelled. */
  #changes = 0;

  constructor({ seed = 1, startsAt = new Date('2026-01-01T00:00:00Z') }: VirtualClockOptions = {}) {
    this.#startsAt = startsAt.getTime();
    this.#state = seed >>> 0;
  }

  /** Since the beginning. */
  get elapsedSeconds(): number {
    return this.#elapsedSeconds;
  }

  /** How many waits and timers are pending. */
  get pending(): number {
    return this.#entries.size;
  }

  now(): Date {
    return new Date(Math.floor(this.#startsAt + this.#offsetMilliseconds + this.#elapsedSeconds * 1000));
  }

  monotonicSeconds(): number {
    return this.#elapsedSeconds;
  }

  async wait(seconds: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = this.schedule(seconds, resolve);
    const stop = () => {
      timer[Symbol.dispose]();
      reject(signal?.reason);
    };
    signal?.addEventListener('abort', stop, { once: true });
    try {
      await promise;
    } finally {
      signal?.removeEventListener('abort', stop);
    }
  }

  schedule(seconds: number, callback: () => void): Timer {
    const entry: Entry = { dueSeconds: 0, order: 0, callback };
    const set = () => {
      entry.dueSeconds = this.#elapsedSeconds + Math.max(0, seconds);
      entry.order = this.#order++;
      this.#changes += 1;
    };
    set();
    this.#entries.add(entry);
    this.#watch();
    return {
      // As with Node's timers: one that has fired is set again.
      restart: () => {
        set();
        this.#entries.add(entry);
        this.#watch();
      },
      [Symbol.dispose]: () => {
        if (this.#entries.delete(entry)) this.#changes += 1;
      },
    };
  }

  /** mulberry32: 32 bits of state, enough to spread waits. */
  random(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** Sets the time of day, as a person or a time server does; waits and durations do not change. */
  setTimeOfDay(time: Date): void {
    this.#offsetMilliseconds += time.getTime() - this.now().getTime();
  }

  /** Lets time pass now, for code that does not wait: what is due meanwhile is called. */
  advance(seconds: number): void {
    const end = this.#elapsedSeconds + seconds;
    while ([...this.#entries].some(({ dueSeconds }) => dueSeconds <= end)) this.#fireNext();
    this.#elapsedSeconds = end;
  }

  /** Stops the clock until it is disposed of: something outside of this process is at work. */
  hold(): Disposable {
    this.#holds += 1;
    let isHeld = true;
    return {
      [Symbol.dispose]: () => {
        if (isHeld) this.#holds -= 1;
        isHeld = false;
      },
    };
  }

  #watch(): void {
    if (this.#isWatching) return;
    this.#isWatching = true;
    let quiet = 0;
    let before = '';
    const turn = () => {
      if (this.#entries.size === 0) {
        this.#isWatching = false;
        return;
      }
      const now = `${this.#changes} ${performance.nodeTiming.uvMetricsInfo.events}`;
      quiet = now === before ? quiet + 1 : 0;
      before = now;
      if (quiet < quietTurns) return void setImmediate(turn);
      const resources = process.getActiveResourcesInfo();
      if (this.#holds > 0 || !resources.every((name) => mayBeIdle.test(name))) {
        quiet = 0;
        // To turn without pause would take the processor from what is at work.
        return void setTimeout(turn, 1);
      }
      // On a busy machine the kernel hands data from one socket to another only when it gets the
      // processor.
      if (quiet < quietTurns + quietPauses && resources.some((name) => sockets.test(name)))
        return void setTimeout(turn, 2);
      quiet = 0;
      this.#fireNext();
      setImmediate(turn);
    };
    setImmediate(turn);
  }

  #fireNext(): void {
    let next: Entry | undefined;
    for (const entry of this.#entries) if (next === undefined || isBefore(entry, next)) next = entry;
    if (next === undefined) return;
    this.#entries.delete(next);
    this.#elapsedSeconds = Math.max(this.#elapsedSeconds, next.dueSeconds);
    next.callback();
  }
}

function isBefore(one: Entry, other: Entry): boolean {
  return one.dueSeconds < other.dueSeconds || (one.dueSeconds === other.dueSeconds && one.order < other.order);
}
