/**
 * Writes what is made of the agent's settings: the table in docs/settings.md, between the two
 * comments that mark its place, and the manual page agent/tink-agent.8. With `--check` only says
 * whether they are up to date.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { settingsAsMarkdown } from '../agent/settings/arguments.ts';
import { agentManual } from '../agent/settings/manual.ts';

const root = join(import.meta.dirname, '..');
const [begin, end] = ['<!-- settings: made by `make generate` -->\n', '<!-- /settings -->'];

await update('docs/settings.md', (text) => {
  const [from, to] = [text.indexOf(begin) + begin.length, text.indexOf(end)];
  if (from < begin.length || to < from)
    throw new Error(`docs/settings.md has no place for the table of settings: ${begin.trim()} … ${end}`);
  return `${text.slice(0, from)}\n${settingsAsMarkdown().trim()}\n\n${text.slice(to)}`;
});
await update('agent/tink-agent.8', agentManual);

async function update(name: string, wanted: (text: string) => string): Promise<void> {
  const path = join(root, name);
  const text = await readFile(path, 'utf8');
  const content = wanted(text);
  if (content === text) return;
  if (!process.argv.includes('--check')) return await writeFile(path, content);
  process.stderr.write(`error: ${name} is not up to date; run \`make generate\`\n`);
  process.exitCode = 1;
}
