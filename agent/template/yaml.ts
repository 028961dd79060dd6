import type { YamlDocument, YamlNode } from './document.ts';
import type { Diagnostic } from './problem.ts';

/** The values of a mapping by their keys, and where the mapping begins. */
export interface Mapping {
  readonly offset: number;
  readonly values: ReadonlyMap<string, YamlValue>;
}

/** A node that an alias may stand in for: then `offset` is the alias's. */
export interface YamlValue {
  readonly offset: number;
  readonly node: YamlNode;
}

/**
 * Most nodes that are read, those behind an alias each time. A document of some hundred characters
 * can stand for millions: yaml.v3 refuses such ones too.
 */
const maxNodes = 100_000;

/** Most characters of all texts that are read, those behind an alias each time. */
const maxCharacters = 4 * 1024 * 1024;

/**
 * Reads a YAML document the way Go's yaml.v3 decodes into structures: every scalar is the text it
 * was written as, nothing (`key:`, `~`, `null`) is as if the key were absent, and `<<` merges
 * mappings. Remarks are collected, so that a person learns of all of them at once; what cannot be
 * read counts as absent.
 */
export class YamlReader {
  readonly errors: Diagnostic[] = [];
  readonly warnings: Diagnostic[] = [];
  readonly #root: YamlNode | undefined;
  #nodesLeft = maxNodes;
  #charactersLeft = maxCharacters;

  constructor({ root, errors }: YamlDocument) {
    this.#root = root;
    if (root === undefined) this.errors.push(...errors);
  }

  /** The root, unless there is none or it is nothing. */
  root(): YamlValue | undefined {
    const value = this.#root && resolved(this.#root);
    return value === undefined || isNull(value) ? undefined : value;
  }

  error(offset: number, message: string): void {
    this.errors.push({ offset, message });
  }

  warn(offset: number, message: string): void {
    this.warnings.push({ offset, message });
  }

  /**
   * @param known Keys that mean something; others are warned about. `undefined`: all do, also those
   *   with nothing as their value.
   */
  mapping(value: YamlValue | undefined, what: string, known?: readonly string[]): Mapping | undefined {
    if (value === undefined) return undefined;
    const { node, offset } = value;
    if (node.kind !== 'mapping')
      return this.#refuse(value, `${what} must be a mapping (key: value), not ${kindOf(value)}`);
    const values = new Map<string, YamlValue>();
    for (const [name, entry] of this.#entriesOf(node, what, [])) {
      if (known !== undefined && !known.includes(name))
        this.warn(entry.keyOffset, `${what} knows no "${name}"; ignored`);
      else if (!isNull(entry.value)) values.set(name, entry.value);
      // Where all keys mean something, nothing is the empty text.
      else if (known === undefined) values.set(name, { node: entry.value.node, offset: entry.keyOffset });
    }
    return { offset, values };
  }

  list(value: YamlValue | undefined, what: string): readonly YamlValue[] {
    if (value === undefined) return [];
    if (value.node.kind !== 'sequence') {
      this.#refuse(value, `${what} must be a list, not ${kindOf(value)}`);
      return [];
    }
    const items = this.#childrenOf(value.node).map(resolved);
    for (const { offset } of items.filter(isNull)) this.warn(offset, `an item of ${what} is nothing; ignored`);
    return items.filter((item) => !isNull(item));
  }

  /** The items of a list that are mappings, as all should be. */
  mappings(value: YamlValue | undefined, what: string, itemName: string, known: readonly string[]): Mapping[] {
    return this.list(value, what).flatMap((item) => this.mapping(item, itemName, known) ?? []);
  }

  text(value: YamlValue | undefined, what: string): string | undefined {
    if (value === undefined) return undefined;
    if (value.node.kind === 'scalar') return isNull(value) ? '' : this.#bounded(value);
    return this.#refuse(value, `${what} must be text, not ${kindOf(value)}`);
  }

