/** Keys and indices from the top of the config. */
export type JsonPath = readonly (string | number)[];

export interface Finding {
  readonly path: JsonPath;
  readonly message: string;
}

/** The findings: errors make Ignition fail at first boot, warnings do not. */
export interface Findings {
  readonly errors: Finding[];
  readonly warnings: Finding[];
}

/** A position in a config, to which findings are added. */
export class JsonCursor {
  readonly #findings: Findings;
  readonly #path: JsonPath;

  constructor(findings: Findings, path: JsonPath = []) {
    this.#findings = findings;
    this.#path = path;
  }

  at(...keys: JsonPath): JsonCursor {
    return new JsonCursor(this.#findings, [...this.#path, ...keys]);
  }

  error(message: string | undefined): void {
    if (message !== undefined) this.#findings.errors.push({ path: this.#path, message });
  }

  warn(message: string | undefined): void {
    if (message !== undefined) this.#findings.warnings.push({ path: this.#path, message });
  }
}

/** Calls `check` with each entry of the list `key` and its position. */
export function each<T>(
  list: readonly T[] | undefined,
  cursor: JsonCursor,
  check: (item: T, cursor: JsonCursor) => void,
): void {
  for (const [index, item] of (list ?? []).entries()) check(item, cursor.at(index));
}

/**
 * Adds an error for each entry with a key that was seen before. Lists that must not share a key
 * share `seen`.
 */
export function checkUnique<T>(
  list: readonly T[] | undefined,
  cursor: JsonCursor,
  keyOf: (item: T) => string,
  seen = new Set<string>(),
): void {
  each(list, cursor, (item, at) => {
    const key = keyOf(item);
    if (seen.has(key)) at.error(key === '' ? 'a second entry without a name' : `a second entry for ${shorten(key)}`);
    seen.add(key);
  });
}

/** Shortens a text for a message: keys and file contents can be long. */
export function shorten(text: string): string {
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}
