import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { z } from 'zod';
import { checkIgnition } from '../../../../installer/configure/ignition/check.ts';
import { findIgnition } from '../../../../installer/configure/ignition/releases.ts';

/* The verdicts are those of the real Ignition: see verdicts/README.md. */

const verdict = z.enum(['accept', 'warn', 'reject']);
const place = z.object({ kind: z.enum(['error', 'warning']), path: z.string(), line: z.int().optional() });
const cases = z.object({
  name: z.string(),
  config: z.string().optional(),
  configBase64: z.string().optional(),
  verdicts: z.record(z.string(), verdict),
  places: z.array(place).optional(),
});
type Case = z.infer<typeof cases>;

async function readCases(file: string): Promise<Case[]> {
  const text = await readFile(join(import.meta.dirname, 'verdicts', file), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => cases.parse(JSON.parse(line)));
}

function bytesOf({ config, configBase64 = '' }: Case): Buffer {
  return config === undefined ? Buffer.from(configBase64, 'base64') : Buffer.from(config);
}

function check(one: Case, version: string) {
  const ignition = findIgnition(version);
  assert.ok(ignition, version);
  return checkIgnition(bytesOf(one), ignition);
}

for (const [file, versions, least] of [
  ['observed.jsonl', ['2.19.0', '2.24.0', '2.26.0'], 425],
  ['generated.jsonl', ['2.19.0', '2.24.0', '2.24.0-r2', '2.26.0'], 1200],
] as const) {
  for (const version of versions) {
    test(`checkIgnition() has the verdicts of Ignition ${version} on all of ${file}`, async (t) => {
      const all = await readCases(file);
      assert.ok(all.length >= least);
      const differing = all
        .map((one) => ({ name: one.name, real: one.verdicts[version], ours: check(one, version).verdict }))
        .filter(({ real, ours }) => real !== ours);
      t.diagnostic(`${all.length - differing.length} of ${all.length} agree`);
      assert.deepEqual(differing, []);
      const kinds = new Set(all.map((one) => one.verdicts[version]));
      assert.equal(kinds.size, 3, 'every verdict occurs');
    });
  }
}

test('checkIgnition() names the places that Ignition 2.24.0 names in version 3', async () => {
  const missing: string[] = [];
  let compared = 0;
  for (const one of await readCases('observed.jsonl')) {
    const { errors, warnings, version = '' } = check(one, '2.24.0');
    // Those of version 2 are of the translation, and a place without a path is one of the JSON.
    if (!version.startsWith('3')) continue;
    for (const { kind, path, line } of one.places ?? []) {
      if (path === '$') continue;
      compared++;
      const ours = kind === 'error' ? errors : warnings;
      const found = ours.some((problem) => isNear(problem.path, path) && problem.line === line);
      if (!found) missing.push(`${one.name}: ${kind} at ${path}, not ${ours.map((problem) => problem.path).join()}`);
    }
  }
  assert.deepEqual(missing, []);
  assert.ok(compared > 80, `${compared} places`);
});

/** Ignition names the entry where we name its key, or the other way round. */
function isNear(ours: string | undefined, theirs: string): boolean {
  return ours !== undefined && (ours === theirs || ours.startsWith(`${theirs}.`) || theirs.startsWith(`${ours}.`));
}
