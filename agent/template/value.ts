/** What a template can be filled in with. */
export type Value = string | number | boolean | null | readonly Value[] | Fields;

/** Named values. */
export interface Fields {
  readonly [name: string]: Value;
}

/** Fields that are found whatever the case and the underscores of their names; see {@link looseFields}. */
const loose = new WeakSet<object>();

/**
 * The same value, with its fields found by Go's names as well as by JSON's: below `.Hardware`, servers have Go structures (`.DHCP.IP.Address`), and what we
 * read is their JSON (`dhcp.ip.address`, `name_servers`).
 */
export function looseFields(value: Value): Value {
  if (value === null || typeof value !== 'object') return value;
  if (isList(value)) return value.map(looseFields);
  const fields = Object.fromEntries(Object.entries(value).map(([name, field]) => [name, looseFields(field)]));
  loose.add(fields);
  return fields;
}

/** A field, or `undefined` if there is none of that name. */
export function valueIn(fields: Value, name: string): Value | undefined {
  if (fields === null || typeof fields !== 'object' || isList(fields)) return undefined;
  if (Object.hasOwn(fields, name)) return fields[name];
  if (!loose.has(fields)) return undefined;
  const found = Object.keys(fields).find((candidate) => simplified(candidate) === simplified(name));
  return found === undefined ? undefined : fields[found];
}

function simplified(name: string): string {
  return name.replaceAll('_', '').toLowerCase();
}

function isList(value: readonly Value[] | Fields): value is readonly Value[] {
  return Array.isArray(value);
}
