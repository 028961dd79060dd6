import type { Flood } from './flood-log.ts';

/** With the line end. */
const lineBytes = 200;

/**
 * Part `output`: an action that prints much, in lines that are numbered. All arrive, once and in
 * order; the memory of the agent does not grow with them.
 *
 * @param bytes with the line ends; a multiple of 200
 */
export function outputOf(bytes: number): Flood {
  const lines = bytes / lineBytes;
  const digits = String(lines).length;
  const words = ` ${'x'.repeat(lineBytes - digits - 2)}`;
  let next = 1;
  return {
    script: `seq -w 1 ${lines} | sed 's/$/${words}/'`,
    outputBytes: lines * (lineBytes - 1),
    onLine(line) {
      if (line !== String(next).padStart(digits, '0') + words) return false;
      next += 1;
      return true;
    },
  };
}
