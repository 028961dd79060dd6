import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { variables } from '../../../installer/image2disk/variables.ts';

const source = await readFile(join(import.meta.dirname, '../../../installer/image2disk/image2disk.8'), 'utf8');

async function show(text: string): Promise<{ stdout: string; stderr: string }> {
  const env = { LC_ALL: 'C.UTF-8', MANPAGER: 'cat', MANWIDTH: '100' };
  return await execa('man', ['--warnings=w', '--local-file', '-'], { input: text, env });
}

test('image2disk.8 is a manual page without a mistake', async () => {
  const { stdout, stderr } = await show(source);
  assert.match(stdout, /image2disk [–—] write an operating system image to a disk/);
  assert.equal(stderr, '');
  assert.notEqual(
    (await show(source.replace('.Sh EXAMPLES', '.Sj EXAMPLES'))).stderr,
    '',
    'a mistake would be noticed',
  );
});

test('image2disk.8 has every variable of --help and no other, in the same order', () => {
  const documented = [...source.matchAll(/^\.It Ev (.+)$/gm)].flatMap(([, names = '']) => names.split(/ , Ev /));
  assert.deepEqual(
    documented,
    variables.map(([name]) => name),
  );
});
