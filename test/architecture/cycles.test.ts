import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '../..');

/**
 * Which file loads which others: imports and re-exports of values. Types are gone when the program
 * runs, and what is imported by a call is loaded later.
 */
type Graph = ReadonlyMap<string, readonly string[]>;

function loadedBy(path: string, source: string): string[] {
  const statements = source.matchAll(/^(?:import|export) (?!type\b)(?:[^;'"]*? from )?'(\.[^']+)';/gm);
  return [...statements].map(([, specifier = '']) => normalize(join(dirname(path), specifier)));
}

function readGraph(): Graph {
  const list = execFileSync('git', ['ls-files', '*.ts', ':!test'], { cwd: root, encoding: 'utf8' });
  const paths = list.trim().split('\n');
  return new Map(paths.map((path) => [path, loadedBy(path, readFileSync(join(root, path), 'utf8'))]));
}

/**
 * @returns one cycle as the files on the way round, the first one at both ends; `undefined` where
 *   there is none
 */
function findCycle(graph: Graph): string[] | undefined {
  const done = new Set<string>();
  const visit = (path: string, way: readonly string[]): string[] | undefined => {
    const start = way.indexOf(path);
    if (start >= 0) return [...way.slice(start), path];
    if (done.has(path)) return undefined;
    for (const next of graph.get(path) ?? []) {
      const cycle = visit(next, [...way, path]);
      if (cycle !== undefined) return cycle;
    }
    done.add(path);
    return undefined;
  };
  for (const path of graph.keys()) {
    const cycle = visit(path, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

test('no file loads itself by way of others', () => {
  const graph = readGraph();
  assert.ok(graph.get('installer/install.ts')?.includes('installer/disk/device.ts'), 'imports are not found');
  assert.deepEqual(findCycle(graph), undefined);
});

test('a cycle is found, with the files on its way', () => {
  const graph = new Map([
    ['a.ts', loadedBy('a.ts', "import type { X } from './c.ts';\nimport { b } from './b.ts';\n")],
    ['b.ts', loadedBy('b.ts', "export {\n  c,\n  type D,\n} from './c.ts';\n")],
    ['c.ts', loadedBy('c.ts', "import './b.ts';\n")],
  ]);
  assert.deepEqual(findCycle(graph), ['b.ts', 'c.ts', 'b.ts']);
  assert.equal(findCycle(new Map([...graph, ['c.ts', []]])), undefined);
});
