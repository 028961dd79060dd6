/**
 * The controller's template code as WebAssembly: Go's own text/template, sprig and yaml.v3. This
 * folder has its sources and how it is built; docs/templates.md says why it is this and no code of
 * ours. It is read when the first template is.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { getRawAsset, isSea } from 'node:sea';
import { promisify } from 'node:util';
import { zstdDecompress } from 'node:zlib';
import { z } from 'zod';
import type { Clock } from '../../../clock/clock.ts';
import { systemClock } from '../../../clock/system.ts';
import { WasiHost } from '../wasi.ts';

/** A template and what it is filled in with. */
export interface EngineRequest {
  readonly template: string;
  /** The `hardwareMap` of a Workflow. */
  readonly variables: Readonly<Record<string, string>>;
  /** Content of a hardware file; empty: none. */
  readonly hardware: string;
}

const offset = z.int().min(0);

const place = z.object({ offset, message: z.string() });

const node = z.object({
  kind: z.enum(['scalar', 'mapping', 'sequence', 'alias']),
  offset,
  value: z.string().default(''),
  null: z.boolean().default(false),
  merge: z.boolean().default(false),
  integer: z.number().optional(),
  children: z.array(z.int()).default([]),
});

/** What `workflow/render.go` answers; all offsets count UTF-16 code units. */
const response = z.union([
  z.object({ hardwareError: z.string() }),
  z.object({ templateError: place }),
  z.object({
    text: z.string(),
    parts: z.array(z.object({ start: offset, origin: offset, literal: z.boolean() })),
    document: z.object({ nodes: z.array(node), errors: z.array(place) }),
  }),
]);

export type EngineResponse = z.output<typeof response>;
export type EngineNode = z.output<typeof node>;

/** File name of the compressed module, and of the asset in the executable. */
export const engineFile = 'engine.wasm.zst';

/** Exports of `main.go`. */
interface EngineExports {
  readonly memory: WebAssembly.Memory;
  _initialize(): void;
  buffer(size: number): number;
  render(): number;
  response(): number;
}

/**
 * Answers requests one by one. One engine does for all templates of a process: to load it takes
 * about half a second of CPU time.
 */
export class TemplateEngine {
  readonly #host: WasiHost;
  readonly #exports: EngineExports;

  private constructor(host: WasiHost, exports: EngineExports) {
    this.#host = host;
    this.#exports = exports;
  }

  /** @throws {Error} when the module is not where it should be */
  static async load(clock: Clock = systemClock): Promise<TemplateEngine> {
    const binary = await promisify(zstdDecompress)(await compressedModule());
    const host = new WasiHost(clock);
    const instance = new WebAssembly.Instance(new WebAssembly.Module(binary), { wasi_snapshot_preview1: host.imports });
    const exports = instance.exports as unknown as EngineExports;
    host.memory = exports.memory;
    exports._initialize();
    return new TemplateEngine(host, exports);
  }

  /** @throws {EngineError} when the engine breaks; it can then answer no more */
  render(request: EngineRequest): EngineResponse {
    let answer: Uint8Array;
    try {
      answer = this.#call(Buffer.from(JSON.stringify(request)));
    } catch (error) {
      const [reason = ''] = this.#host.output.split('\n');
      // Go's YAML recurses on the stack of this thread.
      const why = error instanceof RangeError ? 'it is nested too deep' : reason || (error as Error).message;
      throw new EngineError(why, { cause: error });
    }
    return response.parse(JSON.parse(Buffer.from(answer).toString()));
  }

  #call(request: Uint8Array): Uint8Array {
    const { memory, buffer, render, response: addressOfResponse } = this.#exports;
    // Any call can move the memory: its buffer is asked for anew after each.
    const address = buffer(request.length);
    new Uint8Array(memory.buffer).set(request, address);
    const length = render();
    return new Uint8Array(memory.buffer, addressOfResponse(), length);
  }
}

/** The engine has broken: a template needs more memory than there is, or there is a fault in it. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
}

async function compressedModule(): Promise<Uint8Array> {
  if (isSea()) return new Uint8Array(getRawAsset(engineFile));
  return await readFile(join(import.meta.dirname, engineFile));
}
