/**
 * Only clock/ uses the clocks, timers and random numbers of Node. All other code takes a Clock from
 * its caller, so that tests and simulations can replace time and chance. Sources are parsed by
 * esbuild, which replaces each use of a global by a mark: comments, strings and local variables of
 * the same name do not count.
 */
import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { transform } from 'esbuild';

const root = join(import.meta.dirname, '../..');
const rooms = ['agent', 'errors', 'installer', 'net', 'tools'];

/**
 * Programs that run when something is built or measured, never on a machine. They are never
 * simulated, and they measure real time.
 */
const buildPrograms = [
  'executable/',
  'initramfs/',
  'agent/template/engine/build.ts',
  'installer/decompress/build-kernels.ts',
];

/**
 * Globals that read the time, wait, or draw a random number; random bytes for names and keys are
 * another matter.
 */
const globals = [
  ...['setTimeout', 'setInterval', 'clearTimeout', 'clearInterval', 'performance'],
  ...['AbortSignal.timeout', 'Math.random', 'process.hrtime', 'process.uptime'],
];

const mark = (name: string) => `$forbidden_${name.replaceAll('.', '_')}$`;
const define = Object.fromEntries([
  ...globals.flatMap((name) => [name, `globalThis.${name}`].map((way) => [way, mark(name)])),
  ...['Date', 'globalThis.Date'].map((way) => [way, mark('Date')]),
]);

/**
 * Modules that have the same under other names. A turn of the event loop (`setImmediate`) takes no
 * time.
 */
const modules = /\b(?:import|from)\b\s*\(?\s*"(?:node:)?(timers|timers\/promises|perf_hooks)"/;
const harmless = /^import (?:type )?\{ setImmediate(?: as \w+)? \} from /;

/** What a source uses of the clocks, timers and random numbers of Node. */
async function usesOf(source: string): Promise<string[]> {
  const { code } = await transform(source, { loader: 'ts', define, legalComments: 'none', charset: 'utf8' });
  const found = globals.filter((name) => code.includes(mark(name)));
  if (code.includes(`${mark('Date')}.now`)) found.push('Date.now');
  // Also without arguments, and without `new`.
  if (new RegExp(`${mark('Date').replaceAll('$', '\\$')}\\(\\)`).test(code)) found.push('new Date()');
  for (const line of code.split('\n')) {
    const [, module] = modules.exec(line) ?? [];
    if (module !== undefined && !harmless.test(line)) found.push(`node:${module}`);
    if (/^import .*\brandomInt\b.* from "node:crypto"/.test(line)) found.push('randomInt');
  }
  return found;
}

test('only clock/ reads the time, waits and draws random numbers', async () => {
  const files = globSync(
    rooms.map((room) => `${root}/${room}/**/*.ts`),
    { exclude: ['**/kernel/**', '**/assemblyscript/**'] },
  ).map((file) => relative(root, file));
  assert.ok(files.length > 150, `${files.length} files`);
  const violations: string[] = [];
  for (const file of files.sort()) {
    if (buildPrograms.some((exception) => file.startsWith(exception))) continue;
    const uses = await usesOf(await readFile(join(root, file), 'utf8'));
    violations.push(...uses.map((use) => `${file} uses ${use}; take a Clock instead (clock/clock.ts)`));
  }
  assert.deepEqual(violations, []);
});

for (const [source, uses] of [
  ['setTimeout(() => {}, 1000);', ['setTimeout']],
  [
    'const timer: NodeJS.Timeout = globalThis.setInterval(poll, 1000); clearInterval(timer);',
    ['setInterval', 'clearInterval'],
  ],
  ["import { setTimeout as sleep } from 'node:timers/promises'; await sleep(1);", ['node:timers/promises']],
  ["import * as timers from 'timers'; timers.setTimeout(poll, 1);", ['node:timers']],
  ["const { setTimeout: sleep } = await import('node:timers/promises'); await sleep(1);", ['node:timers/promises']],
  ["import { performance as p } from 'node:perf_hooks'; p.now();", ['node:perf_hooks']],
  ['const late = Date.now() > limit;', ['Date.now']],
  ['const time = new Date().toISOString();', ['new Date()']],
  ['const time = new Date;', ['new Date()']],
  ['const begin = performance.now();', ['performance']],
  ['await work(AbortSignal.timeout(5000));', ['AbortSignal.timeout']],
  ['await wait(seconds * Math.random());', ['Math.random']],
  [
    "import { randomInt, createHash } from 'node:crypto'; wait(randomInt(5) + createHash('md5').length);",
    ['randomInt'],
  ],
  ['const at = process.hrtime.bigint();', ['process.hrtime']],
] as const) {
  test(`finds ${uses.join(' and ')} in: ${source}`, async () => assert.deepEqual(await usesOf(source), uses));
}

test('does not take comments, strings, types, local names and given times for a use', async () => {
  const source = `
    import { setImmediate } from 'node:timers/promises';
    import { randomUUID } from 'node:crypto';
    // setTimeout(poll, 1); Date.now(); new Date();
    const help = 'Math.random() and new Date() are not used: ' + \`performance.now() \${"AbortSignal.timeout(1)"}\`;
    function poll(setTimeout: (seconds: number) => void, Math: { random(): number }) {
      setTimeout(Math.random());
    }
    let timer: ReturnType<typeof setTimeout>;
    const time = new Date(2026, 0, 1), parsed = Date.parse('2026-01-01'), utc = Date.UTC(2026, 0);
    if (time instanceof Date) await setImmediate();
    console.log(help, poll, timer, parsed, utc, randomUUID());
  `;
  assert.deepEqual(await usesOf(source), []);
});
