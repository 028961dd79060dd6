import { once } from 'node:events';
import { isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Clock } from '../../../clock/clock.ts';
import { startDeadline } from '../../../clock/deadline.ts';
import { formatAuthority, splitAuthority, withoutBrackets } from '../../../net/authority.ts';
import { connectTcp } from '../../../net/connect.ts';
import { type ProxyRules, targetOf } from '../../../net/proxy.ts';
import { openTunnel } from '../../../net/tunnel.ts';

/** What the certificate of a server says of itself; nothing of it is verified. */
export interface ServerCertificate {
  /** Common name, else the alternative names. */
  readonly subject: string;
  readonly validFrom: Date;
  readonly validUntil: Date;
}

const timeoutSeconds = 10;

/**
 * Reads the certificate that a server shows. Nothing is sent but the handshake.
 * @returns `undefined`: there was no handshake in time
 * @throws the reason of `signal`
 */
export async function readServerCertificate(
  { authority, proxy, clock }: { readonly authority: string; readonly proxy: ProxyRules; readonly clock: Clock },
  signal: AbortSignal,
): Promise<ServerCertificate | undefined> {
  using deadline = startDeadline(clock, { seconds: timeoutSeconds, awaited: 'certificate' }, signal);
  const { host, port = 443 } = splitAuthority(authority);
  const way = proxy({ protocol: 'https:', host, port });
  const place = way === undefined ? { host, port } : { host: withoutBrackets(way.hostname), port: targetOf(way).port };
  let socket: Socket | undefined;
  const stop = () => void socket?.destroy();
  deadline.signal.addEventListener('abort', stop, { once: true });
  try {
    socket = await connectTcp(place, deadline.signal, { clock });
    const connection = way === undefined ? socket : await openTunnel(socket, way, formatAuthority({ host, port }));
    const secured = connectTls({
      ...{ socket: connection, rejectUnauthorized: false, ALPNProtocols: ['h2'] },
      ...(isIP(host) === 0 && { servername: host }),
    });
    secured.on('error', () => {});
    await Promise.race([
      once(secured, 'secureConnect', { signal: deadline.signal }),
      once(secured, 'close').then(() => Promise.reject(new Error('the connection was closed'))),
    ]);
    const { subject, subjectaltname, valid_from: from, valid_to: to } = secured.getPeerCertificate();
    const name = [subject?.CN ?? subjectaltname ?? 'no name'].flat().join(', ');
    return { subject: name, validFrom: new Date(from), validUntil: new Date(to) };
  } catch {
    signal.throwIfAborted();
    return undefined;
  } finally {
    deadline.signal.removeEventListener('abort', stop);
    stop();
  }
}
