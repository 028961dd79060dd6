import { OperationError } from '../errors/operation-error.ts';

/** A failure of the installer. */
export class InstallError extends OperationError {
  override readonly name: string = 'InstallError';
}

/** A signature is none, or none by a trusted key of what was signed. */
export class UntrustedError extends InstallError {
  override readonly name: string = 'UntrustedError';
}

/** No key that is known made the signature. */
export class UnknownSignerError extends UntrustedError {
  override readonly name = 'UnknownSignerError';
}
