import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { missingCapabilities } from '../../agent/runtime/capabilities.ts';

/**
 * With these parameters dockerd runs privileged containers also on a machine that has not all
 * capabilities, where runc refuses them: a wrapper of runc takes the missing ones out of each
 * container's configuration (OCI runtime specification, `process.capabilities`).
 * @param directory where the wrapper is put.
 * @returns none where no capability is missing: then dockerd runs runc itself.
 */
export async function privilegedRunc(directory: string): Promise<readonly string[]> {
  const missing = await missingCapabilities();
  if (missing.length === 0) return [];
  const script = missing.map((name) => `s/"CAP_${name}",//g;s/,"CAP_${name}"//g`).join(';');
  const path = join(directory, 'runc');
  const lines = [
    '#!/bin/sh',
    'for argument; do',
    `  [ "$previous" = --bundle ] && sed -i '${script}' "$argument/config.json"`,
    '  previous=$argument',
    'done',
    'exec runc "$@"',
  ];
  await writeFile(path, `${lines.join('\n')}\n`, { mode: 0o755 });
  return [`--add-runtime=wrapped=${path}`, '--default-runtime=wrapped'];
}
