import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * The directory that all actions of a workflow share. Like the Go workers: base and id joined, so
 * that an id `namespace/name` becomes two levels. An id which is no plain path gets its odd
 * characters replaced and a hash, and so stays below the base and apart from all others.
 */
export function workflowDirectory(base: string, workflowId: string): string {
  const isPlain = workflowId.split('/').every((part) => /^[\w-][\w.-]{0,200}$/.test(part));
  if (isPlain) return join(base, workflowId);
  const readable = workflowId.replaceAll(/[^\w-]/g, '_').slice(0, 100);
  return join(base, `${readable}-${createHash('sha256').update(workflowId).digest('hex').slice(0, 12)}`);
}

/**
 * Makes the directory, if it is missing, with an empty JSON object as the workflow's data: readable
 * for actions that do not run as root, too.
 */
export async function makeWorkflowDirectory(base: string, workflowId: string): Promise<string> {
  const directory = workflowDirectory(base, workflowId);
  await mkdir(directory, { recursive: true, mode: 0o755 });
  await writeFile(join(directory, 'data'), '{}', { mode: 0o644, flag: 'wx' }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  return directory;
}
