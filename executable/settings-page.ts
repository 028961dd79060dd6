/**
 * Writes the agent's table of settings into docs/settings.md, between the two comments that mark
 * its place; with `--check` only says whether it is up to date.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { settingsAsMarkdown } from '../agent/settings/arguments.ts';

const path = join(import.meta.dirname, '../docs/settings.md');
const [begin, end] = ['<!-- settings: made by `make generate` -->\n', '<!-- /settings -->'];

const text = await readFile(path, 'utf8');
const [from, to] = [text.indexOf(begin) + begin.length, text.indexOf(end)];
if (from < begin.length || to < from)
  throw new Error(`${path} has no place for the table of settings: ${begin.trim()} … ${end}`);
const wanted = `${text.slice(0, from)}\n${settingsAsMarkdown().trim()}\n\n${text.slice(to)}`;
if (wanted !== text && process.argv.includes('--check')) {
  process.stderr.write('error: the table in docs/settings.md is not up to date; run `make generate`\n');
  process.exitCode = 1;
} else if (wanted !== text) {
  await writeFile(path, wanted);
}
