import type { JsonCursor } from './findings.ts';
import { exists, fieldsOf, type GoType, type ListType, type StructType } from './go-types.ts';

/** Adds an error for each entry of a list whose key an earlier entry has. */
export function checkDuplicates(type: GoType, value: unknown, minor: number, cursor: JsonCursor): void {
  if (value === undefined) return;
  if (type.kind === 'pointer') {
    checkDuplicates(type.to as GoType, value, minor, cursor);
  } else if (type.kind === 'list') {
    for (const [index, element] of (value as unknown[]).entries())
      checkDuplicates(type.element as GoType, element, minor, cursor.at(index));
  } else if (type.kind === 'struct') {
    checkLists(type, value as Record<string, unknown>, minor, cursor);
  }
}

function checkLists(type: StructType, value: Record<string, unknown>, minor: number, cursor: JsonCursor): void {
  const spaces = new Map<string, Set<string>>();
  for (const [name, field] of fieldsOf(type)) {
    if (!exists(field, minor)) continue;
    const list = field.type;
    if (list.kind === 'list' && !list.allowsDuplicates) {
      const space = list.keySpace ?? name;
      const seen = spaces.get(space) ?? new Set();
      spaces.set(space, seen);
      checkList(list, value[name] as unknown[], seen, cursor.at(name));
    }
    checkDuplicates(list, value[name], minor, cursor.at(name));
  }
}

function checkList(type: ListType, entries: readonly unknown[], seen: Set<string>, cursor: JsonCursor): void {
  for (const [index, entry] of entries.entries()) {
    const key = keyOf(type.element as GoType, entry);
    if (seen.has(key))
      cursor.at(index).error(key === '' ? 'a second entry without a name' : `a second entry for ${key}`);
    seen.add(key);
  }
}

/** What identifies an entry of a list. */
export function keyOf(element: GoType, entry: unknown): string {
  return element.kind === 'struct' ? element.keyOf(entry as Record<string, unknown>) : String(entry);
}
