import { isIP } from 'node:net';
import tls from 'node:tls';
import type { Clock } from '../clock/clock.ts';
import { within } from '../clock/within.ts';
import { formatAuthority } from './authority.ts';

/** A server's certificate is not valid yet by the clock of this machine. */
export class CertificateNotYetValidError extends Error {
  override readonly name = 'CertificateNotYetValidError';
  /** As in Node's errors of TLS. */
  readonly code = 'CERT_NOT_YET_VALID';
}

const certificateTimeoutSeconds = 5;

/**
 * Whether a connection failed because a certificate is not valid yet: in Node's words, or in those
 * of a program in Go.
 */
export function isNotYetValid(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ('code' in error && error.code === 'CERT_NOT_YET_VALID') return true;
  if (/certificate is not yet valid/i.test(error.message) || timesOfGo(error.message) !== undefined) return true;
  return isNotYetValid(error.cause);
}

/**
 * Explains such a failure: the time of the clock, the time from which the certificate is valid, and
 * what to do. The certificate is requested once more, because the failed connection does not keep
 * it. If the server cannot be reached directly, as behind a proxy, the message does not have that
 * time.
 *
 * @param server of the failed connection
 */
export async function explainNotYetValid(
  cause: unknown,
  server: { readonly host: string; readonly port: number },
  clock: Clock,
  signal: AbortSignal,
): Promise<CertificateNotYetValidError> {
  const name = formatAuthority(server);
  const limit = { seconds: certificateTimeoutSeconds, awaited: 'certificate' };
  const read = (limited: AbortSignal) => readValidFrom(server, limited);
  const validFrom = await within(clock, limit, signal, read).catch(() => undefined);
  signal.throwIfAborted();
  const key = `${name} ${validFrom?.getTime()}`;
  const message = explanations.get(key) ?? describeWrongClock(name, validFrom, clock.now());
  explanations.set(key, message);
  return new CertificateNotYetValidError(message, { cause });
}

/**
 * By server and time: the clock stands in them as it was at the first failure, so that those who
 * try again have the same text each time.
 */
const explanations = new Map<string, string>();

/**
 * One sentence for people.
 * @param now what the clock shows
 */
export function describeWrongClock(server: string, validFrom: Date | undefined, now: Date): string {
  const from = validFrom === undefined ? 'is not valid yet' : `is valid from ${shown(validFrom)}`;
  return `the clock is wrong: it shows ${shown(now)}; the certificate of ${server} ${from} (set the clock of the machine, or give it a time server by DHCP option 42 or ntp_servers= on the kernel command line)`;
}

/**
 * The two times in the words of a program in Go: "x509: certificate has expired or is not yet
 * valid: current time … is before …".
 */
export function timesOfGo(message: string): { readonly now: Date; readonly validFrom: Date } | undefined {
  const [, now = '', validFrom = ''] = /not yet valid: current time (\S+) is before (\d\S+Z)/.exec(message) ?? [];
  const times = { now: new Date(now), validFrom: new Date(validFrom) };
  return Number.isNaN(times.now.getTime() + times.validFrom.getTime()) ? undefined : times;
}

/** The latest beginning of all certificates in the chain: only then all are valid. */
async function readValidFrom(
  { host, port }: { readonly host: string; readonly port: number },
  signal: AbortSignal,
): Promise<Date | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<Date | undefined>();
  // Nothing is sent, and nothing is believed but a time.
  const socket = tls.connect({ host, port, rejectUnauthorized: false, ...(isIP(host) === 0 && { servername: host }) });
  const giveUp = () => reject(signal.reason);
  signal.addEventListener('abort', giveUp, { once: true });
  socket.once('error', reject);
  socket.once('secureConnect', () => resolve(latestBeginning(socket)));
  try {
    return await promise;
  } finally {
    signal.removeEventListener('abort', giveUp);
    socket.on('error', () => {}); // Destroying it may raise one more error.
    socket.destroy();
  }
}

function latestBeginning(socket: tls.TLSSocket): Date | undefined {
  const times: number[] = [];
  const seen = new Set<string>();
  for (let one = socket.getPeerCertificate(true); one?.fingerprint256 && !seen.has(one.fingerprint256); ) {
    seen.add(one.fingerprint256);
    times.push(Date.parse(one.valid_from));
    one = one.issuerCertificate;
  }
  return times.length === 0 ? undefined : new Date(Math.max(...times));
}

function shown(time: Date): string {
  return `${time.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}
