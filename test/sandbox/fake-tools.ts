import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Programs of a test's own that are found before those of the system. */
export interface FakeTools extends AsyncDisposable {
  /** Scratch directory of the programs: `$DIR` in their scripts. */
  readonly directory: string;
  /** What PATH must be for them to be found. */
  readonly path: string;
  /** The arguments of each call of one of them, in order. */
  calls(name: string): Promise<string[][]>;
}

/**
 * Makes programs out of shell scripts. Each records its calls; within it PATH is the system's, so
 * that `exec mount "$@"` is the real program. They stand for tools where what these do to the
 * machine cannot be had here (firmware variables, device-mapper), or must be stopped at the right
 * moment.
 */
export async function makeFakeTools(scripts: Readonly<Record<string, string>>): Promise<FakeTools> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-fake-tools-'));
  const systemPath = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`;
  for (const [name, script] of Object.entries(scripts)) {
    const path = join(directory, name);
    const record = `for argument in "$@"; do printf '%s\\t' "$argument"; done >>"$DIR/${name}.calls"; echo >>"$DIR/${name}.calls"`;
    await writeFile(path, `#!/bin/sh\nDIR='${directory}'\nPATH='${systemPath}'\n${record}\n${script}\n`);
    await chmod(path, 0o755);
  }
  return {
    directory,
    path: `${directory}:${systemPath}`,
    async calls(name) {
      const text = await readFile(join(directory, `${name}.calls`), 'utf8').catch(() => '');
      return text
        .split('\n')
        .slice(0, -1)
        .map((line) => line.split('\t').slice(0, -1));
    },
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  };
}
