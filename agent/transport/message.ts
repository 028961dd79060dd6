import { stripVTControlCharacters } from 'node:util';

/**
 * Makes a text fit for a report: one line of at most `limit` characters. A longer one loses its
 * middle, because it begins with what failed and ends with the last words of the action.
 */
export function toMessage(text: string, limit: number): string {
  const line = stripVTControlCharacters(text)
    .toWellFormed()
    .replace(/[\s\p{Cc}]+/gu, ' ')
    .trim();
  const characters = Array.from(line);
  if (characters.length <= limit) return line;
  const headLength = Math.floor(limit * 0.4);
  const head = characters.slice(0, headLength).join('');
  const tail = characters.slice(headLength + 1 - limit).join('');
  return `${head}…${tail}`;
}
