/** The messages that are in the sources, and what is known of each. */
import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { textsOf } from '../installer/texts.ts';
import { root } from './pages.ts';

/** Texts by file. */
export type Messages = Readonly<Record<string, readonly string[]>>;

/** Files whose texts are shown otherwise: by --help, in the manual page, in /metrics. */
const elsewhere = /^(?:settings\/(?:table\/|manual|completion)|status\/(?:machine-)?metrics|template\/engine\/)/;

/** Texts of several words in the agent's sources, in the order of the files. */
export async function agentTexts(): Promise<Messages> {
  const texts: Record<string, readonly string[]> = {};
  // The registry client is the agent's, and that of image2disk.
  const ofRegistry = (await filesIn('registry', '*.ts')).map((file) => `../registry/${file}`);
  for (const file of [...(await filesIn('agent', '**/*.ts')), ...ofRegistry]) {
    if (elsewhere.test(file)) continue;
    const found = textsOf(await readFile(join(root, 'agent', file), 'utf8'))
      .map(({ text }) => text)
      .filter((text) => text.split(' ').filter((word) => word !== '').length >= 3 && /[a-z]/.test(text))
      .map((text) => text.replaceAll('\n', ' '));
    if (found.length > 0) texts[file] = [...new Set(found)];
  }
  return texts;
}

/** What the scripts of the boot image show on the consoles, in the order of the files. */
export async function bootTexts(): Promise<Messages> {
  const texts: Record<string, readonly string[]> = {};
  for (const file of await filesIn('initramfs/files', '{early,engine-*,system}/**')) {
    if (!/^early\/init$|\/lib\/nibs\//.test(file)) continue;
    const script = await readFile(join(root, 'initramfs/files', file), 'utf8');
    const found = [...saidIn(script)].filter((text) => /[a-z]/.test(text));
    if (found.length > 0) texts[file] = [...new Set(found)];
  }
  return texts;
}

async function filesIn(folder: string, pattern: string): Promise<string[]> {
  const entries = glob(pattern, { cwd: join(root, folder), withFileTypes: true });
  const files = (await Array.fromAsync(entries)).filter((entry) => entry.isFile());
  return files.map(({ parentPath, name }) => join(parentPath, name).slice(join(root, folder).length + 1)).sort();
}

/** The functions that write to the consoles, and lines of list_errors(), which end up there too. */
const speakers = /\b(?:announce|refuse|say|stop) (["'])|\|\| echo (")(?=[^"\n]*\b(?:is not|is missing|is a number)\b)/g;

function* saidIn(script: string): Generator<string> {
  const code = script.replace(/^\s*#.*$/gm, '');
  for (const match of code.matchAll(speakers)) {
    const quote = match[1] ?? match[2] ?? '"';
    yield readQuoted(code, (match.index ?? 0) + match[0].length, quote);
  }
  // Reasons that are put together before they are announced, and the words of announce() to awk.
  for (const [, text = ''] of code.matchAll(/^\s*reason="(.*)"$/gm)) yield readQuoted(`${text}"`, 0, '"');
  for (const [, text = ''] of code.matchAll(/announce (engine ready)"/g)) yield text;
  for (const [, text = ''] of code.matchAll(/do echo "(nibs: .*?)" >/g)) {
    if (code.includes('announce() {')) yield readQuoted(`${text}"`, 0, '"');
  }
}

/** To the end of the quotes; what is put in is `…`. */
function readQuoted(code: string, start: number, quote: string): string {
  let text = '';
  for (let offset = start; offset < code.length && code[offset] !== quote; offset++) {
    const rest = code.slice(offset);
    const variable = quote === '"' ? /^\$(?:\w+|[*@?#])/.exec(rest)?.[0] : undefined;
    if (quote === '"' && /^\$[({]/.test(rest)) {
      offset = endOfSubstitution(code, offset + 1);
      text += '…';
    } else if (variable !== undefined) {
      offset += variable.length - 1;
      text += '…';
    } else text += code[offset];
  }
  return text;
}

/** From the offset of its opening bracket to that of its closing one. */
function endOfSubstitution(code: string, start: number): number {
  const [open, close] = code[start] === '(' ? ['(', ')'] : ['{', '}'];
  let depth = 0;
  for (let offset = start; offset < code.length; offset++) {
    if (code[offset] === open) depth += 1;
    if (code[offset] === close) depth -= 1;
    if (depth === 0) return offset;
  }
  return code.length;
}
