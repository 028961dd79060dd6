import { z } from 'zod';

/** Who speaks, in the header of every message. */
export interface Sender {
  readonly hostName: string;
  readonly programName: string;
  readonly processId: number;
}

/** Severities of RFC 5424, section 6.2.1. */
const severities: Readonly<Record<string, number>> = { fatal: 2, error: 3, warn: 4, info: 6, debug: 7, trace: 7 };

/** `daemon`. */
const facility = 3;

/**
 * The name of our structured data. Names without `@` are IANA's, and the number is that of an organisation; this one is for those who have none
 * (RFC 5612).
 */
const structuredDataId = 'nibs@32473';

const logRecord = z.looseObject({ level: z.string(), time: z.iso.datetime(), msg: z.string().default('') });

/**
 * Turns an event of the log into messages of RFC 5424: one for each line of its text, and several for a line that does not fit.
 *
 * Fields of the event (workflow, task, action, stream, …) become structured data. The sequence number (`meta`, section 7.3.1) lets a receiver drop
 * what it got twice.
 *
 * @param line the event as JSON, free of secrets
 * @param limitBytes of a message, header and all; at least 480
 * @param nextNumber gives the number of each message
 */
export function messagesOf(line: string, sender: Sender, limitBytes: number, nextNumber: () => number): Buffer[] {
  const { level, time, msg, ...fields } = parse(line);
  const priority = facility * 8 + (severities[level] ?? 6);
  const message = field('stream' in fields ? 'output' : undefined, 32);
  const header = `<${priority}>1 ${time} ${field(sender.hostName, 255)} ${field(sender.programName, 48)} ${sender.processId} ${message}`;
  // Half of the room is for the text, however long the names of an action are.
  const own = structuredData(
    fields,
    Math.max(0, limitBytes / 2 - header.length - '[meta sequenceId="2147483647"] '.length),
  );
  const room = limitBytes - Buffer.byteLength(`${header} [meta sequenceId="2147483647"]${own} `);
  return msg
    .split(/\r?\n/)
    .filter((text, index) => text !== '' || index === 0)
    .flatMap((text) => split(text, room))
    .map((text) => Buffer.from(`${header} [meta sequenceId="${nextNumber()}"]${own} ${text}`));
}

/** A line that masking made unreadable is sent as it is. */
function parse(line: string): z.output<typeof logRecord> {
  try {
    return logRecord.parse(JSON.parse(line));
  } catch {
    return { level: 'info', time: new Date().toISOString(), msg: line.trim() };
  }
}

/** A field of the header: printable ASCII without blanks, `-` for nothing. */
function field(text: string | undefined, length: number): string {
  return (text ?? '').replace(/[^!-~]+/g, '_').slice(0, length) || '-';
}

/** As many fields as fit, those that say where an event belongs first. */
function structuredData(fields: Readonly<Record<string, unknown>>, roomBytes: number): string {
  const first = ['action', 'workflow', 'task', 'stream'];
  const rank = (name: string) => (first.includes(name) ? first.indexOf(name) : first.length);
  let data = '';
  for (const [name, value] of Object.entries(fields).sort(([a], [b]) => rank(a) - rank(b))) {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    const parameter = ` ${name.replace(/[^!#-<>-\\^-~]/g, '_').slice(0, 32)}="${escaped(text)}"`;
    if (Buffer.byteLength(data + parameter) + structuredDataId.length + 2 <= roomBytes) data += parameter;
  }
  return data === '' ? '' : `[${structuredDataId}${data}]`;
}

/** Section 6.3.3; control characters have no business there, as a receiver writes it all on one line. */
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
