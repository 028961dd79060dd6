/** Keys and indices from the top of the config. */
export type JsonPath = readonly (string | number)[];

export interface Finding {
  readonly path: JsonPath;
  readonly message: string;
  /** Whether the key is meant, not its value. */
  readonly isAboutKey?: boolean;
}

/**
 * What was found in a config. An error makes Ignition fail at first boot. Of a warning, Ignition
 * itself writes to its log. Advice is what Ignition does without a word.
 */
export interface Findings {
  readonly errors: Finding[];
  readonly warnings: Finding[];
  readonly advice: Finding[];
}

export function noFindings(): Findings {
  return { errors: [], warnings: [], advice: [] };
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

  warn(message: string | undefined, isAboutKey = false): void {
    if (message !== undefined) this.#findings.warnings.push({ path: this.#path, message, isAboutKey });
  }

  advise(message: string | undefined, isAboutKey = false): void {
    if (message !== undefined) this.#findings.advice.push({ path: this.#path, message, isAboutKey });
  }
}

/** Calls `check` with each entry of a list and its position. */
export function each<T>(list: readonly T[], cursor: JsonCursor, check: (item: T, cursor: JsonCursor) => void): void {
  for (const [index, item] of list.entries()) check(item, cursor.at(index));
}

/** Shortens a text for a message: keys and file contents can be long. */
export function shorten(text: string): string {
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}
