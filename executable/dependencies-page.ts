/**
 * Writes the table in docs/dependencies.md: what the programs and their build depend on.
 *
 * `node executable/dependencies-page.ts` takes versions and licences from package-lock.json and
 * keeps the dates that the page has; with `--ages` it asks the registry for those of versions that
 * are new. `--check` only says whether the page is up to date.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { runTool } from '../tools/run-tool.ts';

const root = resolve(import.meta.dirname, '..');
const path = join(root, 'docs/dependencies.md');
const unknown = '-';

const names = z.record(z.string(), z.string()).default({});
const Manifest = z.object({ dependencies: names, devDependencies: names, optionalDependencies: names });
const Lock = z.object({
  packages: z.record(z.string(), z.object({ version: z.string().optional(), license: z.string().optional() })),
});

const { values: options } = parseArgs({ options: { ages: { type: 'boolean' }, check: { type: 'boolean' } } });
const page = await readFile(path, 'utf8');
const wanted = page.replace(/(?<=<!-- table -->\n).*?(?=<!-- end -->)/s, await table(page));
if (wanted !== page && options.check === true) {
  process.stderr.write('docs/dependencies.md is out of date: run make dependencies\n');
  process.exitCode = 1;
} else if (wanted !== page) await writeFile(path, wanted);

async function table(page: string): Promise<string> {
  const manifest = Manifest.parse(JSON.parse(await readFile(join(root, 'package.json'), 'utf8')));
  const { packages } = Lock.parse(JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')));
  const rows: string[] = ['', '| package | version | licence | released | part of |', '|---|---|---|---|---|'];
  for (const [part, dependencies] of [
    ['the programs', { ...manifest.dependencies, ...manifest.optionalDependencies }],
    ['build and tests', manifest.devDependencies],
  ] as const) {
    for (const name of Object.keys(dependencies).sort()) {
      const { version = unknown, license = unknown } = packages[`node_modules/${name}`] ?? {};
      const date = dateIn(page, name, version) ?? (await released(name, version));
      rows.push(`| \`${name}\` | ${version} | ${license} | ${date} | ${part} |`);
    }
  }
  const others = Object.keys(packages).filter((path) => path !== '').length;
  return [...rows, '', `With what these depend on, package-lock.json has ${others} packages.`, '', ''].join('\n');
}

/** The date that the page has for this version. */
function dateIn(page: string, name: string, version: string): string | undefined {
  const row = page.split('\n').find((line) => line.startsWith(`| \`${name}\` | ${version} |`));
  return row?.match(/ \d{4}-\d\d-\d\d /)?.[0].trim();
}

async function released(name: string, version: string): Promise<string> {
  if (options.ages !== true) return unknown;
  // npm's settings: proxies, certificate authorities.
  const { stdout } = await runTool('npm', ['view', name, 'time', '--json'], { environment: process.env });
  return z.record(z.string(), z.string()).parse(JSON.parse(stdout))[version]?.slice(0, 10) ?? unknown;
}
