import type { JsonPath } from './findings.ts';
import type { JsonNode } from './json.ts';
import { foldName } from './names.ts';

/** A place in a text; both count from 1, columns in bytes, as in Ignition's own messages. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Finds places in a text. What it has searched for once it remembers: a config can be large. */
export class JsonLocator {
  readonly #bytes: Uint8Array;
  #lineStarts: readonly number[] | undefined;
  readonly #members = new WeakMap<JsonNode, ReadonlyMap<string, JsonNode>>();

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  positionOf(offset: number): Position {
    this.#lineStarts ??= lineStartsOf(this.#bytes);
    let [low, high] = [0, this.#lineStarts.length];
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if ((this.#lineStarts[middle] ?? 0) <= offset) low = middle;
      else high = middle;
    }
    return { line: low + 1, column: offset - (this.#lineStarts[low] ?? 0) + 1 };
  }

  /**
   * The position of the value at a path; for a missing value, the position of the object that
   * should contain it. Of duplicate keys the last one counts.
   */
  locate(top: JsonNode, path: JsonPath): Position {
    let node = top;
    for (const key of path) {
      const child = node.kind === 'array' ? node.elements[Number(key)] : this.#member(node, String(key));
      if (child === undefined) break;
      node = child;
    }
    return this.positionOf(node.start);
  }

  #member(node: JsonNode, key: string): JsonNode | undefined {
    if (node.kind !== 'object') return undefined;
    let members = this.#members.get(node);
    if (members === undefined) {
      const named = node.members.map(({ key: name, value }) => [name, value] as const);
      members = new Map([...named.map(([name, value]) => [foldName(name), value] as const), ...named]);
      this.#members.set(node, members);
    }
    return members.get(key) ?? members.get(foldName(key));
  }
}

function lineStartsOf(bytes: Uint8Array): readonly number[] {
  const starts = [0];
  for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a, end + 1)) starts.push(end + 1);
  return starts;
}
