import { readFile } from 'node:fs/promises';
import { z } from 'zod';

/** How many objects of a kind a heap holds, and their own bytes. */
export interface HeapCount {
  readonly count: number;
  readonly bytes: number;
}

/** Format of V8: `HeapSnapshotJSONSerializer` in its sources. */
const snapshotSchema = z.object({
  snapshot: z.object({
    meta: z.object({
      node_fields: z.array(z.string()),
      node_types: z.tuple([z.array(z.string())], z.unknown()),
    }),
  }),
  nodes: z.array(z.number()),
  strings: z.array(z.string()),
});

/**
 * What is in a heap snapshot (`v8.writeHeapSnapshot()`), by kind: objects by the name of their
 * class, closures by the name of their function, the rest by type. Compiled code is left out: it
 * grows until V8 has optimized what runs often.
 */
export async function readHeapSnapshot(path: string): Promise<ReadonlyMap<string, HeapCount>> {
  const { snapshot, nodes, strings } = snapshotSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  const { node_fields: fields, node_types: types } = snapshot.meta;
  const [type, name, size] = ['type', 'name', 'self_size'].map((field) => fields.indexOf(field)) as [
    number,
    number,
    number,
  ];
  const counts = new Map<string, { count: number; bytes: number }>();
  for (let at = 0; at < nodes.length; at += fields.length) {
    const kind = types[0][nodes[at + type] ?? 0] ?? '';
    if (kind === 'code' || kind === 'hidden' || kind === 'synthetic' || kind === 'object shape') continue;
    const isNamed = kind === 'object' || kind === 'closure' || kind === 'native';
    const key = isNamed ? `${kind} ${strings[nodes[at + name] ?? 0]}` : kind;
    const counted = counts.get(key) ?? { count: 0, bytes: 0 };
    counted.count += 1;
    counted.bytes += nodes[at + size] ?? 0;
    counts.set(key, counted);
  }
  return counts;
}

/** The kinds of which there are more than before, those with the most bytes first. */
export function growthBetween(
  before: ReadonlyMap<string, HeapCount>,
  after: ReadonlyMap<string, HeapCount>,
): (HeapCount & { readonly kind: string })[] {
  const grown = [...after].map(([kind, { count, bytes }]) => {
    const earlier = before.get(kind) ?? { count: 0, bytes: 0 };
    return { kind, count: count - earlier.count, bytes: bytes - earlier.bytes };
  });
  return grown.filter(({ count }) => count > 0).sort((a, b) => b.bytes - a.bytes);
}
