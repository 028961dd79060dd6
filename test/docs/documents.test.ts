import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { settings } from '../../agent/settings/settings.ts';
import { parseOptions } from '../../installer/options.ts';
import { anchorsOf, readPages, root } from './pages.ts';

const pages = readPages();
const makefile = readFileSync(join(root, 'Makefile'), 'utf8');

test('the README can be read in two minutes: at most 5 kB', () => {
  const readme = readFileSync(join(root, 'README.md'));
  assert.ok(readme.length <= 5120, `README.md has ${readme.length} bytes`);
});

test('each relative link of a page leads to a file, and each anchor to a heading', () => {
  const dead: string[] = [];
  let links = 0;
  for (const { path, text } of pages) {
    for (const [, target = ''] of text.replace(/^```[\s\S]*?^```$/gm, '').matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      links += 1;
      const [file = '', anchor] = target.split('#');
      const linked = file === '' ? path : normalize(join(dirname(path), file));
      const page = pages.find((one) => one.path === linked);
      if (!existsSync(join(root, linked))) dead.push(`${path}: ${target}`);
      else if (anchor !== undefined && page !== undefined && !anchorsOf(page).has(anchor))
        dead.push(`${path}: ${target}`);
    }
  }
  assert.deepEqual(dead, []);
  assert.ok(links > 80, `${links} links`);
});

test('each page of docs/ can be reached from the README', () => {
  const reached = new Set(['README.md']);
  for (const path of reached) {
    const text = pages.find((page) => page.path === path)?.text ?? '';
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s#]+)/g)) {
      const linked = normalize(join(dirname(path), target));
      if (linked.endsWith('.md')) reached.add(linked);
    }
  }
  const unreached = pages.map(({ path }) => path).filter((path) => path.startsWith('docs/') && !reached.has(path));
  assert.deepEqual(unreached, []);
});

test('each make target that a page names exists', () => {
  const targets = new Set([...makefile.matchAll(/^([a-z-]+):/gm)].map(([, target]) => target));
  // Messages of the programs, such as "make the pipe", are no commands.
  for (const { path, code } of pages.filter((page) => page.path !== 'docs/troubleshooting.md')) {
    for (const command of code.flatMap((text) => /(?:^|[;&] )make ([a-z].*)$/.exec(text)?.[1] ?? [])) {
      for (const word of command.split(/\s+#/)[0]?.split(' ') ?? []) {
        if (/^[a-z-]+$/.test(word)) assert.ok(targets.has(word), `${path}: make ${command}`);
        else break;
      }
    }
  }
});

test('each file and folder that a page names in code exists', () => {
  const missing = new Set<string>();
  for (const { path, code } of pages.filter((page) => page.path !== 'CHANGELOG.md')) {
    for (const text of code) {
      for (const [name] of text.matchAll(
        /(?<![\w./~-])(?:agent|docs|executable|initramfs|installer|net|proto|test)\/[\w./-]*\w\/?/g,
      )) {
        if (!existsSync(join(root, name)) && !existsSync(join(root, dirname(path), name)))
          missing.add(`${path}: ${name}`);
      }
    }
  }
  assert.deepEqual([...missing], []);
});

test('each setting of ours that a page names exists: the agent or a script of the boot image reads it', () => {
  const names = new Set(settings.flatMap(({ names: { environment, kernel } }) => [...environment, ...kernel]));
  const folder = join(root, 'initramfs/files/system/lib/nibs');
  const scripts = readdirSync(folder)
    .map((name) => readFileSync(join(folder, name), 'utf8'))
    .join('');
  assert.ok(names.has('nibs_finish') && names.has('NIBS_FINISH'));
  for (const { path, code } of pages) {
    for (const [name] of code.join('\n').matchAll(/\b(?:nibs_[a-z_]+[a-z]|NIBS_[A-Z_]+[A-Z])\b/g)) {
      // Metrics are compared by test/docs/operating.test.ts.
      if (path === 'docs/operating.md' && /^nibs_(?!status_address|report_url)/.test(name)) continue;
      assert.ok(names.has(name) || scripts.includes(name), `${path}: ${name}`);
    }
  }
});

test('each flag that the pages of the agent name exists', () => {
  const flags = new Set(settings.flatMap(({ names }) => names.flags));
  for (const name of ['config', 'print-config', 'help', 'version', 'json', 'image']) flags.add(name);
  for (const page of ['agent', 'nats', 'settings', 'migrating', 'templates', 'attributes']) {
    for (const flag of flagsOn(`docs/${page}.md`, 'tink-agent'))
      assert.ok(flags.has(flag), `docs/${page}.md: --${flag}`);
  }
});

test('each option that the page of flatcar-install names exists', () => {
  const parsed = parseOptions(['--help'], { board: 'amd64-usr', channel: 'stable', version: 'current', oem: '' });
  assert.equal(parsed.kind, 'text');
  const help = parsed.kind === 'text' ? parsed.text : '';
  const named = flagsOn('docs/installer.md', 'flatcar-install');
  assert.ok(named.length > 3);
  for (const flag of named) assert.match(help, new RegExp(`--${flag}\\b`));
});

/** Long flags without their dashes, in code that is a flag or a command line of that program. */
function flagsOn(path: string, program: string): string[] {
  const code = pages.find((page) => page.path === path)?.code ?? assert.fail(`there is no ${path}`);
  return code
    .filter((text) => text.startsWith('--') || text.startsWith(`${program} `))
    .flatMap((text) => [...text.matchAll(/(?<=^|\s)--?([a-z][a-z0-9-]+)/g)].map(([, flag = '']) => flag));
}

test('each decision has its context, evidence and consequences', () => {
  const decisions = pages.filter(({ path }) => path.startsWith('docs/decisions/') && !path.endsWith('README.md'));
  assert.ok(decisions.length > 10);
  for (const { path, text } of decisions) {
    const headings = ['Context', 'Decision', 'Evidence', 'Consequences'].map((heading) => `## ${heading}`);
    assert.deepEqual(text.match(/^## .+$/gm), headings, path);
  }
});

test('lines end before column 101, but for tables, code and links', () => {
  const long: string[] = [];
  for (const { path, text } of pages) {
    const prose = text.replace(/^```[\s\S]*?^```$/gm, (code) => code.replace(/.+/g, ''));
    for (const [index, line] of prose.split('\n').entries()) {
      if ([...line].length <= 100 || line.startsWith('|') || /^\S*https?:\S+$/.test(line.trim())) continue;
      long.push(`${path}:${index + 1}`);
    }
  }
  assert.deepEqual(long, []);
});
