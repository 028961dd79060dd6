/*
 * A description of Go types, as far as Ignition's configs use them, with the minor versions that
 * have each field. Decoding, unknown keys, duplicates and merging follow from it.
 */

export interface StringType {
  readonly kind: 'string';
  /** How the minor versions before `before` parse it while they decode it; null is `undefined`. */
  readonly parsed?: { readonly before: number; readonly parse: TextParser };
}

/** Returns the normal form of a text, or why it has none. */
export type TextParser = (text: string | undefined) => { readonly text: string } | { readonly why: string };

export interface BooleanType {
  readonly kind: 'boolean';
}

export interface IntegerType {
  readonly kind: 'integer';
  readonly bits: 32 | 64;
  /** Unsigned in the minor versions before this one. */
  readonly unsignedBefore: number;
}

/** A pointer in the minor versions from `since` until before `before`; else the type itself. */
export interface PointerType<T = unknown> {
  readonly kind: 'pointer';
  readonly to: T;
  readonly since: number;
  readonly before: number;
}

export interface ListType<T = unknown> {
  readonly kind: 'list';
  readonly element: T;
  /** Whether an entry may be there twice; merged configs then have the entries of both. */
  readonly allowsDuplicates: boolean;
  /** Lists of a struct with the same name share their keys: no entry may be in two of them. */
  readonly keySpace?: string;
}

/** Each of `fields` is a type or a `Field`. */
export interface StructType<F = Fields> {
  readonly kind: 'struct';
  readonly fields: F;
  /** What identifies an entry of a list; two entries with the same key are duplicates. */
  readonly keyOf: (item: Readonly<Record<string, unknown>>) => string;
}

type Fields = Readonly<Record<string, unknown>>;

/** Exists in the minor versions from `since` until before `before`. */
export interface Field<T = unknown> {
  readonly type: T;
  readonly since: number;
  readonly before: number;
}

export type GoType = StringType | BooleanType | IntegerType | PointerType | ListType | StructType;

/** The TypeScript type of the values of a Go type. Integers have 64 bits. */
export type Value<T> = T extends StringType
  ? string
  : T extends BooleanType
    ? boolean
    : T extends IntegerType
      ? bigint
      : T extends PointerType<infer U>
        ? Value<U> | undefined
        : T extends ListType<infer U>
          ? Value<U>[]
          : T extends StructType<infer F>
            ? { [K in keyof F]: F[K] extends Field<infer U> ? Value<U> : Value<F[K]> }
            : never;

export const string: StringType = { kind: 'string' };

/** A string that older versions parse while they decode it. */
export function parsedString(before: number, parse: TextParser): StringType {
  return { kind: 'string', parsed: { before, parse } };
}

export const boolean: BooleanType = { kind: 'boolean' };
export const int: IntegerType = { kind: 'integer', bits: 64, unsignedBefore: 0 };
export const uint: IntegerType = { kind: 'integer', bits: 64, unsignedBefore: Number.POSITIVE_INFINITY };
export const uint32: IntegerType = { kind: 'integer', bits: 32, unsignedBefore: Number.POSITIVE_INFINITY };

export function intSince(minor: number): IntegerType {
  return { kind: 'integer', bits: 64, unsignedBefore: minor };
}

export function pointer<T>(to: T, since = 0, before = Number.POSITIVE_INFINITY): PointerType<T> {
  return { kind: 'pointer', to, since, before };
}

export function list<T>(element: T, keySpace?: string): ListType<T> {
  return { kind: 'list', element, allowsDuplicates: false, ...(keySpace !== undefined && { keySpace }) };
}

export function listWithDuplicates<T>(element: T): ListType<T> {
  return { kind: 'list', element, allowsDuplicates: true };
}

/** @param key field that identifies an entry of a list */
export function struct<F extends Fields>(fields: F, key = 'name'): StructType<F> {
  return keyedStruct(fields, (item) => String(item[key] ?? ''));
}

export function keyedStruct<F extends Fields>(fields: F, keyOf: StructType['keyOf']): StructType<F> {
  return { kind: 'struct', fields, keyOf };
}

/** A field that older minor versions do not have. */
export function since<T>(minor: number, type: T): Field<T> {
  return { type, since: minor, before: Number.POSITIVE_INFINITY };
}

/** The field of a struct; undefined if no version has it. */
export function findField(struct: StructType, name: string): Field<GoType> | undefined {
  if (!Object.hasOwn(struct.fields, name)) return undefined;
  const field = struct.fields[name] as Field<GoType> | GoType;
  return 'kind' in field ? { type: field, since: 0, before: Number.POSITIVE_INFINITY } : field;
}

export function exists(field: { readonly since: number; readonly before: number }, minor: number): boolean {
  return minor >= field.since && minor < field.before;
}

type NamedField = readonly [name: string, field: Field<GoType>];

/** They are asked for with every entry of a config. */
const fieldLists = new WeakMap<StructType, readonly NamedField[]>();

/** Name and type of every field of any version. */
export function fieldsOf(struct: StructType): readonly NamedField[] {
  const known = fieldLists.get(struct);
  if (known !== undefined) return known;
  const list = Object.keys(struct.fields).flatMap((name) => {
    const field = findField(struct, name);
    return field === undefined ? [] : [[name, field] as const];
  });
  fieldLists.set(struct, list);
  return list;
}
