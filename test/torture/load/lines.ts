import type { Flood } from './flood-log.ts';

/** One line of each: first three of standard output, then one of standard error. */
const digits = ['1', '2', '3', '4'];
const partBytes = 16 * 1024;

/**
 * Part `lines`: an action that prints lines that are very long, to both streams. Each arrives whole
 * in parts of 16 KiB; the memory of the agent does not grow with them.
 */
export function linesOf(lineBytes: number): Flood {
  const left = new Map(digits.map((digit) => [digit, lineBytes]));
  const parts = new Map(digits.map((digit) => [digit, digit.repeat(partBytes)]));
  const print = (digit: string) => `{ head -c ${lineBytes} /dev/zero | tr '\\0' ${digit}; echo; }`;
  const [one = '', two = '', three = '', four = ''] = digits.map(print);
  return {
    script: `${one}; ${two}; ${three}; ${four} >&2`,
    outputBytes: lineBytes * digits.length,
    onLine(line) {
      const digit = line.slice(0, 1);
      const bytes = Math.min(partBytes, left.get(digit) ?? 0);
      // No part but the last one is shorter than the others.
      if (bytes === 0 || line !== parts.get(digit)?.slice(0, bytes)) return false;
      // Engines copy the two streams independently of each other.
      const before = digit === '4' ? [] : digits.slice(0, digits.indexOf(digit));
      if (before.some((other) => left.get(other) !== 0)) return false;
      left.set(digit, (left.get(digit) ?? 0) - bytes);
      return true;
    },
  };
}
