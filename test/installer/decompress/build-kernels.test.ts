import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { compileKernel, generatedModule, generatedPath, kernels } from '../../../installer/decompress/build-kernels.ts';
import { hasSimd } from '../../../installer/decompress/bzip2/wasm-kernel.ts';

for (const kernel of kernels) {
  test(`the compiled ${kernel} kernel in the tree is what its sources compile to`, async () => {
    const generated = generatedModule(await compileKernel(kernel));
    assert.ok(
      generated === (await readFile(generatedPath(kernel), 'utf8')),
      'kernel-binary.generated.ts is out of date: run node installer/decompress/build-kernels.ts',
    );
  });
}

test('the bzip2 kernel runs on the processor of the tests, so that they test it', () => {
  assert.equal(hasSimd(), true);
});
