import { InstallError } from '../errors.ts';

/** A configuration given by the person is not usable, or could not be put on the disk. */
export class ConfigurationError extends InstallError {
  override readonly name: string = 'ConfigurationError';
}
