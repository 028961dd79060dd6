import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { connectTcp } from '../../../net/connect.ts';

/**
 * Whether a server at an address speaks TLS, with any certificate. Nothing is sent but the
 * handshake.
 *
 * @param place `host` without brackets
 * @param prepare makes of the connection the one to speak on, for example through a proxy
 * @param signal ends the attempt; then the answer is no
 */
export async function speaksTls(
  place: { readonly host: string; readonly port: number },
  prepare: (socket: Socket) => Promise<Socket>,
  signal: AbortSignal,
): Promise<boolean> {
  let socket: Socket | undefined;
  const stop = () => void socket?.destroy();
  signal.addEventListener('abort', stop, { once: true });
  try {
    socket = await connectTcp(place, signal);
    const secured = connectTls({ socket: await prepare(socket), rejectUnauthorized: false, ALPNProtocols: ['h2'] });
    await Promise.race([
      once(secured, 'secureConnect', { signal }),
      once(secured, 'close').then(() => Promise.reject()),
    ]);
    return true;
  } catch {
    return false;
  } finally {
    signal.removeEventListener('abort', stop);
    stop();
  }
}