  texts(value: YamlValue | undefined, what: string): string[] {
    return this.list(value, what).map((item, index) => this.text(item, `item ${index + 1} of ${what}`) ?? '');
  }

  /** A whole number that is not quoted. */
  number(value: YamlValue | undefined, what: string): number | undefined {
    if (value === undefined) return undefined;
    if (value.node.integer !== undefined) return value.node.integer;
    return this.#refuse(value, `${what} must be a whole number without quotes`);
  }

  /**
   * The entries of a mapping, then those of the mappings that it merges which it does not have.
   *
   * @param merging Offsets of the mappings that this one is merged into
   */
  #entriesOf(mapping: YamlNode, what: string, merging: readonly number[]): Map<string, Entry> {
    const own = new Map<string, Entry>();
    const merged: YamlValue[] = [];
    const children = this.#childrenOf(mapping);
    for (let index = 0; index < children.length; index += 2) {
      const [key, content] = [children[index], children[index + 1]].map((node) => node && resolved(node));
      if (key === undefined || content === undefined) continue;
      const name = key.node.value;
      if (key.node.kind !== 'scalar') this.error(key.offset, `a key of ${what} must be text`);
      else if (key.node.merge) merged.push(content);
      else if (own.has(name)) this.error(key.offset, `${what} has the key "${name}" twice`);
      else if (!key.node.null) own.set(name, { keyOffset: key.offset, value: content });
    }
    if (merged.length > 1) this.error(merged[1]?.offset ?? 0, `${what} has the key "<<" twice`);
    for (const value of merged) {
      for (const [name, entry] of this.#mergedEntries(value, what, [...merging, mapping.offset])) {
        if (!own.has(name)) own.set(name, entry);
      }
    }
    return own;
  }

  /**
   * The entries of a mapping, or of a list of them in which the first one counts, that stands
   * behind `<<`.
   */
  #mergedEntries(value: YamlValue, what: string, merging: readonly number[]): [string, Entry][] {
    const { node } = value;
    if (node.kind === 'mapping' && !merging.includes(node.offset)) return [...this.#entriesOf(node, what, merging)];
    const items = node.kind === 'sequence' ? this.#childrenOf(node).map(resolved) : [];
    if (
      node.kind !== 'sequence' ||
      items.some((item) => item.node.kind !== 'mapping' || merging.includes(item.node.offset))
    ) {
      this.error(value.offset, `"<<" merges a mapping, or a list of mappings, into ${what}`);
      return [];
    }
    return items.flatMap((item) => [...this.#entriesOf(item.node, what, merging)]);
  }

  /** Nothing after {@link maxCharacters}, which is an error. */
  #bounded({ node }: YamlValue): string {
    if (this.#charactersLeft < 0) return '';
    this.#charactersLeft -= node.value.length;
    if (this.#charactersLeft >= 0) return node.value;
    this.error(0, `with its aliases the document has more than ${maxCharacters} characters`);
    return '';
  }

  /** None after {@link maxNodes}, which is an error. */
  #childrenOf(node: YamlNode): readonly YamlNode[] {
    const children = node.children();
    if (this.#nodesLeft < 0) return [];
    this.#nodesLeft -= children.length;
    if (this.#nodesLeft >= 0) return children;
    this.error(0, `with its aliases the document has more than ${maxNodes} values`);
    return [];
  }

  #refuse(value: YamlValue, message: string): undefined {
    this.error(value.offset, message);
    return undefined;
  }
}

interface Entry {
  readonly keyOffset: number;
  readonly value: YamlValue;
}

function resolved(node: YamlNode): YamlValue {
  const target = node.kind === 'alias' ? node.children()[0] : undefined;
  return { node: target ?? node, offset: node.offset };
}

function isNull({ node }: YamlValue): boolean {
  return node.kind === 'scalar' && node.null;
}

function kindOf({ node }: YamlValue): string {
  if (node.kind === 'mapping') return 'a mapping';
  return node.kind === 'sequence' ? 'a list' : 'a single value';
}
