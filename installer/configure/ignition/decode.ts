import type { JsonCursor } from './findings.ts';
import {
  exists,
  type Field,
  fieldsOf,
  findField,
  type GoType,
  type StringType,
  type StructType,
  type Value,
} from './go-types.ts';
import { decodeString, type JsonNode } from './json.ts';
import { foldName } from './names.ts';

/** A struct of any type. */
type DecodedStruct = Record<string, unknown>;

/** What decoding needs besides a type and a node. */
export interface DecodeContext {
  readonly bytes: Buffer;
  readonly minor: number;
}

/**
 * Decodes JSON into a Go type as `encoding/json` does: keys match without regard to case, unknown
 * ones are ignored, null leaves what is there, the values of a duplicate key are merged.
 * Source: https://pkg.go.dev/encoding/json#Unmarshal.
 * @param cursor gets an error for each value of a wrong type, which the result does not have
 */
export function decode<T extends StructType>(
  type: T,
  node: JsonNode,
  context: DecodeContext,
  cursor: JsonCursor,
): Value<T> {
  return decodeInto(type, node, zeroOf(type, context.minor), context, cursor) as Value<T>;
}

/** The value of a type without JSON. Fields that this version does not have are zero too. */
export function zeroOf(type: GoType, minor: number): unknown {
  switch (type.kind) {
    case 'string':
      return '';
    case 'boolean':
      return false;
    case 'integer':
      return 0n;
    case 'list':
      return [];
    case 'pointer':
      return exists(type, minor) ? undefined : zeroOf(type.to as GoType, minor);
    case 'struct':
      return Object.fromEntries(fieldsOf(type).map(([name, field]) => [name, zeroOf(field.type, minor)]));
  }
}

function decodeInto(type: GoType, node: JsonNode, old: unknown, context: DecodeContext, cursor: JsonCursor): unknown {
  if (type.kind === 'pointer') {
    const to = type.to as GoType;
    if (!exists(type, context.minor)) return decodeInto(to, node, old, context, cursor);
    if (node.kind === 'null') return undefined;
    return decodeInto(to, node, old ?? zeroOf(to, context.minor), context, cursor);
  }
  if (node.kind === 'null') {
    if (type.kind === 'string') return parseText(type, undefined, old, context, cursor);
    return type.kind === 'list' ? [] : old;
  }
  switch (type.kind) {
    case 'string':
      if (node.kind !== 'string') return mismatch('a string', node, old, cursor);
      return parseText(type, decodeString(context.bytes, node.start, node.end), old, context, cursor);
    case 'boolean':
      return node.kind === 'true' || node.kind === 'false'
        ? node.kind === 'true'
        : mismatch('true or false', node, old, cursor);
    case 'integer':
      return decodeInteger(type, node, old, context, cursor);
    case 'list':
      if (node.kind !== 'array') return mismatch('a list', node, old, cursor);
      return node.elements.map((element, index) => {
        const before = Array.isArray(old) && index < old.length ? old[index] : undefined;
        const elementType = type.element as GoType;
        return decodeInto(
          elementType,
          element,
          before ?? zeroOf(elementType, context.minor),
          context,
          cursor.at(index),
        );
      });
    case 'struct':
      if (node.kind !== 'object') return mismatch('an object', node, old, cursor);
      return decodeStruct(type, node, old as DecodedStruct, context, cursor);
  }
}

/** @param text undefined for null, which leaves what is there unless the type parses it */
function parseText(
  { parsed }: StringType,
  text: string | undefined,
  old: unknown,
  { minor }: DecodeContext,
  cursor: JsonCursor,
): unknown {
  if (parsed === undefined || minor >= parsed.before) return text ?? old;
  const result = parsed.parse(text);
  if ('text' in result) return result.text;
  cursor.error(result.why);
  return old;
}

function decodeStruct(
  type: StructType,
  node: Extract<JsonNode, { kind: 'object' }>,
  old: DecodedStruct,
  context: DecodeContext,
  cursor: JsonCursor,
): DecodedStruct {
  const value = { ...old };
  for (const { key, value: member } of node.members) {
    const found = matchField(type, key, context.minor);
    if (found === undefined) continue;
    const [name, field] = found;
    value[name] = decodeInto(field.type, member, value[name], context, cursor.at(key));
  }
  return value;
}

/** The field that a key is decoded into. */
export function matchField(
  type: StructType,
  key: string,
  minor: number,
): readonly [name: string, field: Field<GoType>] | undefined {
  const exact = findField(type, key);
  if (exact !== undefined && exists(exact, minor)) return [key, exact];
  const folded = foldName(key);
  return fieldsOf(type).find(([name, field]) => exists(field, minor) && foldName(name) === folded);
}

function decodeInteger(
  type: Extract<GoType, { kind: 'integer' }>,
  node: JsonNode,
  old: unknown,
  { bytes, minor }: DecodeContext,
  cursor: JsonCursor,
): unknown {
  if (node.kind !== 'number') return mismatch('a whole number', node, old, cursor);
  const unsigned = minor < type.unsignedBefore;
  const text = bytes.subarray(node.start, node.end).toString('latin1');
  // Unsigned numbers have no sign, not even that of -0. The limit keeps BigInt() fast.
  const pattern = unsigned ? /^\d{1,99}$/ : /^-?\d{1,99}$/;
  if (!pattern.test(text)) {
    cursor.error(`expected a whole number${unsigned ? ' without a sign' : ''}, found ${text.slice(0, 40)}`);
    return old;
  }
  const number = BigInt(text);
  const fitting = unsigned ? BigInt.asUintN(type.bits, number) : BigInt.asIntN(type.bits, number);
  if (number === fitting) return number;
  cursor.error(`${text.slice(0, 40)} has more than ${type.bits} bits`);
  return old;
}

const kindNames: Readonly<Record<JsonNode['kind'], string>> = {
  object: 'an object',
  array: 'a list',
  string: 'a string',
  number: 'a number',
  true: 'true',
  false: 'false',
  null: 'null',
};

function mismatch(expected: string, node: JsonNode, old: unknown, cursor: JsonCursor): unknown {
  cursor.error(`expected ${expected}, found ${kindNames[node.kind]}`);
  return old;
}
