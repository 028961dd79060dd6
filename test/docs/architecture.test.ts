import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { root } from './pages.ts';

/** The import rules of docs/architecture.md: each folder with those that its files may import. */
function readRules(): Map<string, string[]> {
  const text = readFileSync(join(root, 'docs/architecture.md'), 'utf8');
  const rows = [...text.matchAll(/^\| `([\w/]+\/)` \|[^|]*\|([^|]*)\|$/gm)];
  return new Map(
    rows.map(([, folder = '', list = '']) => [folder, [...list.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name)]),
  );
}

const rules = readRules();

function folderOf(path: string): string {
  const [folder] = [...rules.keys()].filter((name) => path.startsWith(name)).sort((a, b) => b.length - a.length);
  return folder ?? `${path.split('/')[0]}/`;
}

/** Relative imports of a file, dynamic ones and those of types too, as paths from the root. */
function importsOf(path: string, source: string): string[] {
  const found = source.matchAll(/\bfrom\s+'(\.[^']+)'|\bimport\(\s*'(\.[^']+)'|^import\s+'(\.[^']+)'/gm);
  return [...found].map(([, first, second, third]) => normalize(join(dirname(path), first ?? second ?? third ?? '')));
}

/** What a file imports and may not. */
function violations(path: string, source: string): string[] {
  const folder = folderOf(path);
  return importsOf(path, source)
    .filter((target) => folderOf(target) !== folder && !rules.get(folder)?.includes(folderOf(target)))
    .map((target) => `${path} imports ${target}`);
}

test('each file imports only what docs/architecture.md allows to its folder', () => {
  const list = execFileSync('git', ['ls-files', '*.ts', ':!test'], { cwd: root, encoding: 'utf8' });
  const paths = list.trim().split('\n');
  assert.ok(paths.length > 200);
  assert.deepEqual(
    paths.filter((path) => !rules.has(folderOf(path))),
    [],
    'a folder has no row in the table',
  );
  assert.deepEqual(
    paths.flatMap((path) => violations(path, readFileSync(join(root, path), 'utf8'))),
    [],
  );
});

test('an import between agent/ and installer/, between transport/ and runtime/, or of test/ is a violation', () => {
  for (const [path, target] of [
    ['agent/power/power.ts', '../../installer/tool.ts'],
    ['installer/tool.ts', '../agent/log/log.ts'],
    ['agent/transport/nats/nats.ts', '../../runtime/runtime.ts'],
    ['agent/runtime/engine.ts', '../transport/transport.ts'],
    ['net/proxy.ts', '../agent/log/log.ts'],
    ['agent/agent.ts', '../test/sandbox/engine.ts'],
  ] as const) {
    for (const source of [
      `import { a } from '${target}';`,
      `import type { A } from '${target}';`,
      `await import('${target}')`,
      `export * from '${target}';`,
    ])
      assert.equal(violations(path, source).length, 1, `${path}: ${source}`);
  }
  assert.deepEqual(violations('agent/agent.ts', "import { a } from './runtime/runtime.ts';"), []);
});

test('no folder below agent/ may import agent/ itself', () => {
  const below = [...rules].filter(([folder]) => folder.startsWith('agent/') && folder !== 'agent/');
  assert.ok(below.length > 5);
  assert.deepEqual(
    below.filter(([, allowed]) => allowed.includes('agent/')).map(([folder]) => folder),
    [],
  );
});
