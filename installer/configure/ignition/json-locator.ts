import type { Finding } from './findings.ts';
import type { JsonMember, JsonNode } from './json.ts';
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
  readonly #members = new WeakMap<JsonNode, ReadonlyMap<string, JsonMember>>();

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
   * The position of the value at a path, or of its key; for a missing value, the position of the
   * object that should contain it. Of duplicate keys the last one counts.
   */
  locate(top: JsonNode, { path, isAboutKey = false }: Omit<Finding, 'message'>): Position {
    let node = top;
    let { start } = top;
    for (const key of path) {
      const member = this.#member(node, String(key));
      const child = node.kind === 'array' ? node.elements[Number(key)] : member?.value;
      if (child === undefined) break;
      node = child;
      start = isAboutKey && member !== undefined ? member.keyStart : child.start;
    }
    return this.positionOf(start);
  }

  #member(node: JsonNode, key: string): JsonMember | undefined {
    if (node.kind !== 'object') return undefined;
    let members = this.#members.get(node);
    if (members === undefined) {
      const named = node.members.map((member) => [member.key, member] as const);
      members = new Map([...named.map(([name, member]) => [foldName(name), member] as const), ...named]);
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
