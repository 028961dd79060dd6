import { type AnyNode, type ObjectNode, parse } from '@humanwhocodes/momoa';
import { z } from 'zod';
import { reasonOf } from '../../../errors/reason.ts';
import type { JsonPath } from './json-cursor.ts';

/** The reason why a text is not JSON, with line and column if they are known. */
export class JsonSyntaxError extends Error {}

/**
 * As JSON.parse, but numbers with a fraction or an exponent become NaN: Ignition accepts only whole
 * numbers, and not in the form 1.0.
 * @throws {JsonSyntaxError} it is not JSON
 */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text, (_key, value: unknown, context?: { source?: string }) =>
      typeof value === 'number' && !/^-?\d+$/.test(context?.source ?? '') ? Number.NaN : value,
    );
  } catch (error) {
    throw new JsonSyntaxError(describeSyntaxError(text, error));
  }
}

/** With line and column, which the message of JSON.parse has only for some errors. */
function describeSyntaxError(text: string, engineError: unknown): string {
  const located = z.object({ message: z.string(), line: z.number(), column: z.number() });
  try {
    parse(text);
  } catch (error) {
    const syntax = located.safeParse(error);
    if (!syntax.success) throw error;
    const { message, line, column } = syntax.data;
    if (message.includes('end of input')) return `it ends too early, in line ${text.split('\n').length}`;
    const what = message.replace(/^U/, 'u').replace(/ found\.? \(\d+:\d+\)$/, '');
    return `${what} in line ${line}, column ${column}`;
  }
  // Only JSON.parse refuses control characters in strings; its message has the position.
  return reasonOf(engineError);
}

/** Finds the line and column of the value at a path. */
export class JsonLocator {
  readonly #text: string;
  #body: AnyNode | undefined;

  constructor(text: string) {
    this.#text = text;
  }

  /**
   * `$.storage.files.0.path (line 3, column 14)`; for a missing value, the position of the object
   * that should contain it.
   */
  describe(path: JsonPath): string {
    this.#body ??= parse(this.#text).body;
    let node = this.#body;
    for (const key of path) {
      const child = findChild(node, key);
      if (child === undefined) break;
      node = child;
    }
    const { line, column } = node.loc.start;
    return `${['$', ...path].join('.')} (line ${line}, column ${column})`;
  }
}

function findChild(node: AnyNode, key: string | number): AnyNode | undefined {
  if (node.type === 'Array') return node.elements[Number(key)]?.value;
  return node.type === 'Object' ? findMember(node, String(key)) : undefined;
}

function findMember(node: ObjectNode, key: string): AnyNode | undefined {
  const named = (fits: (name: string) => boolean) =>
    node.members.findLast(({ name }) => fits(name.type === 'String' ? name.value : name.name))?.value;
  return named((name) => name === key) ?? named((name) => name.toLowerCase() === key.toLowerCase());
}
