import type { Clock } from '../../clock/clock.ts';
import { retry } from '../../clock/retry.ts';
import { systemClock } from '../../clock/system.ts';
import { reasonOf } from '../../errors/reason.ts';
import { type Connection, connect, type Receiver } from './connection.ts';
import { messagesOf, type Sender, type SyslogFormat } from './message.ts';
import { Spool } from './spool.ts';

export interface SyslogOptions extends Omit<Receiver, 'framing'> {
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  readonly sender: Sender;
  readonly format: SyslogFormat;
  /** Called when the receiver becomes unreachable or reachable. */
  onChange(reachable: boolean, message: string): void;
  /** Size of the spool. Default: 8 MiB, at the usual rates many minutes of output. */
  readonly spoolBytes?: number | undefined;
  /** Maximum back-off between two attempts to reach the receiver. Default: 5. */
  readonly maxBackoffSeconds?: number | undefined;
}

/** Forwards the log. Disposing of it waits at most two seconds for spooled messages. */
export interface Syslog extends AsyncDisposable {
  /**
   * Takes a log event as JSON, free of secrets. Returns at once, also while the receiver is away.
   */
  write(line: string): void;
}

/**
 * How long sent messages are kept, to be sent again.
 *
 * TCP: syslog has no acknowledgement, and the kernel notices a receiver without power after up to
 * two minutes. After a broken connection the messages of that time are sent again. UDP: the ICMP
 * answer of a closed port takes a round trip.
 */
const keepSecondsOf = { tcp: 120, udp: 2 } as const;

/**
 * Maximum size of a message; longer ones are split. TCP: rsyslog splits at 8096 bytes, also within
 * a character. UDP: an Ethernet frame; receivers of RFC 3164 need not accept more than 1024 bytes
 * (section 4.1).
 */
function limitBytesOf({ protocol, format }: SyslogOptions): number {
  if (protocol === 'tcp') return 8000;
  return format === 'rfc3164' ? 1024 : 1400;
}

const batchBytes = 64 * 1024;
const drainTimeoutSeconds = 2;
/** A connection that lasted longer than this is made again without back-off. */
const stableSeconds = 10;

/**
 * Starts forwarding to a syslog server. Never fails; an unreachable receiver is retried forever.
 */
export function startSyslog(options: SyslogOptions): Syslog {
  const forwarder = new Forwarder(options);
  const done = forwarder.run();
  return {
    write: (line) => forwarder.write(line),
    async [Symbol.asyncDispose]() {
      await forwarder.stop();
      await done;
    },
  };
}

class Forwarder {
  readonly #options: SyslogOptions;
  readonly #clock: Clock;
  readonly #spool: Spool;
  readonly #stop = new AbortController();
  #number = 0;
  /** Settled when there may be messages to send. */
  #wake = Promise.withResolvers<void>();
  /** Settled when the spool is empty. */
  #drained = Promise.withResolvers<void>();
  #isReachable: boolean | undefined;

  constructor(options: SyslogOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#spool = new Spool(options.spoolBytes ?? 8 * 1024 * 1024, this.#clock);
  }

  write(line: string): void {
    const { sender, format } = this.#options;
    // RFC 5424, section 7.3.1: from 1 to 2^31 - 1, then from 1 again.
    const nextNumber = () => {
      this.#number = (this.#number % 2_147_483_647) + 1;
      return this.#number;
    };
    const limitBytes = limitBytesOf(this.#options);
    for (const message of messagesOf(line, { clock: this.#clock, sender, format, limitBytes, nextNumber }))
      this.#spool.add(message);
    this.#wake.resolve();
  }

  async run(): Promise<void> {
    const { signal } = this.#stop;
    const maxSeconds = this.#options.maxBackoffSeconds ?? 5;
    const onFailure = (error: unknown) => this.#tell(false, reasonOf(error));
    const options = { clock: this.#clock, signal, initialSeconds: 0.1, maxSeconds, growth: 2, onFailure };
    while (!signal.aborted) {
      const stable = await retry(() => this.#untilBroken(signal), options).catch(() => undefined);
      if (stable !== undefined) onFailure(stable);
    }
  }

  /**
   * @returns why the connection broke, if it held for so long that the waits between attempts begin
   *   anew.
   * @throws {Error} why else
   */
  async #untilBroken(signal: AbortSignal): Promise<unknown> {
    const begin = this.#clock.monotonicSeconds();
    try {
      // Receivers of RFC 3164 do not support octet counting.
      const framing = this.#options.format === 'rfc3164' ? 'line' : 'octet-counting';
      const receiver = { ...this.#options, framing } as const;
      await using connection = await connect(receiver, this.#clock, () => this.#wake.resolve(), signal);
      this.#spool.forget(keepSecondsOf[this.#options.protocol]);
      this.#spool.rewind();
      return await this.#forward(connection, signal);
    } catch (error) {
      if (signal.aborted || this.#clock.monotonicSeconds() - begin <= stableSeconds) throw error;
      return error;
    }
  }

  async stop(): Promise<void> {
    if (!this.#spool.isEmpty) {
      const { promise: late, resolve } = Promise.withResolvers<void>();
      using _ = this.#clock.schedule(drainTimeoutSeconds, resolve);
      await Promise.race([this.#drained.promise, late]);
    }
    this.#stop.abort(new Error('the agent stops'));
    this.#wake.resolve();
  }

  async #forward(connection: Connection, signal: AbortSignal): Promise<never> {
    const { protocol } = this.#options;
    const keepSeconds = keepSecondsOf[protocol];
    const begin = this.#clock.monotonicSeconds();
    for (;;) {
      signal.throwIfAborted();
      const failure = connection.failure();
      if (failure !== undefined) throw failure;
      const lost = this.#spool.takeLost();
      if (lost > 0) this.write(lossRecord(lost, this.#clock.now()));
      const messages = this.#spool.peek(batchBytes);
      if (messages.length === 0) {
        this.#drained.resolve();
        this.#drained = Promise.withResolvers();
        this.#wake = Promise.withResolvers();
        await this.#wake.promise;
        continue;
      }
      await connection.send(messages);
      this.#spool.sent(messages);
      this.#spool.forget(keepSeconds);
      // Over UDP the absence of an ICMP error is the only sign.
      if (protocol === 'tcp' || this.#clock.monotonicSeconds() - begin > keepSeconds) this.#tell(true, '');
    }
  }

  #tell(reachable: boolean, reason: string): void {
    const { protocol, host, port, onChange } = this.#options;
    const receiver = `the syslog server ${host}:${port} (${protocol.toUpperCase()})`;
    const wasReachable = this.#isReachable;
    this.#isReachable = reachable;
    if (wasReachable === reachable) return;
    if (!reachable) onChange(false, `cannot reach ${receiver}: ${reason}; messages are spooled and sent later`);
    else if (wasReachable === false) onChange(true, `${receiver} is reachable again`);
  }
}

function lossRecord(count: number, time: Date): string {
  const msg = `${count} earlier messages were lost: the syslog server was unreachable and the spool was full`;
  return JSON.stringify({ level: 'warn', time: time.toISOString(), msg });
}
