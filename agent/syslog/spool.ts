import type { Clock } from '../../clock/clock.ts';

interface Entry {
  readonly bytes: Buffer;
  /** `undefined`: not sent yet. By {@link Clock.monotonicSeconds}. */
  sentAt: number | undefined;
}

/**
 * Messages on their way: those that wait, and before them those that were sent lately and are sent
 * again should the connection turn out to have been broken. Holds a bounded number of bytes; over
 * it, the oldest messages go first.
 */
export class Spool {
  readonly #limitBytes: number;
  readonly #clock: Clock;
  /** From `#first` on; what is before it is gone. */
  #entries: Entry[] = [];
  #first = 0;
  /** The first one that waits. */
  #next = 0;
  #bytes = 0;
  #lost = 0;

  constructor(limitBytes: number, clock: Clock) {
    this.#clock = clock;
    this.#limitBytes = limitBytes;
  }

  add(bytes: Buffer): void {
    this.#entries.push({ bytes, sentAt: undefined });
    this.#bytes += bytes.length;
    while (this.#bytes > this.#limitBytes && this.#first < this.#entries.length - 1) this.#dropFirst();
  }

  /** The messages to send next, at least one if any waits, up to so many bytes. */
  peek(limitBytes: number): Buffer[] {
    const messages: Buffer[] = [];
    let size = 0;
    for (let index = this.#next; index < this.#entries.length; index++) {
      const { bytes } = this.#entries[index] as Entry;
      if (messages.length > 0 && size + bytes.length > limitBytes) break;
      messages.push(bytes);
      size += bytes.length;
    }
    return messages;
  }

  /** These were sent. Some of them may have been dropped meanwhile. */
  sent(messages: readonly Buffer[]): void {
    const sent = new Set(messages);
    for (; this.#next < this.#entries.length; this.#next++) {
      const entry = this.#entries[this.#next] as Entry;
      if (!sent.has(entry.bytes)) return;
      entry.sentAt = this.#clock.monotonicSeconds();
    }
  }

  /** Everything that is still here is to be sent again. */
  rewind(): void {
    this.#next = this.#first;
  }

  /** Forgets what was sent longer ago. */
  forget(olderThanSeconds: number): void {
    const limit = this.#clock.monotonicSeconds() - olderThanSeconds;
    while (this.#first < this.#next && (this.#entries[this.#first]?.sentAt ?? limit) < limit) this.#dropFirst();
  }

  get isEmpty(): boolean {
    return this.#next === this.#entries.length;
  }

  /** How many messages were dropped unsent since the last call. */
  takeLost(): number {
    const lost = this.#lost;
    this.#lost = 0;
    return lost;
  }

  #dropFirst(): void {
    const entry = this.#entries[this.#first];
    if (entry === undefined) return;
    this.#bytes -= entry.bytes.length;
    if (entry.sentAt === undefined) this.#lost += 1;
    this.#first += 1;
    this.#next = Math.max(this.#next, this.#first);
    if (this.#first > 1024 && this.#first > this.#entries.length / 2) this.#compact();
  }

  #compact(): void {
    this.#entries = this.#entries.slice(this.#first);
    this.#next -= this.#first;
    this.#first = 0;
  }
}
