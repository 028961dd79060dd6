import { z } from 'zod';
import type { Clock } from '../../clock/clock.ts';

/** Who speaks, in the header of every message. */
export interface Sender {
  readonly hostName: string;
  readonly programName: string;
  readonly processId: number;
}

/**
 * - `rfc5424`: without structured data, which Smee does not read and other receivers do not write
 *   to their files by default; the fields of an event are in the text.
 * - `rfc5424-structured`: fields as structured data, with a sequence number (`meta`, section 7.3.1)
 *   by which a receiver can drop what it got twice.
 * - `rfc3164`: for receivers that know nothing newer. Time is local and without year.
 */
export type SyslogFormat = 'rfc5424' | 'rfc5424-structured' | 'rfc3164';

export interface MessageOptions {
  readonly clock: Clock;
  readonly format: SyslogFormat;
  readonly sender: Sender;
  /** Largest message in bytes, header and all; at least 480. */
  readonly limitBytes: number;
  /** Number of the next message, from 1 on. */
  readonly nextNumber: () => number;
}

/** Severities of RFC 5424, section 6.2.1. Smee shows those up to 6 at its usual log level. */
const severities: Readonly<Record<string, number>> = { fatal: 2, error: 3, warn: 4, info: 6, debug: 7, trace: 7 };

/** `daemon`. */
const facility = 3;

/**
 * The name of our structured data. Names without `@` are IANA's, and the number is that of an
 * organisation; this one is for those who have none (RFC 5612).
 */
const structuredDataId = 'nibs@32473';

/** Those that say where an event belongs, in this order. */
const whereFields = ['action', 'workflow', 'task', 'stream'];

const logRecord = z.looseObject({ level: z.string(), time: z.iso.datetime(), msg: z.string().default('') });

type LogRecord = z.output<typeof logRecord>;
type Fields = Readonly<Record<string, unknown>>;

/**
 * Turns an event of the log into syslog messages: one for each line of its text, and several for a
 * line that does not fit. None has a line break or a byte order mark in it: receivers would show
 * both.
 *
 * @param line the event as JSON, free of secrets
 */
export function messagesOf(line: string, options: MessageOptions): Buffer[] {
  const record = parse(line, options.clock);
  const headerOf = createHeader(record, options);
  const room = options.limitBytes - Buffer.byteLength(headerOf(2_147_483_647));
  return linesOf(record, options.format)
    .flatMap((text) => split(text, room))
    .map((text) => Buffer.from(`${headerOf(options.nextNumber())}${text}`));
}

/** A line that masking made unreadable is sent as it is. */
function parse(line: string, clock: Clock): LogRecord {
  try {
    return logRecord.parse(JSON.parse(line));
  } catch {
    return { level: 'info', time: clock.now().toISOString(), msg: line.trim() };
  }
}

/**
 * `[action] message (field=value, …)`, as the log has it for people; of output only which action's
 * it is.
 */
function linesOf({ level: _level, time: _time, msg, ...fields }: LogRecord, format: SyslogFormat): string[] {
  const lines = msg.split(/\r?\n/).filter((text, index) => text !== '' || index === 0);
  if (format === 'rfc5424-structured') return lines;
  const { action, ...others } = fields;
  const rest = 'stream' in fields ? [] : Object.entries(others).map(([name, value]) => `${name}=${asText(value)}`);
  const prefix = action === undefined ? '' : `[${asText(action)}] `;
  const suffix = rest.length === 0 ? '' : ` (${rest.join(', ').replace(/\s+/g, ' ')})`;
  return lines.map((text, index) => `${prefix}${text}${index === lines.length - 1 ? suffix : ''}`);
}

const asText = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));

/** @returns what stands before the text of the message with this number */
function createHeader(record: LogRecord, { format, sender, limitBytes }: MessageOptions): (number: number) => string {
  const { level, time, msg: _msg, ...fields } = record;
  const priority = `<${facility * 8 + (severities[level] ?? 6)}>`;
  const { programName, processId } = sender;
  if (format === 'rfc3164') {
    // A colon would end the name for a receiver that looks for the tag.
    const host = field(sender.hostName.replace(/[^\w.-]+/g, '-'), 255);
    return () => `${priority}${legacyTime(time)} ${host} ${field(programName, 32)}[${processId}]: `;
  }
  const messageId = field('stream' in fields ? 'output' : undefined, 32);
  const header = `${priority}1 ${time} ${field(sender.hostName, 255)} ${field(programName, 48)} ${processId} ${messageId}`;
  if (format === 'rfc5424') return () => `${header} - `;
  // Half of the room is for the text, however long the names of an action are.
  const room = limitBytes / 2 - header.length - '[meta sequenceId="2147483647"] '.length;
  const own = structuredData(fields, Math.max(0, room));
  return (number) => `${header} [meta sequenceId="${number}"]${own} `;
}

/** `Jan  2 15:04:05` (RFC 3164, section 4.1.2). */
function legacyTime(time: string): string {
  const date = new Date(time);
  const month = date.toLocaleString('en-US', { month: 'short' });
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, '0'));
  return `${month} ${String(date.getDate()).padStart(2, ' ')} ${clock.join(':')}`;
}

/** A field of the header: printable ASCII without spaces, `-` for nothing. */
function field(text: string | undefined, length: number): string {
  return (text ?? '').replace(/[^!-~]+/g, '_').slice(0, length) || '-';
}

/** As many fields as fit, those that say where an event belongs first. */
function structuredData(fields: Fields, roomBytes: number): string {
  const rank = (name: string) => (whereFields.includes(name) ? whereFields.indexOf(name) : whereFields.length);
  let data = '';
  for (const [name, value] of Object.entries(fields).sort(([a], [b]) => rank(a) - rank(b))) {
    const parameter = ` ${name.replace(/[^!#-<>-\\^-~]/g, '_').slice(0, 32)}="${escaped(asText(value))}"`;
    if (Buffer.byteLength(data + parameter) + structuredDataId.length + 2 <= roomBytes) data += parameter;
  }
  return data === '' ? '' : `[${structuredDataId}${data}]`;
}

/**
 * Section 6.3.3; control characters have no business there, as a receiver writes it all on one
 * line.
 */
function escaped(text: string): string {
  return text.replace(/["\\\]]/g, '\\$&').replace(/\p{Cc}+/gu, ' ');
}

/** Parts of at most so many bytes, none of which ends within a character. */
function split(text: string, roomBytes: number): string[] {
  if (Buffer.byteLength(text) <= roomBytes) return [text];
  const bytes = Buffer.from(text);
  const parts: string[] = [];
  for (let begin = 0; begin < bytes.length; ) {
    let end = Math.min(begin + roomBytes, bytes.length);
    // Continuation bytes of UTF-8 are 10xxxxxx.
    while (end < bytes.length && end > begin + 1 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
    parts.push(bytes.toString('utf8', begin, end));
    begin = end;
  }
  return parts;
}
