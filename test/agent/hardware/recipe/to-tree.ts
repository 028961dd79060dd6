/**
 * to-tree.ts CONSOLE TREE: extracts the record (see record) from what a machine printed, and writes
 * it as a tree (see ../tree.ts).
 */
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [console = '', target = ''] = process.argv.slice(2);
const [, record] = /RECORD BEGINS\r?\n([\s\S]*)RECORD ENDS/.exec(readFileSync(console, 'latin1')) ?? [];
if (record === undefined) throw new Error(`${console} holds no record`);
const directory = mkdtempSync(join(tmpdir(), 'nibs-record-'));
execFileSync('tar', ['-xz', '-C', directory], { input: Buffer.from(record, 'base64') });
const tree = Object.fromEntries(entries(directory, '').sort(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync(target, `${JSON.stringify(tree, undefined, 1)}\n`);
rmSync(directory, { recursive: true });

function entries(root: string, path: string): [string, string][] {
  return readdirSync(join(root, path)).flatMap((name): [string, string][] => {
    const inner = `${path}/${name}`;
    const state = lstatSync(join(root, inner));
    if (state.isSymbolicLink()) return [[inner, `-> ${readlinkSync(join(root, inner))}`]];
    if (state.isDirectory()) return entries(root, inner);
    return [[inner, toText(readFileSync(join(root, inner)))]];
  });
}

/** Bytes that are no text are written in hexadecimal. */
function toText(bytes: Buffer): string {
  const text = bytes.toString('utf8');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what it looks for
  return /[\0-\x08\x0e-\x1f\ufffd]/.test(text) ? `hex:${bytes.toString('hex')}` : text;
}
