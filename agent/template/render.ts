import { evaluate } from './expression.ts';
import { printed } from './functions.ts';
import { Misplaced } from './problem.ts';
import type { Fields } from './value.ts';

/** A template with its variables filled in, which knows where each of its characters came from. */
export interface Rendered {
  readonly text: string;
  /** The offset in the template for one in {@link text}; for a character of a value that of its `{{`. */
  originOf(offset: number): number;
}

/** Part of the output; a literal part came character by character from the template. */
interface Part {
  readonly start: number;
  readonly origin: number;
  readonly literal: boolean;
}

/** As the current server has it. */
const largestBytes = 256 * 1024;

/**
 * Fills in the variables of a template: `{{ … }}` with what {@link evaluate} understands between the braces, `{{-` and `-}}` that trim white space, and
 * comments.
 *
 * @throws {Misplaced} for the first thing that cannot be filled in
 */
export function render(template: string, data: Fields): Rendered {
  const parts: Part[] = [];
  let text = '';
  const add = (piece: string, origin: number, literal: boolean) => {
    parts.push({ start: text.length, origin, literal });
    text += piece;
  };
  let position = 0;
  let trimStart = false;
  for (;;) {
    const open = template.indexOf('{{', position);
    const end = open < 0 ? template.length : open;
    const trimEnd = open >= 0 && /^-\s/.test(template.slice(open + 2, open + 4));
    const [start, stop] = trimmed(template, position, end, trimStart, trimEnd);
    add(template.slice(start, stop), start, true);
    if (open < 0) break;
    const action = actionAt(template, open, trimEnd);
    if (!action.comment) add(textOf(action.inside, action.offset, open, data), open, false);
    position = action.end;
    trimStart = action.trimsNext;
  }
  if (Buffer.byteLength(text) > largestBytes)
    throw new Misplaced(0, `with its values filled in, the template is larger than ${largestBytes} bytes`);
  return { text, originOf: (offset) => originOf(parts, offset) };
}

function trimmed(text: string, start: number, end: number, atStart: boolean, atEnd: boolean): [number, number] {
  const piece = text.slice(start, end);
  const first = atStart ? piece.length - piece.trimStart().length : 0;
  const last = atEnd ? piece.trimEnd().length : piece.length;
  return [start + first, start + Math.max(first, last)];
}

interface TemplateAction {
  readonly inside: string;
  /** Of `inside`. */
  readonly offset: number;
  /** After the closing braces. */
  readonly end: number;
  readonly trimsNext: boolean;
  readonly comment: boolean;
}

/** Braces inside of a text or a comment do not close. */
const insidePattern = /(?:"(?:\\.|[^"\\\n])*"|`[^`]*`|\/\*[\s\S]*?\*\/|(?!\}\})[\s\S])*?(?=\}\}|(?<=\s)-\}\})/y;

function actionAt(template: string, open: number, trims: boolean): TemplateAction {
  const offset = open + (trims ? 3 : 2);
  insidePattern.lastIndex = offset;
  const inside = insidePattern.exec(template)?.[0];
  if (inside === undefined) throw new Misplaced(open, '"{{" is not closed by "}}"');
  const after = offset + inside.length;
  const trimsNext = template[after] === '-';
  return {
    ...{ inside, offset, trimsNext },
    end: after + (trimsNext ? 3 : 2),
    comment: /^\s*\/\*[\s\S]*\*\/\s*$/.test(inside),
  };
}

function textOf(inside: string, offset: number, open: number, data: Fields): string {
  const value = evaluate(inside, offset, data);
  try {
    return printed(value);
  } catch (error) {
    throw new Misplaced(open, `{{${inside}}}: ${(error as Error).message}`);
  }
}

function originOf(parts: readonly Part[], offset: number): number {
  const part = parts.findLast(({ start }) => start <= offset);
  if (part === undefined) return 0;
  return part.literal ? part.origin + offset - part.start : part.origin;
}
