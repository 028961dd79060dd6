import { z } from 'zod';
import type { JsonCursor } from './json-cursor.ts';

/**
 * The minor version that introduced a key. Keys without one exist since the first minor version.
 */
const introduced = z.registry<{ minor: number }>();

/** A key that does not exist before this minor version. */
export function since<S extends z.ZodType>(minor: number, schema: S): z.ZodOptional<S> {
  const optional = schema.optional();
  introduced.add(optional, { minor });
  return optional;
}

/** All keys are optional, as all fields of Ignition's types; the rules say which are required. */
export const string = z.string().optional();
export const boolean = z.boolean().optional();
export const integer = z.int({ error: 'expected a whole number' }).optional();
export const strings = z.array(z.string()).optional();
export const list = <S extends z.ZodType>(item: S) => z.array(item).optional();

interface Version {
  readonly major: number;
  readonly minor: number;
}

/**
 * Brings parsed JSON into the shape of one version, as the decoder of Ignition does (Go's
 * `encoding/json`): keys match without regard to case, null counts as absent, and unknown keys are
 * ignored with a warning.
 * @param schema of the newest minor version; keys introduced after `version` count as unknown
 * @returns what `schema` can parse; it reports values of a wrong type
 */
export function fitToVersion(value: unknown, schema: z.core.$ZodType, version: Version, cursor: JsonCursor): unknown {
  const inner = schema instanceof z.ZodOptional ? schema.unwrap() : schema;
  if (inner instanceof z.ZodArray && Array.isArray(value)) {
    const nothing = inner.element instanceof z.ZodObject ? {} : '';
    return value.map((item, index) => fitToVersion(item ?? nothing, inner.element, version, cursor.at(index)));
  }
  if (!(inner instanceof z.ZodObject) || !isRecord(value)) return value;
  const fitting: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    const name = findKey(inner, key, version, cursor.at(key));
    if (name === undefined || item === null) continue;
    const field: z.core.$ZodType | undefined = inner.shape[name];
    if (field !== undefined) fitting[name] = fitToVersion(item, field, version, cursor.at(key));
  }
  return fitting;
}

function findKey(schema: z.ZodObject, key: string, version: Version, cursor: JsonCursor): string | undefined {
  const known = Object.keys(schema.shape).filter((name) => minorOf(schema.shape[name]) <= version.minor);
  if (known.includes(key)) return key;
  const folded = known.find((name) => name.toLowerCase() === key.toLowerCase());
  if (folded !== undefined) {
    cursor.warn(`Unused key ${key}: it is spelled ${folded}; Ignition accepts it anyway`);
    return folded;
  }
  const later = Object.hasOwn(schema.shape, key) ? minorOf(schema.shape[key]) : undefined;
  const from = later === undefined ? '' : `, only ${version.major}.${later}.0 and later do`;
  cursor.warn(`Unused key ${key}: version ${version.major}.${version.minor}.0 does not know it and ignores it${from}`);
  return undefined;
}

function minorOf(field: z.core.$ZodType | undefined): number {
  return field === undefined ? 0 : (introduced.get(field)?.minor ?? 0);
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
