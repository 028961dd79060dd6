import { OperationError } from '../errors/operation-error.ts';

/** A failure of the installer. */
export class InstallError extends OperationError {
  override readonly name: string = 'InstallError';
}
