/** Messages, comments and pages avoid the words in the table of docs/style.md. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from './pages.ts';

/** Folders and pages whose texts are checked. */
const checked = [
  'agent',
  'clock',
  'docs',
  'errors',
  'executable',
  'initramfs',
  'installer',
  'net',
  'test',
  'tools',
  'README.md',
  'CHANGELOG.md',
];

/** These files quote the words; generated files and tables of data are not prose. */
const exempt = ['docs/style.md', 'docs/glossary.md', 'docs/invariants.md', 'test/docs/words.test.ts'];

/** The account of that name, in commands and in the files of accounts. */
const account = /=nobody\b|\bnobody:/g;

const rows = [...readFileSync(join(root, 'docs/style.md'), 'utf8').matchAll(/^\| (`.+`) \| (.+) \|$/gm)];
const words = rows.flatMap(([, phrases = '', better = '']) =>
  [...phrases.matchAll(/`([^`]+)`/g)].map(([, phrase = '']) => ({ phrase, better })),
);

/** A phrase as it stands in a text, with any white space between its words, in any case. */
function patternOf(phrase: string): RegExp {
  return new RegExp(String.raw`\b${phrase.replaceAll(' ', String.raw`[\s*/#]+`)}\b`, 'gi');
}

/** The phrases in a source that have a better word, with the line of each. */
function findWords(source: string): string[] {
  const text = source.replaceAll(account, '');
  return words.flatMap(({ phrase, better }) =>
    [...text.matchAll(patternOf(phrase))].map(({ index }) => {
      const line = text.slice(0, index).split('\n').length;
      return `${line}: "${phrase}"; better: ${better}`;
    }),
  );
}

test('messages, comments and pages avoid the words of docs/style.md', () => {
  const list = execFileSync('git', ['ls-files', '--', ...checked], { cwd: root, encoding: 'utf8' });
  const files = list.trim().split('\n');
  assert.ok(files.length > 400, `${files.length} files`);
  const found = files
    .filter((file) => !exempt.includes(file) && !file.includes('.generated.'))
    .flatMap((file) => findWords(readFileSync(join(root, file), 'utf8')).map((word) => `${file}:${word}`));
  assert.deepEqual(found, []);
});

test('the table of words is read', () => assert.ok(words.length > 30, `${words.length} words`));

for (const [text, phrase] of [
  ['Whoever reads the log sets the pace.', 'whoever'],
  ['/** Called by who\n * waits for it. */', 'who waits'],
  ["throw new Error('the server said nothing for 60 s');", 'said nothing'],
  ['# accepted and ignored, as ever', 'as ever'],
] as const) {
  test(`finds "${phrase}" in: ${JSON.stringify(text)}`, () => {
    assert.equal(findWords(text).length, 1);
    assert.match(findWords(text).join(), new RegExp(`^\\d: "${phrase}"; better: `));
  });
}

test('allows the account nobody', () => {
  assert.deepEqual(findWords('setpriv --reuid=nobody; nobody:x:65534:65534:nobody:/nonexistent:'), []);
});

test('does not take parts of other words for them', () => {
  assert.deepEqual(findWords('the blanket; nobodyswim; it handed one over; forsurely'), []);
});
