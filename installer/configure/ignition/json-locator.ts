import type { JsonPath } from './findings.ts';
import type { JsonNode } from './json.ts';
import { foldName } from './names.ts';

/** A place in a text; both count from 1, columns in bytes, as Ignition's own messages. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export function positionOf(bytes: Uint8Array, offset: number): Position {
  let line = 1;
  let lineStart = 0;
  for (let end = bytes.indexOf(0x0a); end >= 0 && end < offset; end = bytes.indexOf(0x0a, end + 1)) {
    line++;
    lineStart = end + 1;
  }
  return { line, column: offset - lineStart + 1 };
}

/**
 * The position of the value at a path; for a missing value, the position of the object that should
 * contain it. Of duplicate keys the last one counts.
 */
export function locate(bytes: Uint8Array, top: JsonNode, path: JsonPath): Position {
  let node = top;
  for (const key of path) {
    const child = findChild(node, key);
    if (child === undefined) break;
    node = child;
  }
  return positionOf(bytes, node.start);
}

function findChild(node: JsonNode, key: string | number): JsonNode | undefined {
  if (node.kind === 'array') return node.elements[Number(key)];
  if (node.kind !== 'object') return undefined;
  const name = String(key);
  const named = (fits: (name: string) => boolean) => node.members.findLast((member) => fits(member.key))?.value;
  return named((other) => other === name) ?? named((other) => foldName(other) === foldName(name));
}
