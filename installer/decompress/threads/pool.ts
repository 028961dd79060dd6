import type { PieceEvent } from '../bzip2/piece.ts';
import { DecompressError } from '../error.ts';
import type { DecodeRequest, DecodingWorker, FromWorker, ToWorker } from './messages.ts';

/** The next job waits at its worker, so that no worker waits for the reader between two jobs. */
const jobsPerWorker = 2;

interface Member {
  readonly worker: DecodingWorker;
  jobs: number;
}

/**
 * The threads that decode. Jobs are started in the order of `start`, each by one thread, and may be
 * cancelled all at once.
 */
export class Pool implements AsyncDisposable {
  readonly #members: readonly Member[];
  readonly #runs = new Map<number, JobResults>();
  #jobs = 0;
  #failure: Error | undefined;
  #ended = false;
  readonly #onIdle: () => void;

  /** `onIdle` is called when `hasRoom` has become true. */
  constructor(size: number, start: () => DecodingWorker, onIdle: () => void) {
    this.#onIdle = onIdle;
    this.#members = Array.from({ length: size }, () => {
      const member = { worker: start(), jobs: 0 };
      member.worker.on('message', (message: FromWorker) => this.#receive(member, message));
      member.worker.on('error', (cause) => this.#fail(cause));
      member.worker.on('exit', (code) => this.#ended || this.#fail(new Error(`it ended with exit code ${code}`)));
      return member;
    });
  }

  get hasRoom(): boolean {
    return this.#members.some((member) => member.jobs < jobsPerWorker);
  }

  start(request: Omit<DecodeRequest, 'kind' | 'job'>): JobResults {
    const member = this.#members.reduce((a, b) => (b.jobs < a.jobs ? b : a));
    const job = this.#jobs++;
    const run = new JobResults();
    if (this.#failure) run.fail(this.#failure);
    this.#runs.set(job, run);
    member.jobs++;
    this.#post(member, { kind: 'decode', job, ...request });
    return run;
  }

  /** Ends all jobs; later results are dropped. Results received so far stay with their readers. */
  cancel(): void {
    this.#runs.clear();
    for (const member of this.#members) {
      member.jobs = 0;
      this.#post(member, { kind: 'cancel', upTo: this.#jobs - 1 });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    await Promise.all(this.#members.map(({ worker }) => worker.terminate()));
  }

  #receive(member: Member, { job, event }: FromWorker): void {
    if (this.#ended) return;
    const giveBack =
      event.kind === 'data' ? () => this.#post(member, { kind: 'buffer', buffer: event.buffer }) : () => undefined;
    const run = this.#runs.get(job);
    if (!run) {
      giveBack();
      return;
    }
    run.push(event, giveBack);
    if (isLast(event)) {
      this.#runs.delete(job);
      member.jobs--;
      this.#onIdle();
    }
  }

  #post(member: Member, message: ToWorker): void {
    if (this.#ended) return;
    member.worker.postMessage(message, message.kind === 'buffer' ? [message.buffer] : []);
  }

  #fail(cause: Error): void {
    this.#failure ??= new DecompressError(`cannot decode the image: a decoding thread failed: ${cause.message}`, {
      cause,
    });
    for (const run of this.#runs.values()) run.fail(this.#failure);
  }
}

function isLast(event: PieceEvent): boolean {
  return !['start', 'data', 'zero', 'blocks', 'end of stream', 'stream'].includes(event.kind);
}

/** The results of a job so far. They can be read once. */
export class JobResults {
  readonly #events: { readonly event: PieceEvent; readonly giveBack: () => void }[] = [];
  #abandoned = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  push(event: PieceEvent, giveBack: () => void): void {
    if (this.#abandoned) {
      giveBack();
      return;
    }
    this.#events.push({ event, giveBack });
    this.#wake?.();
  }

  fail(error: Error): void {
    this.#failure = error;
    this.#wake?.();
  }

  /** Returns the buffers of events that are not read any more. */
  abandon(): void {
    this.#abandoned = true;
    for (const { giveBack } of this.#events.splice(0)) giveBack();
  }

  async next(signal: AbortSignal | undefined): Promise<{ readonly event: PieceEvent; readonly giveBack: () => void }> {
    for (;;) {
      signal?.throwIfAborted();
      const next = this.#events.shift();
      if (next) return next;
      if (this.#failure) throw this.#failure;
      const woken = Promise.withResolvers<unknown>();
      this.#wake = () => woken.resolve(undefined);
      signal?.addEventListener('abort', woken.resolve, { once: true });
      await woken.promise;
      signal?.removeEventListener('abort', woken.resolve);
    }
  }
}
