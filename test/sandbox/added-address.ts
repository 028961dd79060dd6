import { randomInt } from 'node:crypto';
import { execa } from 'execa';

/** An address of this machine alone, on its loopback interface. */
export interface LoopbackAddress extends AsyncDisposable {
  readonly address: string;
}

/**
 * Adds an address to the loopback interface, from the range for tests (RFC 2544). Unlike those in
 * 127.0.0.0/8 the Docker Engine does not take it for secure by itself: it looks at certificates.
 */
export async function addLoopbackAddress(): Promise<LoopbackAddress> {
  const address = `198.18.${randomInt(1, 255)}.${randomInt(1, 255)}`;
  await execa('ip', ['address', 'add', `${address}/32`, 'dev', 'lo']);
  return {
    address,
    async [Symbol.asyncDispose]() {
      await execa('ip', ['address', 'delete', `${address}/32`, 'dev', 'lo']);
    },
  };
}
