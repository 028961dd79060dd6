import { equal, ok, rejects, throws } from 'node:assert/strict';
import { chmod, mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { constants, zstdCompressSync } from 'node:zlib';
import { ElfImage } from '../../../executable/elf/image.ts';
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

test('a trimmed Node is as large, and 10 MiB smaller when compressed', () => {
  equal(file.length, original.length);
  const [before = 0, now = 0] = [original, file].map((one) => zstdCompressSync(one, fast).length);
  equal(before - now > 10 * 2 ** 20, true, `${before} → ${now}`);
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

test('a trimmed Node has no unwind tables', () => {
  const { sections, loads } = new ElfImage(file);
  const frames = sections.find(({ name }) => name === '.eh_frame');
  const load = loads.find(
    ({ address, fileSizeBytes }) => frames && address <= frames.address && frames.address < address + fileSizeBytes,
  );
  ok(frames && load && frames.sizeBytes > 2 ** 20);
  const start = frames.address - load.address + load.fileOffset;
  equal(
    file.subarray(start, start + frames.sizeBytes).some((byte) => byte !== 0),
    false,
  );
});

test('an error and an abort end a trimmed Node as they end the original', async () => {
  for (const [program, end] of [
    ['throw new Error("planted")', /planted/],
    ['process.abort()', /SIGABRT/],
  ] as const) {
    for (const node of [process.execPath, trimmed])
      await rejects(runTool(node, ['--eval', program]), (error: Error) => end.test(`${error.message} ${error.cause}`));
  }
});

test('trimNode() refuses a Node that does not have this version’s built-in modules', () => {
  throws(() => trimNode(Buffer.from(file)), /Node does not have \S+ once/);
});

test('cutIcuData() refuses what is no data of ICU', () => {
  throws(() => cutIcuData(Buffer.alloc(64), () => true), /no little-endian data of ICU/);
});

async function print(node: string, expression: string, locale: string): Promise<string> {
  const { stdout } = await runTool(node, ['--print', expression], { environment: { LC_ALL: locale } });
  return stdout;
}
