/**
 * Writes the tables of messages in docs/troubleshooting.md, behind the comment that marks their
 * place: `make generate`. With `--check` only says whether they are up to date.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { agentMessages } from '../agent/message-table.ts';
import { bootMessages } from '../initramfs/message-table.ts';
import { messageTable } from '../installer/message-table.ts';
import { root } from './pages.ts';

const path = join(root, 'docs/troubleshooting.md');
const mark = '<!-- messages: made by `make generate` -->\n';

type Table = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** Sections of the agent's messages, by file; the first that matches counts. */
const agentSections: readonly (readonly [heading: string, files: RegExp])[] = [
  ['tink-agent doctor', /^doctor\//],
  ['The agent does not start, or does not use a setting', /^(?:settings|journal|main)/],
  ['No work arrives: tink server', /^(?:create-transport|transport\/(?:grpc|accept))/],
  ['No work arrives: NATS', /^transport\/nats/],
  [
    'An image cannot be pulled',
    /^(?:\.\.\/registry|storage|runtime\/(?:images|image-|pull|credentials|docker\/pull|containerd\/image))/,
  ],
  ['A template is refused', /^(?:template|transport\/file|run-template)/],
  ['The container engine', /^(?:create-runtime|runtime\/(?:engine|containerd|docker|container\.ts))/],
  ['An action fails, or its result is lost', /^(?:agent|watch|runtime)/],
  ['The machine does not restart', /^power/],
  ['Log, status and reports', /^(?:log|report|status|syslog|telemetry)/],
];

/** The text of the page behind the mark. */
export function messagesPage(): string {
  const sections = agentSections.map(([heading, files], index) => {
    const before = agentSections.slice(0, index);
    const isIn = (file: string) => files.test(file) && !before.some(([, earlier]) => earlier.test(file));
    return `### ${heading}\n\n${explained(filterFiles(agentMessages, isIn))}`;
  });
  const unplaced = Object.keys(agentMessages).filter((file) => !agentSections.some(([, files]) => files.test(file)));
  if (unplaced.length > 0) throw new Error(`no section for ${unplaced.join(', ')}`);
  return [
    `## Messages of the boot image\n\n${explained(bootMessages)}`,
    `## Messages of the agent\n\n${sections.join('\n\n')}`,
    `## Messages of flatcar-install\n\nEach error ends with what to do, in brackets: those parts are the rows with "hint". "what" and\n"target" are parts of the sentence too: what could not be done, and to what.\n\n${situations(messageTable)}`,
  ].join('\n\n');
}

function filterFiles(table: Table, isIn: (file: string) => boolean): Table {
  return Object.fromEntries(Object.entries(table).filter(([file]) => isIn(file)));
}

interface Row {
  readonly text: string;
  readonly meaning: string;
  readonly toDo: string;
  /** Of the row: what needs something to be done comes first. */
  readonly rank: number;
}

/** Messages with a meaning and what to do; see test/agent/message-table.ts. */
function explained(table: Table): string {
  const rows = new Map<string, Row>();
  for (const [text, note] of Object.values(table).flatMap((texts) => Object.entries(texts))) {
    if (note.startsWith('internal:') || rows.has(text)) continue;
    const [meaning = '', toDo = ''] = note.split(' > ');
    const rank = note.startsWith('normal:') ? 2 : note.startsWith('part:') ? 1 : 0;
    rows.set(text, { text, meaning: meaning.replace(/^(?:part|normal): /, ''), toDo, rank });
  }
  const kinds = ['', 'part of a message: ', ''];
  const nothing = ['', 'see the whole message', 'nothing'];
  const lines = [...rows.values()]
    .toSorted((a, b) => a.rank - b.rank)
    .map(({ text, meaning, toDo, rank }) => {
      const advice = toDo === '' ? (nothing[rank] ?? '') : toDo;
      return `| ${code(text)} | ${kinds[rank]}${cell(meaning)} | ${cell(advice)} |`;
    });
  return ['| message | what it means | what to do |', '|---|---|---|', ...lines].join('\n');
}

function situations(table: Table): string {
  const rows = new Map(Object.values(table).flatMap((texts) => Object.entries(texts)));
  const lines = [...rows].map(([text, situation]) => `| ${code(text)} | ${cell(situation)} |`);
  return ['| message | when, or what part |', '|---|---|', ...lines].join('\n');
}

function code(text: string): string {
  const shown = cell(text.trim());
  return shown.includes('`') ? `\`\` ${shown} \`\`` : `\`${shown}\``;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;');
}

if (import.meta.main) {
  const text = await readFile(path, 'utf8');
  const wanted = `${text.slice(0, text.indexOf(mark) + mark.length)}\n${messagesPage()}\n`;
  if (text !== wanted && process.argv.includes('--check')) {
    process.stderr.write('error: docs/troubleshooting.md is not up to date; run `make generate`\n');
    process.exitCode = 1;
  } else await writeFile(path, wanted);
}
