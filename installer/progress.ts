import type { Clock } from '../clock/clock.ts';
import { printableLines } from '../text/printable.ts';

/** The phases of an installation, in order. */
type Phase = 'prepare' | 'write' | 'download' | 'verify' | 'configure' | 'commit' | 'finish';

/** Progress of a phase that has a length. */
interface Transfer {
  /** Bytes of the image as it is transferred (compressed). */
  readonly doneBytes: number;
  readonly totalBytes: number | undefined;
  readonly bytesPerSecond: number;
  /** Absent while it is unknown. */
  readonly secondsLeft?: number | undefined;
}

/** Receives what the installer does. */
export interface Report {
  /** A phase begins; `message` is for people. */
  phase(phase: Phase, message: string): void;
  /** Bytes have been transferred; cheap enough to call for every chunk. */
  transferred(doneBytes: number, totalBytes: number | undefined): void;
  note(message: string): void;
  /** A problem that does not stop the installation. */
  warn(message: string): void;
  /** Only with `--verbose`. */
  detail(message: string): void;
}

/** One form of output: terminal, log, JSON. */
interface View {
  say(kind: 'phase' | 'note' | 'warning' | 'detail', message: string, phase: Phase): void;
  show(transfer: Transfer, phase: Phase): void;
  /** Whether enough has changed since the last output. */
  isDue(transfer: Transfer, secondsSinceShown: number, shown: Transfer | undefined): boolean;
}

export interface Output {
  write(text: string): unknown;
}

export interface ReportOptions {
  readonly style: 'terminal' | 'lines' | 'json';
  readonly verbose: boolean;
  readonly output: Output;
  /**
   * Width of the terminal, to which progress is shortened. Default: 80; without limit for lines.
   */
  readonly columns?: () => number;
  readonly clock: Clock;
}

export function createReport(options: ReportOptions): Report {
  const now = () => options.clock.monotonicSeconds();
  const plain = views[options.style](options);
  // Servers and mirrors have a say in messages.
  const view: View = { ...plain, say: (kind, message, phase) => plain.say(kind, printableLines(message), phase) };
  const meter = createMeter(now);
  let phase: Phase = 'prepare';
  let shown: Transfer | undefined;
  let shownAt = Number.NEGATIVE_INFINITY;
  return {
    phase(next, message) {
      phase = next;
      shown = undefined;
      shownAt = now();
      meter.restart();
      view.say('phase', message, phase);
    },
    transferred(doneBytes, totalBytes) {
      const transfer = meter.measure(doneBytes, totalBytes);
      const isLast = doneBytes === totalBytes;
      if (!isLast && !view.isDue(transfer, now() - shownAt, shown)) return;
      shown = transfer;
      shownAt = now();
      view.show(transfer, phase);
    },
    note: (message) => view.say('note', message, phase),
    warn: (message) => view.say('warning', message, phase),
    detail(message) {
      if (options.verbose) view.say('detail', message, phase);
    },
  };
}

/**
 * Speed over about the last five seconds. An average since the start would hide a link that has
 * become slow.
 */
function createMeter(now: () => number) {
  const windowSeconds = 5;
  let samples: { at: number; doneBytes: number }[] = [];
  return {
    restart() {
      samples = [{ at: now(), doneBytes: 0 }];
    },
    measure(doneBytes: number, totalBytes: number | undefined): Transfer {
      const at = now();
      const last = samples.at(-1);
      // Thousands of chunks arrive in a second; ten samples are enough.
      if (last === undefined || at - last.at >= 0.1) samples.push({ at, doneBytes });
      while (samples.length > 2 && at - (samples[0]?.at ?? at) > windowSeconds) samples.shift();
      const first = samples[0] ?? { at, doneBytes };
      const seconds = at - first.at;
      const bytesPerSecond = seconds > 0 ? Math.max(0, doneBytes - first.doneBytes) / seconds : 0;
      const isKnown = totalBytes !== undefined && bytesPerSecond > 0;
      const secondsLeft = isKnown ? Math.round((totalBytes - doneBytes) / bytesPerSecond) : undefined;
      return { doneBytes, totalBytes, bytesPerSecond: Math.round(bytesPerSecond), secondsLeft };
    },
  };
}

