import { closeSync, constants, openSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { OperationError } from '../../../errors/operation-error.ts';
import { runTool, ToolError } from '../../../tools/run-tool.ts';
import type { Output, OutputChunk } from '../engine.ts';

/**
 * The named pipes that a container's output goes through. They outlive us: what was printed and not
 * read stays in them, and a container that prints more than that waits, until an agent that comes
 * later reads on where the last one stopped.
 */
export class OutputPipes {
  readonly #paths: Readonly<Record<OutputChunk['stream'], string>>;
  /**
   * Both ends of both: without them a writer would wait for a reader, and a reader would see the
   * end before anything was written.
   */
  readonly #held: number[] = [];
  #isEnded = false;

  /** @param directory of this container */
  constructor(directory: string) {
    this.#paths = { stdout: join(directory, 'stdout'), stderr: join(directory, 'stderr') };
  }

  /**
   * Where the container's shim is to write, in the notation of containerd's own clients: into a
   * program that passes everything on. Left to itself, the shim would close the pipes as soon as
   * the container exits, and what was in them would be lost to an agent that comes later.
   */
  get uri(): string {
    const script = [
      `exec 8<>${quoted(this.#paths.stdout)} 9<>${quoted(this.#paths.stderr)}`,
      // 3 and 4 are the container's output, closing 5 says that we are ready (containerd, "runtime
      // v2", "Logging").
      '/bin/cat <&3 >&8 5>&- &',
      '/bin/cat <&4 >&9 5>&- &',
      'exec 3<&- 4<&- 5>&-',
      'wait',
    ];
    return `binary:///bin/sh?${new URLSearchParams({ '-c': script.join('\n') })}`;
  }

  /**
   * Makes those that are missing, and their directory; they can be written to from now on, whether
   * they are read or not.
   * @throws {OperationError}
   */
  async make(): Promise<void> {
    const paths = Object.values(this.#paths);
    await mkdir(join(this.#paths.stdout, '..'), { recursive: true, mode: 0o711 });
    for (const path of paths) {
      // Node cannot make one.
      await runTool('mkfifo', ['-m', '600', path]).catch((cause: unknown) => {
        if (!(cause instanceof ToolError)) throw cause;
        if (/exist/i.test(cause.stderr)) return;
        throw new OperationError({ what: 'make the pipe', target: path, why: cause.why, cause });
      });
    }
    if (this.#held.length > 0 || this.#isEnded) return;
    for (const path of paths) this.#held.push(openSync(path, constants.O_RDWR | constants.O_NONBLOCK));
  }

  /**
   * Reads both until {@link end} and what was printed by then, or until the signal is aborted.
   * @throws the reason of the signal
   */
  async *read(signal: AbortSignal): Output {
    const sources = (['stdout', 'stderr'] as const).map((stream) => ({
      stream,
      pipe: openToRead(this.#paths[stream]),
    }));
    const changes = new Changes();
    const stop = () => changes.notify();
    signal.addEventListener('abort', stop, { once: true });
    for (const { pipe } of sources) for (const event of ['readable', 'end', 'error', 'close']) pipe.on(event, stop);
    try {
      for (;;) {
        signal.throwIfAborted();
        const change = changes.next();
        let isQuiet = true;
        for (const { stream, pipe } of sources) {
          if (pipe.errored !== null) throw pipe.errored;
          const bytes: Buffer | null = pipe.read();
          if (bytes === null) continue;
          isQuiet = false;
          yield { stream, bytes };
        }
        if (sources.every(({ pipe }) => pipe.readableEnded || pipe.destroyed)) return;
        if (isQuiet) await change;
      }
    } finally {
      signal.removeEventListener('abort', stop);
      for (const { pipe } of sources) pipe.destroy();
    }
  }

  /** Nothing is written any more: what is read ends after what is left. */
  end(): void {
    this.#isEnded = true;
    for (const descriptor of this.#held.splice(0)) closeSync(descriptor);
  }
}

/** Wakes a reader of several sources that has found nothing to read. */
class Changes {
  #next = Promise.withResolvers<void>();

  /** Resolves at the first change from now on. To be called before the sources are looked at. */
  next(): Promise<void> {
    this.#next = Promise.withResolvers<void>();
    return this.#next.promise;
  }

  notify(): void {
    this.#next.resolve();
  }
}

function quoted(path: string): string {
  return `'${path.replaceAll("'", "'\\''")}'`;
}

/** Not blocking: opening a pipe waits for the other end. */
function openToRead(path: string): Socket {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return new Socket({ fd: descriptor, readable: true, writable: false });
}
