import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

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
  const socket = connect(place);
  const stop = () => socket.destroy();
  signal.addEventListener('abort', stop, { once: true });
  try {
    await once(socket, 'connect', { signal });
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
