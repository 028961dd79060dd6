import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../errors/reason.ts';
import { readPlacedFile } from '../../files/read-placed-file.ts';
import { printable } from '../../text/printable.ts';
import { runTool, ToolError } from '../../tools/run-tool.ts';
import type { Redactor } from '../log/redact.ts';
import type { Section } from './sections.ts';

/** The log of a program has at most 8 MiB. */
const maxFileBytes = 16 * 1024 * 1024;

/** Each command may take so long; what does not answer is a finding, too. */
const commandSeconds = 20;

/**
 * The sections one after the other as text, without the secrets that `redactor` knows. What cannot
 * be read has its reason in place of its content.
 */
export async function makeReport(
  sections: readonly Section[],
  redactor: Redactor,
  signal: AbortSignal,
): Promise<string> {
  const parts: string[] = [];
  for (const section of sections) parts.push(await describe(section, signal));
  return redactor.redact(printableLog(redactor.redact(parts.join('\n'))));
}

async function describe(section: Section, signal: AbortSignal): Promise<string> {
  if ('command' in section) return part(section.title, await outputOf(section.command, signal));
  const names = await list(section.directory);
  if (typeof names === 'string') return part(section.title, names);
  const wanted = names.filter((name) => section.files.test(name)).sort();
  const contents = wanted.map(async (name) => {
    const path = join(section.directory, name);
    return part(path, await contentOf(path));
  });
  return (await Promise.all(contents)).join('\n');
}

async function outputOf([program, ...args]: readonly [string, ...string[]], signal: AbortSignal): Promise<string> {
  try {
    return (
      await runTool(program, args, {
        signal,
        timeoutSeconds: commandSeconds,
        environment: { DOCKER_HOST: process.env['DOCKER_HOST'] },
      })
    ).stdout;
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof ToolError)) throw error;
    return [error.stdout, `[${reasonOf(error)}]`].filter(Boolean).join('\n');
  }
}

async function list(directory: string): Promise<string[] | string> {
  try {
    const entries = await readdir(directory, { withFileTypes: true });
    return entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
  } catch (error) {
    return `[${reasonOf(error)}]`;
  }
}

async function contentOf(path: string): Promise<string> {
  try {
    return (await readPlacedFile(path, maxFileBytes)).toString('utf8');
  } catch (error) {
    return `[${reasonOf(error)}]`;
  }
}

function part(title: string, content: string): string {
  return `=== ${title}\n${content.trimEnd()}\n`;
}

/** Logs hold what devices, servers and actions have written. */
function printableLog(text: string): string {
  return text
    .split(/\r?\n/)
    .map((line) => printable(line))
    .join('\n');
}
