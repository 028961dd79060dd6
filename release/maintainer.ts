import { OperationError } from '../errors/operation-error.ts';

/**
 * Checks the maintainer of the Debian packages (Debian Policy, 5.6.2), and warns on standard error
 * of an address that is reserved for examples (RFC 2606).
 * @param given `name <address>`
 * @throws {OperationError} it has another form, or is missing
 */
export function readMaintainer(given = ''): string {
  const address = /^[^<>,"\s][^<>,"\r\n]* <([^<>@\s]+@[^<>@\s]+)>$/.exec(given)?.[1];
  const hint = 'give MAINTAINER="Name <address>"';
  if (address === undefined) {
    const why = 'it is no name with an address';
    throw new OperationError({ what: 'release', target: `packages of the maintainer '${given}'`, why, hint });
  }
  if (address.endsWith('.example'))
    process.stderr.write(`warning: the maintainer of the Debian packages is ${given}, a placeholder: ${hint}\n`);
  return given;
}
