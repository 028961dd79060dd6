/**
 * Comments wrap at 100 columns, and the tags of JSDoc stand at the beginning of a line
 * (docs/style.md).
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from './pages.ts';

/** Folders whose comments are checked. */
const checked = [
  'agent',
  'clock',
  'errors',
  'executable',
  'files',
  'initramfs',
  'installer',
  'net',
  'test',
  'text',
  'tools',
];

const maxColumns = 100;
const comment = /^\s*(?:\/\/|\/\*\*|\*|#\s)/;
const tag = /\S.*\s@(?:param|returns|throws)\b/;
const oldThrows = /@throws (?!\{)(?!the |what )/;

/** What is wrong with the comments of a source, with the line of each. */
function findFaults(source: string): string[] {
  const lines = source.split('\n').map((text, index) => ({ text, number: index + 1 }));
  return lines
    .filter(({ text }) => comment.test(text))
    .flatMap(({ text, number }) => [
      ...([...text].length > maxColumns && !/\S{60,}|biome-ignore|shellcheck/.test(text)
        ? [`${number}: ${[...text].length} columns`]
        : []),
      ...(tag.test(text.replace(/^\s*(?:\/\*\*|\*)\s*/, ''))
        ? [`${number}: a tag after the beginning of the line`]
        : []),
      ...(oldThrows.test(text) ? [`${number}: write @throws {Type} condition`] : []),
    ]);
}

test('comments wrap at 100 columns, with tags at the beginning of lines', () => {
  const list = execFileSync('git', ['ls-files', '--', ...checked], { cwd: root, encoding: 'utf8' });
  const files = list
    .trim()
    .split('\n')
    .filter((file) => !file.includes('.generated.') && !/\.(?:8|zst)$/.test(file));
  assert.ok(files.length > 400, `${files.length} files`);
  const faults = files.flatMap((file) =>
    findFaults(readFileSync(join(root, file), 'utf8')).map((fault) => `${file}:${fault}`),
  );
  assert.deepEqual(faults, []);
});

test('finds long comments, tags within a line and errors without braces', () => {
  const long = 'word '.repeat(21).trimEnd();
  const source = [
    '/**',
    ` * ${long}`,
    ' * Reads it. @throws {Error} it is missing',
    ' * @throws ToolError when',
    ' */',
  ];
  assert.deepEqual(findFaults(source.join('\n')), [
    '2: 107 columns',
    '3: a tag after the beginning of the line',
    '4: write @throws {Type} condition',
  ]);
  assert.deepEqual(
    findFaults(' * @throws {Error} it is missing; the reason of the signal\n const a = 1; // short'),
    [],
  );
});
