import {
  type Alias,
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  type ParsedNode,
  parseDocument,
  Scalar,
  visit,
} from 'yaml';
import type { EngineNode } from './engine/engine.ts';
import type { Diagnostic } from './problem.ts';

/** A YAML document, whichever program has parsed it. */
export interface YamlDocument {
  /** `undefined` if the document is empty or malformed. */
  readonly root: YamlNode | undefined;
  readonly errors: readonly Diagnostic[];
}

/** A node as YAML's representation graph has it, before anything is made of it. */
export interface YamlNode {
  readonly kind: 'scalar' | 'mapping' | 'sequence' | 'alias';
  /** In UTF-16 code units of the text. */
  readonly offset: number;
  /** A scalar as text. */
  readonly value: string;
  /** A scalar that stands for nothing: `~`, `null`, or no text at all. */
  readonly null: boolean;
  /** The key `<<`, which merges its value into the mapping. */
  readonly merge: boolean;
  /** A scalar as a whole number, unless it is quoted or no such number. */
  readonly integer: number | undefined;
  /**
   * The items of a sequence; the keys and values of a mapping, in turn; or what an alias stands
   * for. A node can be its own descendant.
   */
  children(): readonly YamlNode[];
}

/** The document that the template engine has read; its first node is the root. */
export function engineDocument(nodes: readonly EngineNode[], errors: readonly Diagnostic[]): YamlDocument {
  const fromEngine = ({ children, integer, ...node }: EngineNode): YamlNode => ({
    ...node,
    integer,
    children: () => children.flatMap((index) => nodes[index] ?? []).map(fromEngine),
  });
  return { root: nodes.slice(0, 1).map(fromEngine)[0], errors };
}

/**
 * Parses a YAML text. What scalars mean is decided as Go's yaml.v3 does, for which everything can
 * be text.
 */
export function parseYaml(text: string): YamlDocument {
  const document = parseDocument(text, { schema: 'failsafe', uniqueKeys: false, prettyErrors: false });
  const errors = document.errors.map(({ pos, message }) => ({ offset: pos[0], message: message.replace(/\s+/g, ' ') }));
  // The library recurses, and reports its own failure as errors of the text, some for each level.
  const overflow = errors.find(({ message }) => /call stack size/.test(message));
  if (overflow !== undefined)
    return { root: undefined, errors: [{ offset: overflow.offset, message: 'it is nested too deep' }] };
  if (errors.length > 0) return { root: undefined, errors };
  return { root: new LibraryReader(targetsOf(document)).read(document.contents, 0), errors };
}

type Targets = ReadonlyMap<Alias, ParsedNode>;

/**
 * What each alias stands for: the last node before it with the anchor of that name. The library
 * looks through the whole document for each.
 */
function targetsOf(document: Parameters<typeof visit>[0]): Targets {
  const [anchors, targets] = [new Map<string, ParsedNode>(), new Map<Alias, ParsedNode>()];
  visit(document, {
    Node(_key, node) {
      if (isAlias(node)) {
        const target = anchors.get(node.source);
        if (target !== undefined) targets.set(node, target);
      } else if (node.anchor !== undefined) anchors.set(node.anchor, node as ParsedNode);
    },
  });
  return targets;
}

/** Makes nodes of those of the library, each once, however many aliases stand for it. */
class LibraryReader {
  readonly #targets: Targets;
  readonly #made = new Map<ParsedNode, YamlNode>();

  constructor(targets: Targets) {
    this.#targets = targets;
  }

  /** @param fallback Where to point to if the node does not say */
  read(node: ParsedNode | null | undefined, fallback: number): YamlNode {
    const known = node && this.#made.get(node);
    if (known) return known;
    const made = this.#make(node, fallback);
    if (node) this.#made.set(node, made);
    return made;
  }

  #make(node: ParsedNode | null | undefined, fallback: number): YamlNode {
    const offset = node?.range?.[0] ?? fallback;
    const made = { offset, value: '', null: false, merge: false, integer: undefined };
    if (isAlias(node)) {
      const target = this.#targets.get(node);
      return { ...made, kind: 'alias', children: () => [this.read(target, offset)] };
    }
    if (isMap(node) || isSeq(node)) {
      let children: readonly YamlNode[] | undefined;
      return {
        ...made,
        kind: isMap(node) ? 'mapping' : 'sequence',
        children: () => {
          children ??= node.items
            .flatMap((item) => (isPair(item) ? [item.key, item.value] : [item]) as (ParsedNode | null)[])
            .map((child) => this.read(child, offset));
          return children;
        },
      };
    }
    return { ...made, ...scalarOf(node), kind: 'scalar', children: () => [] };
  }
}

function scalarOf(node: ParsedNode | null | undefined): Pick<YamlNode, 'value' | 'null' | 'merge' | 'integer'> {
  const value = isScalar(node) ? String(node.value) : '';
  const plain = !isScalar(node) || node.type === Scalar.PLAIN || node.type === undefined;
  return {
    value,
    null: plain && ['', '~', 'null', 'Null', 'NULL'].includes(value),
    merge: plain && value === '<<',
    integer: plain && /^[+-]?\d{1,15}$/.test(value) ? Number(value) : undefined,
  };
}
