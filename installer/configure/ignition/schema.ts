import { z } from 'zod';
import type { Place } from './place.ts';

/** The minor version that a key came with; keys without were there from the first version of their major one. */
const introduced = z.registry<{ minor: number }>();

/** A key that is not in versions before this minor one. */
export function since<S extends z.ZodType>(minor: number, schema: S): z.ZodOptional<S> {
  const optional = schema.optional();
  introduced.add(optional, { minor });
  return optional;
}

/** Every key may be left out, as every field of Ignition's types may; what must be there is for the rules. */
export const text = z.string().optional();
export const flag = z.boolean().optional();
export const integer = z.int({ error: 'expected a whole number' }).optional();
export const texts = z.array(z.string()).optional();
export const list = <S extends z.ZodType>(item: S) => z.array(item).optional();

interface Version {
  readonly major: number;
  readonly minor: number;
}

/**
 * Brings parsed JSON into the shape of one version, as the decoder that Ignition uses does (Go's `encoding/json`): a key fits without regard to
 * case, null is like nothing, and a key that this version does not know is ignored. What is ignored is noted as a warning.
 * @param schema of the newest minor version; keys introduced after `version` count as unknown.
 * @returns what `schema` can parse; values of a wrong kind are left for it to find.
 */
export function fitToVersion(value: unknown, schema: z.core.$ZodType, version: Version, place: Place): unknown {
  const inner = schema instanceof z.ZodOptional ? schema.unwrap() : schema;
  if (inner instanceof z.ZodArray && Array.isArray(value)) {
    const nothing = inner.element instanceof z.ZodObject ? {} : '';
    return value.map((item, index) => fitToVersion(item ?? nothing, inner.element, version, place.at(index)));
  }
  if (!(inner instanceof z.ZodObject) || !isRecord(value)) return value;
  const fitting: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    const name = findKey(inner, key, version, place.at(key));
    if (name === undefined || item === null) continue;
    const field: z.core.$ZodType | undefined = inner.shape[name];
    if (field !== undefined) fitting[name] = fitToVersion(item, field, version, place.at(key));
  }
  return fitting;
}

function findKey(schema: z.ZodObject, key: string, version: Version, place: Place): string | undefined {
  const known = Object.keys(schema.shape).filter((name) => minorOf(schema.shape[name]) <= version.minor);
  if (known.includes(key)) return key;
  const folded = known.find((name) => name.toLowerCase() === key.toLowerCase());
  if (folded !== undefined) {
    place.warn(`Unused key ${key}: it is spelled ${folded}; Ignition takes it all the same`);
    return folded;
  }
  const later = Object.hasOwn(schema.shape, key) ? minorOf(schema.shape[key]) : undefined;
  const from = later === undefined ? '' : `, only ${version.major}.${later}.0 and later do`;
  place.warn(`Unused key ${key}: version ${version.major}.${version.minor}.0 does not know it and ignores it${from}`);
  return undefined;
}

function minorOf(field: z.core.$ZodType | undefined): number {
  return field === undefined ? 0 : (introduced.get(field)?.minor ?? 0);
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
