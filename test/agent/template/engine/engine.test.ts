import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import { sourcesDigest } from '../../../../agent/template/engine/build.ts';
import { engineFile } from '../../../../agent/template/engine/engine.ts';

test('the template engine is built from the sources beside it', async () => {
  const folder = join(import.meta.dirname, '../../../../agent/template/engine');
  const module = zstdDecompressSync(await readFile(join(folder, engineFile)));
  assert.ok(
    module.includes(await sourcesDigest()),
    'engine.wasm.zst is out of date: run node agent/template/engine/build.ts',
  );
});
