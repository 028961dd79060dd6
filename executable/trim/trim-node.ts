import { z } from 'zod';
import { ElfImage } from '../elf/image.ts';
import { unreadVariables } from '../node-variables.ts';
import { cutIcuData } from './icu-data.ts';
import { emptyUnwindTables } from './unwind-tables.ts';

/**
 * Built-in modules of Node that the programs do not use: what removes types from TypeScript
 * (WebAssembly as text, 3.8 MB), the runner of tests, the debugger's and the interactive programs,
 * QUIC, which is an experiment, and the tools for V8's logs.
 */
const unusedModules = /^(internal\/(deps\/amaro|deps\/v8|test_runner|debugger|repl|quic)\/|repl$)/;

/**
 * Removes from Node what the programs never use: languages other than English, encodings other than
 * those of the web's plain texts, some built-in modules, and what only C++ exceptions need. The
 * file does not become smaller, but these 40 MB of it compress to nothing. Also the names of
 * variables that it must not read.
 * @param file an unchanged Node of the version that runs this; it is changed
 * @throws {Error} it has no data of ICU, or not this version's built-in modules or variables
 */
export function trimNode(file: Buffer): void {
  const image = new ElfImage(file);
  cutIcuData(icuDataOf(file, image), isUsed);
  emptyUnwindTables(file, image);
  for (const [name, source] of builtinModules()) if (unusedModules.test(name)) emptyModule(file, name, source);
  for (const name of unreadVariables) renameVariable(file, name);
}

/**
 * Node no longer finds the variable: its name in the file gets a character that no name can have.
 * @throws {Error} the file does not have the name
 */
function renameVariable(file: Buffer, name: string): void {
  const text = Buffer.from(`\0${name}\0`, 'latin1');
  let at = file.indexOf(text);
  if (at < 0) throw new Error(`Node does not have the variable ${name}`);
  for (; at >= 0; at = file.indexOf(text, at + 1)) file.write('=', at + 1, 'latin1');
}

function icuDataOf(file: Buffer, { symbols, loads }: ElfImage): Buffer {
  const symbol = symbols.find(({ name }) => /^icudt\d+_dat$/.test(name));
  const load = loads.find(
    (one) => symbol !== undefined && one.address <= symbol.value && symbol.value < one.address + one.fileSizeBytes,
  );
  if (symbol === undefined || load === undefined) throw new Error('Node has no data of ICU');
  const start = symbol.value - load.address + load.fileOffset;
  return file.subarray(start, start + symbol.sizeBytes);
}

/** The built-in modules of the running Node with their sources. */
function builtinModules(): [name: string, source: string][] {
  const { binding } = z
    .object({ binding: z.custom<(name: string) => unknown>((one) => typeof one === 'function') })
    .parse(process);
  const sources = z.record(z.string(), z.unknown()).parse(binding('natives'));
  return Object.entries(sources).flatMap(([name, source]) => (typeof source === 'string' ? [[name, source]] : []));
}

/** It becomes an empty program. Sources outside of Latin-1 are stored otherwise: they stay. */
function emptyModule(file: Buffer, name: string, source: string): void {
  if (/[^\0-\xff]/.test(source)) return;
  const text = Buffer.from(source, 'latin1');
  const at = file.indexOf(text);
  if (at < 0 || file.indexOf(text, at + 1) >= 0) throw new Error(`Node does not have ${name} once`);
  file.fill(' ', at, at + text.length);
}

const folders = new Set(['brkitr', 'coll', 'curr', 'lang', 'region', 'unit', 'zone']);
const encodings = new Set(['ibm-5348_P100-1997.cnv']); // windows-1252, which is what the web means by latin1
const languages = new Set(['root', 'en', 'en_US', 'en_US_POSIX', 'res_index']);

/** Whether the programs use an item of ICU's data, or ICU itself needs it. */
function isUsed(name: string): boolean {
  const [folder, file] = name.includes('/') ? name.split('/', 2) : ['', name];
  if (folder !== '' && !folders.has(folder ?? '')) return false;
  const [, base = '', extension] = file?.match(/^(.*)\.(\w+)$/) ?? [];
  switch (extension) {
    case 'cnv':
      return encodings.has(name);
    case 'dict': // words of languages that are written without spaces
    case 'spp': // profiles of names in old protocols
    case 'cfu': // characters that look alike
      return false;
    case 'brk':
      return !base.startsWith('line_');
    case 'icu':
      return base !== 'unames'; // names of characters
    default:
      return languages.has(base) || !/^[a-z]{2,3}(_\w+)?$/.test(base);
  }
}
