import { keyOf } from './duplicates.ts';
import { fieldsOf, type GoType, type ListType, type StructType, type Value } from './go-types.ts';

/**
 * Merges two configs as Ignition does. What the child has wins; entries of lists with the same key
 * are merged. Source: https://coreos.github.io/ignition/operator-notes/#config-merging.
 */
export function mergeConfigs<T extends StructType>(type: T, parent: Value<T>, child: Value<T>): Value<T> {
  return mergeStructs(type, parent as Struct, child as Struct) as Value<T>;
}

type Struct = Record<string, unknown>;

function mergeStructs(type: StructType, parent: Struct, child: Struct): Struct {
  const merged: Struct = {};
  const childKeys = keysOfLists(type, child);
  for (const [name, field] of fieldsOf(type)) {
    merged[name] = mergeField(name, field.type, parent[name], child[name], childKeys);
  }
  return merged;
}

function mergeField(name: string, type: GoType, parent: unknown, child: unknown, childKeys: KeySpaces): unknown {
  switch (type.kind) {
    case 'pointer': {
      // Until 3.2 there were pointers to structs, which are structs in merged configs.
      if (parent === undefined || child === undefined) return child ?? parent;
      const to = type.to as GoType;
      return to.kind === 'struct' ? mergeField(name, to, parent, child, childKeys) : child;
    }
    case 'struct':
      if (isZero(type, child)) return parent;
      return isZero(type, parent) ? child : mergeStructs(type, parent as Struct, child as Struct);
    case 'list':
      return mergeLists(name, type, parent as unknown[], child as unknown[], childKeys);
    default:
      return child;
  }
}

/** For every set of lists that share keys: the name of the list of the child that has a key. */
type KeySpaces = ReadonlyMap<string, ReadonlyMap<string, string>>;

function keysOfLists(type: StructType, child: Struct): KeySpaces {
  const spaces = new Map<string, Map<string, string>>();
  for (const [name, { type: list }] of fieldsOf(type)) {
    if (list.kind !== 'list' || list.allowsDuplicates) continue;
    const space = list.keySpace ?? name;
    const keys = spaces.get(space) ?? new Map<string, string>();
    for (const entry of child[name] as unknown[]) keys.set(keyOf(list.element as GoType, entry), name);
    spaces.set(space, keys);
  }
  return spaces;
}

function mergeLists(
  name: string,
  type: ListType,
  parent: readonly unknown[],
  child: readonly unknown[],
  childKeys: KeySpaces,
): unknown[] {
  if (type.allowsDuplicates) return [...parent, ...child];
  const element = type.element as GoType;
  const places = childKeys.get(type.keySpace ?? name);
  const children = new Map(child.map((entry) => [keyOf(element, entry), entry]));
  const merged: unknown[] = [];
  for (const entry of parent) {
    const key = keyOf(element, entry);
    const place = places?.get(key);
    if (place === undefined) merged.push(entry);
    // An entry that the child has in another list, such as a link in place of a file, is replaced.
    if (place !== name) continue;
    const other = children.get(key);
    if (element.kind !== 'struct') merged.push(other);
    // A header without a value removes that of the parent.
    else if (name !== 'httpHeaders' || (other as Struct)['value'] !== undefined)
      merged.push(mergeStructs(element, entry as Struct, other as Struct));
  }
  const parentKeys = new Set(parent.map((entry) => keyOf(element, entry)));
  return [...merged, ...child.filter((entry) => !parentKeys.has(keyOf(element, entry)))];
}

/** A pointer is zero without a value; one to an empty text is not. */
function isZero(type: GoType, value: unknown): boolean {
  switch (type.kind) {
    case 'pointer':
      return value === undefined;
    case 'list':
      return (value as unknown[]).length === 0;
    case 'struct':
      return fieldsOf(type).every(([name, field]) => isZero(field.type, (value as Struct)[name]));
    default:
      return value === '' || value === false || value === 0n;
  }
}
