/**
 * Runs test files and prints which branches of `agent/` and `installer/` they reach, by folder;
 * then the lines of each file that nothing reaches: `make coverage`. Arguments are those of
 * `run.ts`, or
 *
 * - `--all`: the unit tests, and those integration tests that are about `agent/` and `installer/`.
 * - `--none`: no tests; prints what earlier runs have reached.
 *
 * With `COVERAGE_DIRECTORY=path`, what a run reached is kept there, and what earlier runs reached
 * counts too: of files that have not changed since then.
 *
 * Programs that tests start count too, if they run from the sources and are not killed
 * (`sandbox/record-coverage.ts`). The executable does not count: it ignores NODE_OPTIONS.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { glob, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { findTestFiles, repository } from './files.ts';

interface Script {
  readonly url: string;
  readonly functions: readonly { readonly ranges: readonly Range[] }[];
}

/** A block; those inside of it follow it, and count instead of it. */
interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}

/** What all processes together reached of a file. */
interface Reached {
  /** For each character, whether it ran. */
  readonly characters: Uint8Array;
  /** Blocks by their places. V8 has one where it ran not as often as what is around it. */
  readonly blocks: Set<string>;
}

/** What a run reached of a file, as it is kept. */
interface Kept {
  /** SHA-256 of the source: places in another text are other places. */
  readonly source: string;
  /** From where to where the characters did not run. */
  readonly missed: readonly (readonly [number, number])[];
  readonly blocks: readonly string[];
}

const folders = ['agent', 'installer'];
const aboutThem = /^test\/(?:agent|installer|fuzz|torture|registry)\//;

const texts = await sources();
const all = new Map<string, Reached>();
const kept = process.env['COVERAGE_DIRECTORY'];
if (kept !== undefined) await addKept(kept);
const files = await runArguments(process.argv.slice(2));
if (files !== undefined) process.exitCode = await runTests(files);
print();

/** @returns the exit code */
async function runTests(files: readonly string[]): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-coverage-'));
  try {
    const recorder = pathToFileURL(join(import.meta.dirname, 'sandbox/record-coverage.ts'));
    const run = spawn(process.execPath, [join(import.meta.dirname, 'run.ts'), ...files], {
      env: { ...process.env, NODE_OPTIONS: `--import=${recorder.href}?${encodeURIComponent(directory)}` },
      stdio: 'inherit',
    });
    const [status] = await once(run, 'exit');
    const reached = await reachedIn(directory);
    if (kept !== undefined) await keep(reached, kept);
    for (const [path, one] of reached) unite(all, path, one);
    return status === 0 ? 0 : 1;
  } finally {
    await rm(directory, { recursive: true });
  }
}

/**
 * Node's permission model would not let unit tests write what they reached: those run by name.
 * @returns undefined: nothing is to run
 */
async function runArguments(given: readonly string[]): Promise<readonly string[] | undefined> {
  if (given.includes('--none')) return undefined;
  const isWhole = given.includes('--all');
  if (!isWhole && !given.includes('--unit')) return given;
  return (await findTestFiles())
    .filter(({ layer, path }) => layer === 'unit' || (isWhole && layer === 'integration' && aboutThem.test(path)))
    .map(({ path }) => path);
}

async function sources(): Promise<Map<string, string>> {
  const pattern = `{${folders.join(',')}}/**/*.ts`;
  const paths = (await Array.fromAsync(glob(pattern, { cwd: repository }))).filter(
    (path) => !/\/assemblyscript\/|\.generated\.ts$|\.d\.ts$|\/build(?:-kernels)?\.ts$/.test(path),
  );
  const texts = paths.sort().map(async (path) => [path, await readFile(join(repository, path), 'utf8')] as const);
  return new Map(await Promise.all(texts));
}

/** Types are replaced by spaces before a file runs: places are those in the source. */
async function reachedIn(directory: string): Promise<Map<string, Reached>> {
  const reached = new Map<string, Reached>();
  for (const name of await readdir(directory)) {
    const { result } = JSON.parse(await readFile(join(directory, name), 'utf8')) as {
      readonly result: readonly Script[];
    };
    for (const { url, functions } of result) {
      const path = url.startsWith('file://') ? relative(repository, fileURLToPath(url)) : '';
      const length = texts.get(path)?.length;
      if (length !== undefined) unite(reached, path, reachedBy(functions, length));
    }
  }
  return reached;
}

