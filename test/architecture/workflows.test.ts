import { deepEqual, ok } from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { z } from 'zod';

const root = resolve(import.meta.dirname, '../..');

const workflowSchema = z.object({
  jobs: z.record(
    z.string(),
    z.object({ steps: z.array(z.object({ name: z.string().optional(), run: z.string().optional() })) }),
  ),
});

test('the workflows of GitHub run nothing but targets of the Makefile', async () => {
  const makefile = await readFile(join(root, 'Makefile'), 'utf8');
  const targets = new Set([...makefile.matchAll(/^([a-z][a-z0-9-]*):/gm)].map(([, target]) => target));
  const folder = join(root, '.github/workflows');
  const files = await readdir(folder);
  ok(files.length >= 4);
  for (const file of files) {
    const { jobs } = workflowSchema.parse(parse(await readFile(join(folder, file), 'utf8')));
    const commands = Object.values(jobs).flatMap(({ steps }) => steps.flatMap(({ run }) => run ?? []));
    // What make itself needs.
    const [install, ...others] = commands;
    ok(install?.startsWith('apt-get update && apt-get install '), file);
    const unknown = others.filter((command) => {
      const [, target] = /^make (?:[A-Z_]+=\S+ )*([a-z][a-z0-9-]*)(?: [A-Z_]+=\S+)*$/.exec(command) ?? [];
      return target === undefined || !targets.has(target);
    });
    deepEqual(unknown, [], file);
  }
});
