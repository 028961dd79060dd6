import type { Clock } from '../../clock/clock.ts';
import { maskPasswords } from '../../net/mask-passwords.ts';
import { printable, printableLines } from '../../text/printable.ts';
import type { Output } from '../progress.ts';

/** Values beside a message, in this order. */
type Attributes = Readonly<Record<string, string>>;

/** The log of an action. Passwords in URLs are masked, control characters removed. */
export interface ActionLog {
  info(message: string, attributes?: Attributes): void;
  warn(message: string, attributes?: Attributes): void;
  error(message: string, attributes?: Attributes): void;
}

type Level = 'INFO' | 'WARN' | 'ERROR';

/**
 * Lines as those of the actions written in Go: `json` as of log/slog, `text` as of its handler
 * tint.
 */
export function createActionLog(form: 'json' | 'text', output: Output, clock: Clock): ActionLog {
  const clean = (text: string) => printableLines(maskPasswords(text));
  const write = (level: Level, message: string, attributes: Attributes) => {
    const cleaned = Object.entries(attributes).map(([name, value]) => [name, clean(value)] as const);
    const now = clock.now().toISOString();
    output.write(
      `${form === 'json' ? jsonLine(now, level, clean(message), cleaned) : textLine(now, level, clean(message), cleaned)}\n`,
    );
  };
  return {
    info: (message, attributes = {}) => write('INFO', message, attributes),
    warn: (message, attributes = {}) => write('WARN', message, attributes),
    error: (message, attributes = {}) => write('ERROR', message, attributes),
  };
}

type Cleaned = readonly (readonly [name: string, value: string])[];

function jsonLine(now: string, level: Level, message: string, attributes: Cleaned): string {
  return JSON.stringify({ time: now, level, msg: message, ...Object.fromEntries(attributes) });
}

const shortLevels = { INFO: 'INF', WARN: 'WRN', ERROR: 'ERR' } as const;
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `Nov 29 22:27:12.123 INF message name="a value"`; the time is UTC, as in a container. */
function textLine(now: string, level: Level, message: string, attributes: Cleaned): string {
  const [, month = '01', day = '', time = ''] = /^\d+-(\d\d)-(\d\d)T(.*)Z$/.exec(now) ?? [];
  const stamp = `${months[Number(month) - 1]} ${day.replace(/^0/, ' ')} ${time}`;
  const values = attributes.map(([name, value]) => ` ${name}=${/[\s"=]/.test(value) ? JSON.stringify(value) : value}`);
  return `${stamp} ${shortLevels[level]} ${printable(message)}${values.join('')}`;
}

/** `3.000000MiB`, as the original prints sizes; -1 if it is unknown. */
export function formatSize(bytes: number | undefined): string {
  let rest = bytes ?? -1;
  for (const unit of ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi']) {
    if (Math.abs(rest) < 1024) return `${rest.toFixed(6)}${unit}B`;
    rest /= 1024;
  }
  return `${rest.toFixed(6)}EiB`;
}
