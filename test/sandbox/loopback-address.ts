import { randomInt } from 'node:crypto';
import { engineUnderTest } from './engine-under-test.ts';

/**
 * An address of this machine's loopback network (RFC 1122, section 3.2.1.3) that no other process
 * listens on: a server there may stop and come back on the same port, which on 127.0.0.1 another
 * process may have by then. For Podman one of those that the sandbox makes insecure.
 */
export function loopbackAddress(): string {
  if (engineUnderTest() === 'podman') return `127.77.0.${randomInt(1, 255)}`;
  return `127.${randomInt(1, 255)}.${randomInt(1, 255)}.${randomInt(1, 255)}`;
}
