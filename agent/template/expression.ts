import { functions } from './functions.ts';
import { Misplaced } from './problem.ts';
import { type Fields, type Value, valueIn } from './value.ts';

/**
 * Evaluates what stands between `{{` and `}}`, of Go's text/template so much:
 *
 *     pipeline = command { "|" command }
 *     command  = function { operand } | operand
 *     operand  = ( "." name { "." name } | "(" pipeline ")" { "." name } | "text" | `text` | number | true | false )
 *
 * As in Go, what comes before a `|` is the last operand of what comes after it.
 *
 * @param text a part of the template from `offset` on
 * @throws {Misplaced} for everything else, and for values that are missing (text/template's `missingkey=error`)
 */
export function evaluate(text: string, offset: number, data: Fields): Value {
  const parser = new Parser(tokensOf(text, offset), offset + text.trimEnd().length, data);
  return parser.whole();
}

type Kind = 'field' | 'word' | 'text' | 'number' | '(' | ')' | '|';

interface Token {
  readonly kind: Kind;
  readonly text: string;
  readonly offset: number;
  /** Whether it follows the token before without white space: `(…).name`, not `(…) .name`. */
  readonly joined: boolean;
}

const tokenPattern =
  /(?<space>\s+)|(?<field>\.[\p{L}_][\p{L}\p{N}_]*)|(?<word>[\p{L}_][\p{L}\p{N}_]*)|(?<text>"(?:\\.|[^"\\\n])*"|`[^`]*`)|(?<number>[+-]?\d+)(?![\p{L}\p{N}_.])|(?<mark>[()|])/uy;

function tokensOf(text: string, offset: number): Token[] {
  const tokens: Token[] = [];
  let joined = false;
  tokenPattern.lastIndex = 0;
  while (tokenPattern.lastIndex < text.length) {
    const start = tokenPattern.lastIndex;
    const match = tokenPattern.exec(text);
    if (match === null) throw new Misplaced(offset + start, notUnderstood(text.slice(start)));
    const [kind, found] = Object.entries(match.groups ?? {}).find(([, group]) => group !== undefined) ?? [];
    if (found === undefined || kind === undefined) break;
    if (kind !== 'space') {
      tokens.push({ kind: (kind === 'mark' ? found : kind) as Kind, text: found, offset: offset + start, joined });
    }
    joined = kind !== 'space';
  }
  return tokens;
}

const keywords = /^(?:if|else|end|range|with|define|template|block|break|continue|and|or|not|eq|ne|lt|le|gt|ge)$/;

function notUnderstood(rest: string): string {
  const [start = ''] = /^\S+/.exec(rest) ?? [];
  const why = start.startsWith('$') || start.startsWith(':=') ? 'variables are not understood here' : 'not understood';
  return `"${start}": ${why}; ${understood}`;
}

const understood = `what can stand here: .name, .Hardware.name, "text", numbers, ( ), | and the functions ${Object.keys(functions).join(', ')}`;

class Parser {
  readonly #tokens: Token[];
  readonly #end: number;
  readonly #data: Fields;

  constructor(tokens: Token[], end: number, data: Fields) {
    this.#tokens = tokens;
    this.#end = end;
    this.#data = data;
  }

  whole(): Value {
    const value = this.#pipeline();
    const [left] = this.#tokens;
    if (left !== undefined) throw new Misplaced(left.offset, `"${left.text}" is not expected here`);
    return value;
  }

  #pipeline(): Value {
    let value = this.#command([]);
    while (this.#tokens[0]?.kind === '|') {
      this.#tokens.shift();
      value = this.#command([value]);
    }
    return value;
  }

  /** @param piped what comes before the `|` */
  #command(piped: readonly Value[]): Value {
    const [first] = this.#tokens;
    if (first?.kind === 'word' && first.text !== 'true' && first.text !== 'false') return this.#call(piped);
    const value = this.#operand();
    if (piped.length > 0) throw new Misplaced(first?.offset ?? this.#end, 'a function is expected after |');
    return value;
  }

  #call(piped: readonly Value[]): Value {
    const name = this.#take();
    const apply = Object.hasOwn(functions, name.text) ? functions[name.text] : undefined;
    if (apply === undefined) {
      const what = keywords.test(name.text) ? `"${name.text}" is not understood here` : `no function "${name.text}"`;
      throw new Misplaced(name.offset, `${what}; ${understood}`);
    }
    const operands: Value[] = [];
    while (this.#tokens[0] !== undefined && !['|', ')'].includes(this.#tokens[0].kind)) operands.push(this.#operand());
    try {
      return apply(...operands, ...piped);
    } catch (error) {
      throw new Misplaced(name.offset, `${name.text}: ${(error as Error).message}`);
    }
  }

  #operand(): Value {
    const token = this.#take();
    switch (token.kind) {
      case 'field':
        return this.#fields(this.#field(this.#data, token));
      case '(': {
        const value = this.#pipeline();
        const close = this.#take();
        if (close.kind !== ')') throw new Misplaced(close.offset, `")" is expected, not "${close.text}"`);
        return this.#fields(value);
      }
      case 'text':
        return textOf(token);
      case 'number':
        return Number(token.text);
      case 'word':
        if (token.text === 'true' || token.text === 'false') return token.text === 'true';
        throw new Misplaced(
          token.offset,
          `"${token.text}" is not expected here: put ( ) around a function with its values`,
        );
      default:
        throw new Misplaced(token.offset, `"${token.text}" is not expected here`);
    }
  }

  /** The `.name`s that follow without white space. */
  #fields(start: Value): Value {
    let value = start;
    while (this.#tokens[0]?.kind === 'field' && this.#tokens[0].joined) value = this.#field(value, this.#take());
    return value;
  }

  #field(value: Value, token: Token): Value {
    const found = valueIn(value, token.text.slice(1));
    if (found !== undefined) return found;
    const name = token.text.slice(1);
    const flag = name.toLowerCase() === 'hardware' ? '--hardware' : `--set ${name}=…`;
    const advice = value === this.#data ? ` (give it with ${flag})` : '';
    throw new Misplaced(token.offset, `there is no value for ${token.text}${advice}`);
  }

  #take(): Token {
    const token = this.#tokens.shift();
    if (token === undefined) throw new Misplaced(this.#end, `something is missing before }}; ${understood}`);
    return token;
  }
}

function textOf({ text, offset }: Token): string {
  if (text.startsWith('`')) return text.slice(1, -1);
  try {
    return String(JSON.parse(text));
  } catch {
    throw new Misplaced(offset, `${text} has an escape that is not understood; write it between backquotes`);
  }
}
