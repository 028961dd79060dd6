/**
 * Runs test files and prints which branches of `agent/` and `installer/` they reach, by folder;
 * then the lines of each file that nothing reaches: `make coverage`. Arguments are those of
 * `run.ts`.
 *
 * Programs that tests start count too, if they run from the sources: Node's NODE_V8_COVERAGE is
 * inherited. The executable does not count, because it refuses that variable.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { glob, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
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

const folders = ['agent', 'installer'];

const directory = await mkdtemp(join(tmpdir(), 'nibs-coverage-'));
try {
  const run = spawn(process.execPath, [join(import.meta.dirname, 'run.ts'), ...(await runArguments())], {
    env: { ...process.env, NODE_V8_COVERAGE: directory },
    stdio: 'inherit',
  });
  const [status] = await once(run, 'exit');
  print(await reachedIn(directory), await sources());
  process.exitCode = status === 0 ? 0 : 1;
} finally {
  await rm(directory, { recursive: true });
}

/** Node's permission model would not let unit tests write what they reached. */
async function runArguments(): Promise<readonly string[]> {
  const given = process.argv.slice(2);
  if (!given.includes('--unit')) return given;
  return (await findTestFiles()).filter(({ layer }) => layer === 'unit').map(({ path }) => path);
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
  const all = new Map<string, Reached>();
  for (const name of await readdir(directory)) {
    const { result } = JSON.parse(await readFile(join(directory, name), 'utf8')) as {
      readonly result: readonly Script[];
    };
    for (const { url, functions } of result) {
      const path = url.startsWith('file://') ? relative(repository, fileURLToPath(url)) : '';
      if (!folders.some((folder) => path.startsWith(`${folder}/`))) continue;
      add(all, path, functions);
    }
  }
  return all;
}

function add(all: Map<string, Reached>, path: string, functions: Script['functions']): void {
  const length = functions[0]?.ranges[0]?.endOffset ?? 0;
  const reached = all.get(path) ?? { characters: new Uint8Array(length), blocks: new Set<string>() };
  all.set(path, reached);
  const counts = new Uint8Array(length);
  for (const { ranges } of functions) {
    for (const { startOffset, endOffset, count } of ranges) {
      counts.fill(count > 0 ? 1 : 0, startOffset, endOffset);
      reached.blocks.add(`${startOffset} ${endOffset}`);
    }
  }
  for (let at = 0; at < length; at++) reached.characters[at] = (reached.characters[at] ?? 0) | (counts[at] ?? 0);
}

function print(all: Map<string, Reached>, texts: Map<string, string>): void {
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
