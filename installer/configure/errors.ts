import { InstallError } from '../errors.ts';

/** A given configuration is not usable, or could not be written to the disk. */
export class ConfigurationError extends InstallError {
  override readonly name: string = 'ConfigurationError';
}
