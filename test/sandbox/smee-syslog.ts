/**
 * The syslog receiver of Tinkerbell's Smee, as smee/internal/syslog has it (v0.9 of Smee and
 * current Tinkerbell). Reproduced:
 *
 * - UDP only; one datagram is one message.
 * - The priority is `<`, digits and `>` within the first five bytes. Anything else is unparseable.
 * - `1 ` after it means RFC 5424: time, host, application, process and message ID with one space
 *   between them; `-` is nothing. The time is at most 32 bytes of RFC 3339 with a fraction. The
 *   structured data must be `-` and a space; a message with others is unparseable.
 * - Everything else is RFC 3164, but without a host name: after the time, if there is one, comes
 *   the tag, of letters, digits, `-`, `_`, `/` and `.`, with the process ID in brackets; `: ` after
 *   it is dropped. What is a host name to others is the tag here.
 * - A text that is a JSON object is logged as such.
 * - Messages of severity 7 (debug) and unparseable ones are logged at verbosity 1, which the usual
 *   log level of 0 does not show.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';

/** What Smee logs of a message. */
export interface SmeeRecord {
  readonly facility: number;
  readonly severity: number;
  readonly hostname?: string | undefined;
  readonly application?: string | undefined;
  readonly processId?: string | undefined;
  readonly messageId?: string | undefined;
  readonly message: unknown;
}

/** `undefined`: unparseable. */
export function parseAsSmee(datagram: string): SmeeRecord | undefined {
  const [, digits, rest = ''] = /^<(\d{0,3})>(.*)$/s.exec(datagram) ?? [];
  if (digits === undefined) return undefined;
  const priority = { facility: Math.floor(Number(digits) / 8), severity: Number(digits) % 8 };
  return rest.startsWith('1 ') ? parseCurrent(rest.slice(2), priority) : parseLegacy(rest, priority);
}

type Priority = Pick<SmeeRecord, 'facility' | 'severity'>;

function parseCurrent(text: string, priority: Priority): SmeeRecord | undefined {
  const [, time = '', hostname, application, processId, messageId, rest = ''] =
    /^([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*) (.*)$/s.exec(text) ?? [];
  const isTime =
    time === '-' || (time.length <= 32 && /^\d{4}(-\d\d){2}T(\d\d:){2}\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(time));
  if (!isTime || !rest.startsWith('- ')) return undefined;
  const known = (value: string | undefined) => (value === '-' ? undefined : value);
  return {
    ...priority,
    hostname: known(hostname),
    application: known(application),
    processId: known(processId),
    messageId: known(messageId),
    message: asJson(rest.slice(2)),
  };
}

function parseLegacy(text: string, priority: Priority): SmeeRecord {
  const afterTime = text.replace(/^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d /, '');
  const [, application, processId, rest = ''] = /^([\w/.-]*)(?:\[([^\]]*)\])?(.*)$/s.exec(afterTime) ?? [];
  return { ...priority, application, processId, message: asJson(rest.replace(/^: /, '')) };
}

function asJson(text: string): unknown {
  if (!text.startsWith('{')) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export interface SmeeSyslog extends AsyncDisposable {
  readonly port: number;
  /** What its log shows at the usual level. */
  readonly shown: readonly SmeeRecord[];
  /** What it does not show. */
  readonly hidden: readonly string[];
  /** Resolves when it has got a message that ends so. */
  receivedUntil(text: string): Promise<void>;
}

export async function startSmeeSyslog(): Promise<SmeeSyslog> {
  const shown: SmeeRecord[] = [];
  const hidden: string[] = [];
  const all: string[] = [];
  const socket = createSocket('udp4', (datagram) => {
    const text = datagram.toString();
    const record = parseAsSmee(text);
    all.push(text);
    if (record === undefined || record.severity === 7) hidden.push(text);
    else shown.push(record);
    socket.emit('kept');
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return {
    port: socket.address().port,
    shown,
    hidden,
    async receivedUntil(text) {
      while (!all.some((one) => one.endsWith(text))) await once(socket, 'kept');
    },
    async [Symbol.asyncDispose]() {
      const closed = once(socket, 'close');
      socket.close();
      await closed;
    },
  };
}
