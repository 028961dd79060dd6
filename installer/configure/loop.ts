import { open } from 'node:fs/promises';
import { runTool } from '../../tools/run-tool.ts';

/** Of a disk or file. */
export interface Range {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

export interface Loop extends AsyncDisposable {
  /** Of the device. */
  readonly path: string;
}

/**
 * Attaches a range of a disk or file to a loop device, for tools that need a device. This process
 * holds it open, and the kernel detaches it when the last program has closed it, also after a kill
 * (loop(4)). A kill between the two calls of losetup leaves it attached: where there is a file
 * system to mount, `mountPartition` has no such moment.
 * @param options of losetup
 * @throws {ToolError} there is no loop device, or this user may not attach one
 */
export async function attachLoop(file: string, range?: Range, options: readonly string[] = []): Promise<Loop> {
  const place =
    range === undefined ? [] : ['--offset', String(range.offsetBytes), '--sizelimit', String(range.sizeBytes)];
  const path = (await runTool('losetup', ['--find', '--show', ...options, ...place, file])).stdout;
  await using undo = new AsyncDisposableStack();
  try {
    undo.use(await open(path));
  } finally {
    await runTool('losetup', ['--detach', path]);
  }
  const held = undo.move();
  return { path, [Symbol.asyncDispose]: () => held.disposeAsync() };
}
