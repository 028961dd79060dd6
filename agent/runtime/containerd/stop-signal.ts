import { constants } from 'node:os';

/**
 * Of the signals for real time, which Node does not name. The C library keeps the first two for
 * itself. systemd in a container is stopped by SIGRTMIN+3.
 */
const [firstRealTime, lastRealTime] = [34, 64];

/**
 * The number of the signal that stops a container, as Docker reads it (moby, pkg `signal`).
 * @param name as an image has it: `SIGTERM`, `TERM`, `SIGRTMIN+3` or a number
 * @returns that of SIGTERM if there is no such signal
 */
export function stopSignalNumber(name = 'SIGTERM'): number {
  const short = name.toUpperCase().replace(/^SIG/, '');
  const known = Object.entries(constants.signals).find(([key]) => key === `SIG${short}`)?.[1];
  return known ?? realTimeSignal(short) ?? numbered(short) ?? constants.signals.SIGTERM;
}

function realTimeSignal(name: string): number | undefined {
  const fromFirst = /^RTMIN(?:\+(\d+))?$/.exec(name);
  const fromLast = /^RTMAX(?:-(\d+))?$/.exec(name);
  if (fromFirst === null && fromLast === null) return undefined;
  const number = fromFirst ? firstRealTime + Number(fromFirst[1] ?? 0) : lastRealTime - Number(fromLast?.[1] ?? 0);
  return number >= firstRealTime && number <= lastRealTime ? number : undefined;
}

function numbered(name: string): number | undefined {
  const number = /^\d{1,2}$/.test(name) ? Number(name) : 0;
  return number >= 1 && number <= lastRealTime ? number : undefined;
}
