import { equal, throws } from 'node:assert/strict';
import { chmod, mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { constants, zstdCompressSync } from 'node:zlib';
import { cutIcuData } from '../../../executable/trim/icu-data.ts';
import { trimNode } from '../../../executable/trim/trim-node.ts';
import { runTool } from '../../../tools/run-tool.ts';

const scratch = await mkdtempDisposable(join(tmpdir(), 'nibs-trim-'));
const trimmed = join(scratch.path, 'node');
let original: Buffer;
let file: Buffer;

before(async () => {
  original = await readFile(process.execPath);
  file = Buffer.from(original);
  trimNode(file);
  await writeFile(trimmed, file);
  await chmod(trimmed, 0o755);
});

after(() => scratch.remove());

const fast = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

test('a trimmed Node is as large, and 9 MiB smaller when compressed', () => {
  equal(file.length, original.length);
  const [before = 0, now = 0] = [original, file].map((one) => zstdCompressSync(one, fast).length);
  equal(before - now > 9 * 2 ** 20, true, `${before} → ${now}`);
});

const english = `[
  new Date(0).toLocaleString('en-US', { month: 'short', timeZone: 'Europe/Berlin', timeZoneName: 'long' }),
  new Date(0).toString(), (1234.5).toLocaleString('en-US'), ['b', 'ä', 'a'].sort(new Intl.Collator('en').compare),
  new Intl.NumberFormat('en', { style: 'unit', unit: 'byte' }).format(5), new Intl.PluralRules('en').select(1),
  require('node:url').domainToASCII('münchen.example'), 'ﬁ'.normalize('NFKC'), /\\p{Lu}/u.test('Ä'), 'ß'.toUpperCase(),
  ...['latin1', 'utf-16le', 'utf-8'].map((name) => new TextDecoder(name).decode(Buffer.from([0x80, 0x61, 0xe4, 0x62]))),
].join('\\n')`;

test('a trimmed Node does in English what the original does', async () => {
  const [expected, actual] = await Promise.all([process.execPath, trimmed].map((node) => print(node, english, 'C')));
  equal(actual, expected);
});

test('a trimmed Node runs under the locale of another language, whose words it does not have', async () => {
  const month = "new Date(0).toLocaleString(undefined, { month: 'long' })";
  equal(await print(trimmed, month, 'de_DE.UTF-8'), 'M01'); // Januar
  equal(await print(trimmed, month, 'en_US.UTF-8'), 'January');
});

test('trimNode() refuses a Node that does not have this version’s type stripping', () => {
  throws(() => trimNode(Buffer.from(file)), /Node does not have internal\/deps\/amaro\/dist\/index once/);
});

test('cutIcuData() refuses what is no data of ICU', () => {
  throws(() => cutIcuData(Buffer.alloc(64), () => true), /no little-endian data of ICU/);
});

async function print(node: string, expression: string, locale: string): Promise<string> {
  const { stdout } = await runTool(node, ['--print', expression], { environment: { LC_ALL: locale } });
  return stdout;
}