function reachedBy(functions: Script['functions'], length: number): Reached {
  const characters = new Uint8Array(length);
  const blocks = new Set<string>();
  for (const { ranges } of functions) {
    for (const { startOffset, endOffset, count } of ranges) {
      characters.fill(count > 0 ? 1 : 0, startOffset, endOffset);
      blocks.add(`${startOffset} ${endOffset}`);
    }
  }
  return { characters, blocks };
}

function unite(into: Map<string, Reached>, path: string, { characters, blocks }: Reached): void {
  const before = into.get(path);
  if (before === undefined) {
    into.set(path, { characters, blocks: new Set(blocks) });
    return;
  }
  for (const [at, isReached] of characters.entries()) if (isReached === 1) before.characters[at] = 1;
  for (const block of blocks) before.blocks.add(block);
}

async function keep(reached: Map<string, Reached>, directory: string): Promise<void> {
  const entries = [...reached].map(([path, { characters, blocks }]): [string, Kept] => [
    path,
    { source: digest(texts.get(path) ?? ''), missed: missedRanges(characters), blocks: [...blocks] },
  ]);
  const text = JSON.stringify(Object.fromEntries(entries));
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, `${digest(text).slice(0, 16)}.json`), text);
}

async function addKept(directory: string): Promise<void> {
  for await (const name of glob('*.json', { cwd: directory })) {
    const run = JSON.parse(await readFile(join(directory, name), 'utf8')) as Readonly<Record<string, Kept>>;
    for (const [path, { source, missed, blocks }] of Object.entries(run)) {
      const text = texts.get(path);
      if (text === undefined || digest(text) !== source) continue;
      const characters = new Uint8Array(text.length).fill(1);
      for (const [start, end] of missed) characters.fill(0, start, end);
      unite(all, path, { characters, blocks: new Set(blocks) });
    }
  }
}

function missedRanges(characters: Uint8Array): [number, number][] {
  const ranges: [number, number][] = [];
  for (let at = characters.indexOf(0); at !== -1; ) {
    const end = characters.indexOf(1, at);
    ranges.push([at, end === -1 ? characters.length : end]);
    at = end === -1 ? -1 : characters.indexOf(0, end);
  }
  return ranges;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function print(): void {
  const totals = new Map<string, { reached: number; all: number }>();
  const lines: string[] = [];
  for (const [path, text] of texts) {
    const { characters, blocks } = all.get(path) ?? {
      characters: new Uint8Array(text.length),
      blocks: new Set(['0 0']),
    };
    const starts = [...blocks].map((block) => Number(block.split(' ')[0]));
    const reached = starts.filter((start) => characters[start] === 1).length;
    for (const folder of foldersOf(path)) {
      const total = totals.get(folder) ?? { reached: 0, all: 0 };
      totals.set(folder, { reached: total.reached + reached, all: total.all + blocks.size });
    }
    const missed = linesNotReached(text, characters);
    if (missed !== '') lines.push(`${path}: ${missed}`);
  }
  process.stdout.write('\nbranches that were reached\n');
  for (const [folder, { reached, all }] of [...totals].sort(([a], [b]) => (a < b ? -1 : 1)))
    process.stdout.write(
      `${((100 * reached) / all).toFixed(1).padStart(6)} % of ${String(all).padStart(5)}  ${folder}/\n`,
    );
  process.stdout.write(`\nlines that were not reached\n${lines.join('\n')}\n`);
}

/** The folder of a file and those above it. */
function foldersOf(path: string): string[] {
  const folder = dirname(path);
  return folder === '.' ? [] : [folder, ...foldersOf(folder)];
}

/** `3, 7-9`: lines with a letter or digit that did not run, outside of comments. */
function linesNotReached(text: string, characters: Uint8Array): string {
  const numbers: number[] = [];
  let offset = 0;
  for (const [index, line] of text.split('\n').entries()) {
    const isCode = !/^\s*(?:\/\/|\/?\*|import |export (?:type|interface)|type |interface |readonly )/.test(line);
    const isMissed = [...line].some((character, at) => /[\w$]/.test(character) && characters[offset + at] === 0);
    if (isCode && isMissed) numbers.push(index + 1);
    offset += line.length + 1;
  }
  const parts: string[] = [];
  for (let at = 0; at < numbers.length; ) {
    let end = at;
    while (numbers[end + 1] === (numbers[end] ?? 0) + 1) end++;
    parts.push(end === at ? `${numbers[at]}` : `${numbers[at]}-${numbers[end]}`);
    at = end + 1;
  }
  return parts.join(', ');
}
