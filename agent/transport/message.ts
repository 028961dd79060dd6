import { printable } from '../../text/printable.ts';

/**
 * Makes a text fit for a report: one line of at most `limit` characters. A longer one loses its
 * middle, because it begins with what failed and ends with the last words of the action.
 */
export function toMessage(text: string, limit: number): string {
  const line = printable(ends(text), Number.POSITIVE_INFINITY).replace(/\s+/g, ' ').trim();
  const characters = Array.from(line);
  if (characters.length <= limit) return line;
  const headLength = Math.floor(limit * 0.4);
  const head = characters.slice(0, headLength).join('');
  const tail = characters.slice(headLength + 1 - limit).join('');
  return `${head}…${tail}`;
}

/** More of the beginning and the end of a text than a message has, of any length of text. */
function ends(text: string): string {
  const kept = 64 * 1024;
  return text.length <= 2 * kept ? text : `${text.slice(0, kept)} ${text.slice(-kept)}`;
}
