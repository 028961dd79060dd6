import { type Logger, pino } from 'pino';
import type { Clock } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';
import { reasonOf } from '../../errors/reason.ts';
import { createCleaner } from '../../text/printable.ts';
import type { Action } from '../action/action.ts';
import { maskFields } from './mask-values.ts';
import type { Redactor } from './redact.ts';

/**
 * The log of the agent: one event a call, `log.info({ action: 'install' }, 'the action ended')`.
 */
export type Log = Logger;

export interface LogOptions {
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  readonly level: 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace';
  /** `text`: a line for people; `json`: a line for programs. */
  readonly format: 'text' | 'json';
  readonly redactor: Redactor;
  /** Takes one whole line, with its end. */
  readonly write: (line: string) => void;
  /** Takes the same events as lines of JSON, in any format. Default: none. */
  readonly forward?: ((line: string) => void) | undefined;
}

/** Fields that are always masked, in case one is logged before its value is known to be secret. */
const secretFields = new Set([
  'password',
  'registryPassword',
  'token',
  'secret',
  'auth',
  'authorization',
  'environment',
]);

/**
 * Creates the log. Secrets are masked in all values of an event, so that no field, message or
 * nested error escapes, and before the event is encoded: what is masked cannot break its form. No
 * value has control characters, so that none forges a line or commands a terminal.
 */
export function createLog({ clock = systemClock, level, format, redactor, write, forward }: LogOptions): Log {
  const clean = createCleaner(redactor.redact);
  return pino(
    {
      level,
      base: null,
      timestamp: createTimestamp(clock),
      formatters: { level: (label) => ({ level: label }) },
    },
    {
      write(line: string) {
        const { level, time, ...fields }: LogRecord = JSON.parse(line);
        const masked: LogRecord = { level, time, ...maskFields(fields, clean, secretFields) };
        const json = `${JSON.stringify(masked)}\n`;
        write(format === 'json' ? json : asText(masked));
        forward?.(json);
      },
    },
  );
}

/** The field `time`. Most events of a flood have the same millisecond as the one before. */
function createTimestamp(clock: Clock): () => string {
  let [at, text] = [Number.NaN, ''];
  return () => {
    const now = clock.now();
    if (now.getTime() !== at) [at, text] = [now.getTime(), `,"time":"${now.toISOString()}"`];
    return text;
  };
}

/** Fields of the logger and of the event. */
interface LogRecord {
  readonly level: string;
  readonly time: string;
  readonly msg?: string;
  readonly [field: string]: unknown;
}

/** Fields that text lines omit: they are the same for all lines of an action. */
const wellKnownFields = ['action', 'workflow', 'task', 'stream'];

/**
 * `12:34:56 WARN  [action] message (field=value, …)`, without the day: a boot image does not run
 * for days.
 */
function asText({ level, time, msg = '', ...fields }: LogRecord): string {
  const action = typeof fields['action'] === 'string' ? fields['action'] : undefined;
  const rest = Object.entries(fields)
    .filter(([name]) => action === undefined || !wellKnownFields.includes(name))
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  const who = action === undefined ? '' : `[${action}] `;
  const text = rest.length === 0 ? msg : `${msg} (${rest.join(', ')})`;
  return `${time.slice(11, 19)} ${level.toUpperCase().padEnd(5)} ${who}${text}\n`;
}

/** Fields of every event about an action. */
export function logFields({ workflowId, taskName, name }: Pick<Action, 'workflowId' | 'taskName' | 'name'>) {
  return { workflow: workflowId, task: taskName, action: name };
}

/**
 * The message of an error with those of its causes, on one line: `cannot reach the server:
 * connection refused`.
 */
export function messageOf(error: unknown): string {
  const messages: string[] = [];
  for (
    let cause = error;
    cause !== undefined && cause !== null && messages.length < 5;
    cause = cause instanceof Error ? cause.cause : undefined
  ) {
    const message = reasonOf(cause)
      .replace(/\s+/g, ' ')
      // gRPC puts the number of a status before its name.
      .replace(/^\d+ (?=[A-Z_]+: )/, '')
      .trim();
    // Many errors repeat their cause in their message.
    if (!messages.some((earlier) => earlier.includes(message))) messages.push(message);
  }
  return messages.join(': ');
}
