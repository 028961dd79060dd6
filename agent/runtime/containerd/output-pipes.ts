import { closeSync, constants, openSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import { execa } from 'execa';

/**
 * The named pipes that a container's output goes through. They outlive us: what was printed and not read stays in them, and a container that prints more than
 * that waits, until an agent that comes later reads on where the last one stopped.
 */
export class OutputPipes {
  readonly stdout: string;
  readonly stderr: string;
  /** Both ends of both: without them whoever writes would wait for a reader, and a reader would see the end before anybody has written. */
  readonly #held: number[] = [];
  #isEnded = false;

  /** @param directory of this container */
  constructor(directory: string) {
    this.stdout = join(directory, 'stdout');
    this.stderr = join(directory, 'stderr');
  }

  /**
   * Where the container's shim is to write, in the notation of containerd's own clients: into a program that passes everything on. Left to itself, the shim
   * would close the pipes as soon as the container ends, and what was in them would be lost to an agent that comes later.
   */
  get uri(): string {
    const script = [
      `exec 8<>${quoted(this.stdout)} 9<>${quoted(this.stderr)}`,
      // 3 and 4 are the container's output, closing 5 says that we are ready (containerd, "runtime v2", "Logging").
      '/bin/cat <&3 >&8 5>&- &',
      '/bin/cat <&4 >&9 5>&- &',
      'exec 3<&- 4<&- 5>&-',
      'wait',
    ];
    return `binary:///bin/sh?${new URLSearchParams({ '-c': script.join('\n') })}`;
  }

  /** Makes those that are missing, and their directory; they can be written to from now on, whether they are read or not. */
  async make(): Promise<void> {
    await mkdir(join(this.stdout, '..'), { recursive: true, mode: 0o711 });
    for (const path of [this.stdout, this.stderr]) {
      // Node cannot make one.
      const { stderr } = await execa('mkfifo', ['-m', '600', path], { reject: false });
      if (stderr !== '' && !/exist/i.test(stderr)) throw new Error(`cannot make the pipe ${path}: ${stderr}`);
    }
    if (this.#held.length > 0 || this.#isEnded) return;
    for (const path of [this.stdout, this.stderr])
      this.#held.push(openSync(path, constants.O_RDWR | constants.O_NONBLOCK));
  }

  /**
   * Reads both until {@link end} and what was printed by then, or until the signal is aborted.
   * @returns Docker's multiplexed format (engine API, "Attach to a container", "Stream format")
   */
  read(signal: AbortSignal): Readable {
    const output = new PassThrough();
    const sources = [openToRead(this.stdout), openToRead(this.stderr)];
    const copied = sources.map((source, index) => copyFrames(source, output, index + 1));
    const stop = () => output.destroy();
    signal.addEventListener('abort', stop, { once: true });
    output.on('close', () => {
      signal.removeEventListener('abort', stop);
      for (const source of sources) source.destroy();
    });
    void Promise.all(copied).then(
      () => output.end(),
      (error: Error) => output.destroy(error),
    );
    return output;
  }

  /** Nobody writes any more: what is read ends after what is left. */
  end(): void {
    this.#isEnded = true;
    for (const descriptor of this.#held.splice(0)) closeSync(descriptor);
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

/** A frame is [type, 0, 0, 0, length as 4 bytes, big endian] and the payload. */
async function copyFrames(source: Socket, output: PassThrough, type: number): Promise<void> {
  for await (const chunk of source as AsyncIterable<Buffer>) {
    const header = Buffer.alloc(8);
    header[0] = type;
    header.writeUInt32BE(chunk.length, 4);
    output.write(header);
    if (!output.write(chunk)) await drained(output);
  }
}

/** Also when it is destroyed instead: nobody reads it any more. */
function drained(output: PassThrough): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      output.off('drain', settle).off('close', settle);
      resolve();
    };
    output.on('drain', settle).on('close', settle);
  });
}
