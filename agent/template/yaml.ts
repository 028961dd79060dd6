import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  type Node,
  parseDocument,
  Scalar,
  type YAMLMap,
} from 'yaml';

/** What is wrong at an offset of the YAML text. */
export interface Remark {
  readonly offset: number;
  readonly message: string;
}

/** The values of a mapping by their keys, and where the mapping begins. */
export interface Mapping {
  readonly offset: number;
  readonly values: ReadonlyMap<string, YamlValue>;
}

/** A node of the document. */
export interface YamlValue {
  readonly offset: number;
  readonly node: Node;
}

/**
 * Reads a YAML text the way Go's yaml.v3 decodes into structures: every scalar is the text it was written as, and nothing (`key:`, `~`, `null`) is as
 * if the key were absent. Remarks are collected, so that a person learns of all of them at once; what cannot be read counts as absent.
 */
export class YamlReader {
  readonly errors: Remark[] = [];
  readonly warnings: Remark[] = [];
  readonly #document: Document.Parsed;

  constructor(text: string) {
    this.#document = parseDocument(text, { schema: 'failsafe', uniqueKeys: true, prettyErrors: false });
    for (const { pos, message } of this.#document.errors) this.error(pos[0], message.replace(/\s+/g, ' '));
  }

  /** The root, unless the text is no YAML. */
  root(): YamlValue | undefined {
    return this.errors.length > 0 ? undefined : this.#resolve(this.#document.contents, 0);
  }

  error(offset: number, message: string): void {
    this.errors.push({ offset, message });
  }

  warn(offset: number, message: string): void {
    this.warnings.push({ offset, message });
  }

  /** @param known Keys that mean something; others are warned about. `undefined`: all do, also those with nothing as their value. */
  mapping(value: YamlValue | undefined, what: string, known?: readonly string[]): Mapping | undefined {
    if (value === undefined) return undefined;
    if (!isMap(value.node)) return this.#refuse(value, `${what} must be a mapping (key: value), not ${kindOf(value)}`);
    return { offset: value.offset, values: this.#valuesOf(value.node, what, known) };
  }

  list(value: YamlValue | undefined, what: string): readonly YamlValue[] {
    if (value === undefined) return [];
    if (!isSeq(value.node)) {
      this.#refuse(value, `${what} must be a list, not ${kindOf(value)}`);
      return [];
    }
    // An empty item is one too: the empty text.
    return value.node.items.map((item) => this.#resolve(item, value.offset) ?? emptyAt(offsetOf(item) ?? value.offset));
  }

  /** The items of a list that are mappings, as all should be. */
  mappings(value: YamlValue | undefined, what: string, itemName: string, known: readonly string[]): Mapping[] {
    return this.list(value, what).flatMap((item) => this.mapping(item, itemName, known) ?? []);
  }

  text(value: YamlValue | undefined, what: string): string | undefined {
    if (value === undefined) return undefined;
    if (isScalar(value.node)) return String(value.node.value);
    return this.#refuse(value, `${what} must be text, not ${kindOf(value)}`);
  }

  texts(value: YamlValue | undefined, what: string): string[] {
    return this.list(value, what).map((item, index) => this.text(item, `item ${index + 1} of ${what}`) ?? '');
  }

  /** A whole number that is not quoted. */
  number(value: YamlValue | undefined, what: string): number | undefined {
    if (value === undefined) return undefined;
    const isNumber = isScalar(value.node) && isPlain(value.node) && /^[+-]?\d{1,15}$/.test(String(value.node.value));
    if (isNumber) return Number(isScalar(value.node) ? value.node.value : 0);
    return this.#refuse(value, `${what} must be a whole number without quotes`);
  }

  #valuesOf(map: YAMLMap, what: string, known: readonly string[] | undefined): Map<string, YamlValue> {
    const values = new Map<string, YamlValue>();
    for (const { key, value } of map.items) {
      const offset = offsetOf(key) ?? offsetOf(map) ?? 0;
      const name = isScalar(key) ? String(key.value) : undefined;
      if (name === undefined) this.error(offset, `a key of ${what} must be text`);
      else if (name === '<<') this.error(offset, '"<<" (merging of mappings) is not understood here');
      else if (known !== undefined && !known.includes(name)) this.warn(offset, `${what} knows no "${name}"; ignored`);
      else {
        const resolved = this.#resolve(value, offset) ?? (known === undefined ? emptyAt(offset) : undefined);
        if (resolved !== undefined) values.set(name, resolved);
      }
    }
    return values;
  }

  /** @param fallback Where to point to if the node does not say */
  #resolve(found: unknown, fallback: number): YamlValue | undefined {
    const node = isAlias(found) ? found.resolve(this.#document) : found;
    if (!isNode(node) || (isScalar(node) && isNothing(node))) return undefined;
    return { node, offset: offsetOf(found) ?? fallback };
  }

  #refuse(value: YamlValue, message: string): undefined {
    this.error(value.offset, message);
    return undefined;
  }
}

function emptyAt(offset: number): YamlValue {
  return { node: new Scalar(''), offset };
}

function offsetOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

function isPlain(scalar: Scalar): boolean {
  return scalar.type === Scalar.PLAIN || scalar.type === undefined;
}

function isNothing(scalar: Scalar): boolean {
  return isPlain(scalar) && ['', '~', 'null', 'Null', 'NULL'].includes(String(scalar.value));
}

function kindOf({ node }: YamlValue): string {
  if (isMap(node)) return 'a mapping';
  return isSeq(node) ? 'a list' : 'a single value';
}
