import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { compileKernel, generatedModule, generatedPath } from '../../../../installer/decompress/bzip2/build-kernel.ts';
import { hasSimd } from '../../../../installer/decompress/bzip2/wasm-kernel.ts';

test('the compiled kernel in the tree is what its sources compile to', async () => {
  const generated = generatedModule(await compileKernel());
  assert.ok(
    generated === (await readFile(generatedPath, 'utf8')),
    'kernel-binary.generated.ts is out of date: run node installer/decompress/bzip2/build-kernel.ts',
  );
});

test('the kernel runs on the processor of the tests, so that they test it', () => {
  assert.equal(hasSimd(), true);
});
