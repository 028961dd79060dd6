/** Keys and indices from the top of the config. */
export type JsonPath = readonly (string | number)[];

export interface Finding {
  readonly path: JsonPath;
  readonly message: string;
}

/** What was found: errors make Ignition give up at first boot, warnings do not. */
export interface Findings {
  readonly errors: Finding[];
  readonly warnings: Finding[];
}

/** A place in a config that findings are noted for. */
export class Place {
  readonly #findings: Findings;
  readonly #path: JsonPath;

  constructor(findings: Findings, path: JsonPath = []) {
    this.#findings = findings;
    this.#path = path;
  }

  at(...keys: JsonPath): Place {
    return new Place(this.#findings, [...this.#path, ...keys]);
  }

  error(message: string | undefined): void {
    if (message !== undefined) this.#findings.errors.push({ path: this.#path, message });
  }

  warn(message: string | undefined): void {
    if (message !== undefined) this.#findings.warnings.push({ path: this.#path, message });
  }
}

/** Calls `check` with each entry of the list `key` and its place. */
export function each<T>(list: readonly T[] | undefined, place: Place, check: (item: T, place: Place) => void): void {
  for (const [index, item] of (list ?? []).entries()) check(item, place.at(index));
}

/** Notes every entry whose key was there before. Lists that must not share a key share `seen`. */
export function checkUnique<T>(
  list: readonly T[] | undefined,
  place: Place,
  keyOf: (item: T) => string,
  seen = new Set<string>(),
): void {
  each(list, place, (item, at) => {
    const key = keyOf(item);
    if (seen.has(key)) at.error(key === '' ? 'a second entry without a name' : `a second entry for ${shorten(key)}`);
    seen.add(key);
  });
}

/** For messages: keys and file contents can be long. */
export function shorten(text: string): string {
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}
