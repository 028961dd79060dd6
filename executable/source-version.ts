import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { runTool, ToolError } from '../tools/run-tool.ts';

const root = resolve(import.meta.dirname, '..');

/** That of package.json, which stands nowhere else. */
export async function productVersion(): Promise<string> {
  return z.object({ version: z.string() }).parse(JSON.parse(await readFile(join(root, 'package.json'), 'utf8')))
    .version;
}

/**
 * The commit the sources are at, marked when they differ from it; `unknown` outside a git checkout.
 */
export async function sourceCommit(): Promise<string> {
  try {
    const options = ['describe', '--always', '--dirty', '--abbrev=12', '--exclude=*'];
    return (await runTool('git', options, { workingDirectory: root })).stdout;
  } catch (error) {
    if (error instanceof ToolError) return 'unknown';
    throw error;
  }
}
