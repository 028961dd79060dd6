import diagnostics from 'node:diagnostics_channel';
import type { Socket } from 'node:net';

/**
 * The connections that this process makes from now on until this is disposed of. Node publishes
 * each.
 */
export function watchClientSockets(): Disposable & { readonly sockets: readonly Socket[] } {
  const sockets: Socket[] = [];
  const onSocket = (message: unknown) => void sockets.push((message as { readonly socket: Socket }).socket);
  diagnostics.subscribe('net.client.socket', onSocket);
  return { sockets, [Symbol.dispose]: () => void diagnostics.unsubscribe('net.client.socket', onSocket) };
}