const views: Record<ReportOptions['style'], (options: ReportOptions) => View> = {
  terminal({ output, columns = () => 80 }) {
    // Overwritten with spaces, not erased: not every terminal knows the sequence for that.
    let shownLength = 0;
    const clear = () => {
      if (shownLength > 0) output.write(`\r${' '.repeat(Math.min(shownLength, columns() - 1))}\r`);
      shownLength = 0;
    };
    return {
      say(kind, message) {
        clear();
        output.write(`${sentence(kind, message)}\n`);
      },
      isDue: (_transfer, seconds) => seconds >= 0.1,
      show(transfer) {
        // Without the last column, from which some terminals go on to the next line.
        const width = columns() - 1;
        const text = describeTransfer(transfer, width);
        const barWidth = Math.min(40, width - text.length - 3);
        const line = `${barWidth >= 10 ? `${bar(transfer, barWidth)} ` : ''}${text}`;
        output.write(`\r${line.padEnd(Math.min(shownLength, width))}`);
        shownLength = line.length;
        if (transfer.doneBytes === transfer.totalBytes) {
          output.write('\n');
          shownLength = 0;
        }
      },
    };
  },
  lines({ output, columns = () => Number.POSITIVE_INFINITY }) {
    return {
      say: (kind, message) => output.write(`${sentence(kind, message)}\n`),
      // Every 5 % on a fast link, every ten seconds on a slow one.
      isDue(transfer, seconds, shown) {
        const steps = Math.floor(percent(transfer) / 5) - Math.floor(percent(shown) / 5);
        return seconds >= 10 || (steps >= 1 && seconds >= 1);
      },
      show: (transfer) => output.write(`  ${describeTransfer(transfer, columns() - 3)}\n`),
    };
  },
  json({ output }) {
    const line = (object: object) => output.write(`${JSON.stringify(object)}\n`);
    return {
      say: (kind, message, phase) => line({ event: kind, phase, message }),
      isDue: (_transfer, seconds) => seconds >= 1,
      show: (transfer, phase) => line({ event: 'progress', phase, ...transfer }),
    };
  },
};

function sentence(kind: 'phase' | 'note' | 'warning' | 'detail', message: string): string {
  return kind === 'warning' ? `Warning: ${message}` : message;
}

function percent(transfer: Transfer | undefined): number {
  if (transfer?.totalBytes === undefined || transfer.totalBytes === 0) return 0;
  return (100 * transfer.doneBytes) / transfer.totalBytes;
}

function bar(transfer: Transfer, width: number): string {
  const filled = Math.floor((percent(transfer) / 100) * (width - 2));
  return `[${'='.repeat(filled)}${' '.repeat(width - 2 - filled)}]`;
}

/** ` 42 % of 490.7 MB, 51.2 MB/s, 1:03 left`, or as much of it as fits into `width` characters. */
function describeTransfer(transfer: Transfer, width: number): string {
  const rate = `${formatBytes(transfer.bytesPerSecond)}/s`;
  if (transfer.totalBytes === undefined)
    return longest(width, [`${formatBytes(transfer.doneBytes)}, ${rate}`, formatBytes(transfer.doneBytes)]);
  const share = `${Math.floor(percent(transfer)).toString().padStart(3)} %`;
  const done = `${share} of ${formatBytes(transfer.totalBytes)}, ${rate}`;
  const { secondsLeft } = transfer;
  const shorter = [done, `${share}, ${rate}`, share];
  if (secondsLeft === undefined || secondsLeft === 0) return longest(width, shorter);
  const left = `${Math.floor(secondsLeft / 60)}:${(secondsLeft % 60).toString().padStart(2, '0')} left`;
  return longest(width, [`${done}, ${left}`, done, `${share}, ${left}`, ...shorter]);
}

/** The first that fits, or the beginning of the last. */
function longest(width: number, texts: readonly string[]): string {
  return texts.find((text) => text.length <= width) ?? (texts.at(-1) ?? '').slice(0, Math.max(0, width));
}

export function formatBytes(bytes: number): string {
  for (const [unit, size] of [
    ['GB', 1e9],
    ['MB', 1e6],
    ['kB', 1e3],
  ] as const) {
    if (bytes >= size) return `${(bytes / size).toFixed(1)} ${unit}`;
  }
  return `${bytes} B`;
}
