import { basename } from 'node:path';
import { OperationError } from '../../errors/operation-error.ts';
import { ToolError } from '../../tools/run-tool.ts';
import type { MediaTools } from './media-tools.ts';

/** With which a UEFI program is signed. */
export interface SigningKey {
  /** Path of the private key (PEM). */
  readonly key: string;
  /** Path of its certificate (PEM), which the firmware must have in its signature database `db`. */
  readonly certificate: string;
}

/**
 * Signs a UEFI program, for Secure Boot with a key of the site's own.
 *
 * @param from path of the program
 * @param to path of the signed program
 * @throws {OperationError} the key or the certificate is missing or unusable, or they do not belong
 *   together
 */
export async function sign(from: string, to: string, { key, certificate }: SigningKey, tools: MediaTools) {
  try {
    await tools.run('sbsign', ['--key', key, '--cert', certificate, '--output', to, from]);
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    throw new OperationError({
      ...{ what: 'sign', target: basename(to), why: reason(error), cause: error },
      hint: 'SIGN_KEY is a private key in PEM without a passphrase, SIGN_CERT its certificate in PEM',
    });
  }
}

/** What sbsign says, without OpenSSL's stack of errors. */
function reason({ stderr, why }: ToolError): string {
  const lines = stderr.split('\n').filter((line) => line !== '' && !/^[0-9A-F]+:error:|pass phrase:/.test(line));
  return lines[0] ?? why;
}
