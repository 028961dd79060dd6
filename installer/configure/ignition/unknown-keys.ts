import { matchField } from './decode.ts';
import type { JsonCursor } from './findings.ts';
import { exists, fieldsOf, findField, type GoType, type StructType } from './go-types.ts';
import type { JsonNode } from './json.ts';

/** The version that is checked, and who complains: Ignition itself from 3.0 on. */
interface Version {
  readonly major: number;
  readonly minor: number;
}

/**
 * Whether Ignition looks for unknown keys: it reads the config once more for that, with a reader
 * that knows no numbers beyond those of 64-bit floating point, and is silent if that fails.
 */
export function findsUnknownKeys(bytes: Buffer, top: JsonNode): boolean {
  const nodes = [top];
  for (let node = nodes.pop(); node !== undefined; node = nodes.pop()) {
    if (node.kind === 'number' && !Number.isFinite(Number(bytes.subarray(node.start, node.end).toString('latin1'))))
      return false;
    // No spread: a list can have more elements than a call can have arguments.
    if (node.kind === 'array') for (const element of node.elements) nodes.push(element);
    if (node.kind === 'object') for (const { value } of node.members) nodes.push(value);
  }
  return true;
}

/**
 * Adds a warning for each key that Ignition ignores, and for null in place of an object. Ignition
 * compares the keys as they are written, although it decodes them without regard to case.
 * @param value as decoded: where a duplicate key hides one, the two differ
 */
export function warnOfUnknownKeys(
  type: GoType,
  value: unknown,
  node: JsonNode | undefined,
  version: Version,
  cursor: JsonCursor,
): void {
  if (node === undefined || value === undefined) return;
  if (type.kind === 'pointer') {
    warnOfUnknownKeys(type.to as GoType, value, node, version, cursor);
  } else if (type.kind === 'list') {
    if (node.kind !== 'array' || !Array.isArray(value)) return;
    // The Ignition of version 2 looks in the shorter list for the place of an entry of the longer.
    if (version.major < 3 && value.length > node.elements.length)
      cursor.error('Ignition crashes on a longer list with the same key in another case');
    for (const [index, element] of value.entries()) {
      warnOfUnknownKeys(type.element as GoType, element, node.elements[index], version, cursor.at(index));
    }
  } else if (type.kind === 'struct') {
    warnOfMembers(type, value as Record<string, unknown>, node, version, cursor);
  }
}

function warnOfMembers(
  type: StructType,
  value: Record<string, unknown>,
  node: JsonNode,
  version: Version,
  cursor: JsonCursor,
): void {
  if (node.kind !== 'object') {
    warn(version, cursor, 'null in place of an object counts as an empty one');
    return;
  }
  const members = new Map(node.members.map((member) => [member.key, member.value]));
  for (const key of members.keys()) {
    const field = findField(type, key);
    if (field === undefined || !exists(field, version.minor))
      warn(version, cursor.at(key), describe(type, key, version), true);
  }
  for (const [name, field] of fieldsOf(type)) {
    if (exists(field, version.minor))
      warnOfUnknownKeys(field.type, value[name], members.get(name), version, cursor.at(name));
  }
}

/** The Ignition of version 2 warned too, but Flatcar's translation drops its warnings. */
function warn({ major }: Version, cursor: JsonCursor, message: string, isAboutKey = false): void {
  if (major >= 3) cursor.warn(message, isAboutKey);
  else cursor.advise(message, isAboutKey);
}

function describe(type: StructType, key: string, { major, minor }: Version): string {
  const folded = matchField(type, key, minor);
  if (folded !== undefined) return `Unused key ${key}: it is spelled ${folded[0]}; Ignition accepts it anyway`;
  const field = findField(type, key);
  const name = major === 1 ? 'version 1' : `version ${major}.${minor}.0`;
  const later = field !== undefined && field.since > minor ? `, only ${major}.${field.since}.0 and later do` : '';
  return `Unused key ${key}: ${name} does not know it and ignores it${later}`;
}
