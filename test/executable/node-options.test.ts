import assert from 'node:assert/strict';
import { test } from 'node:test';
import { execa } from 'execa';
import { nodeOptions } from '../../executable/node-options.ts';

/** How many of Node's own modules had to be compiled, by its count for its own tests. */
async function compiledModules(options: readonly string[]): Promise<number> {
  const program = `
    for (const name of ['assert', 'child_process', 'crypto', 'http2', 'net']) require(name);
    const { internalBinding } = require('internal/test/binding');
    console.log([...internalBinding('builtins').getCacheUsage().compiledWithoutCache].length);`;
  const { stdout } = await execa(process.execPath, ['--expose-internals', ...options, '--eval', program]);
  return Number(stdout);
}

test('with the options of the executable V8 takes the compiled code that Node has of its own modules', async () => {
  assert.equal(await compiledModules(nodeOptions), 0);
  // Such an option makes it refuse all of it.
  assert.ok((await compiledModules([...nodeOptions, '--expose-gc'])) > 50);
});
