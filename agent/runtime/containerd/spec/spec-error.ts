import { OperationError } from '../../../../errors/operation-error.ts';

/**
 * A container cannot be made as it is specified, because of the specification, its image or the
 * machine.
 */
export class SpecError extends OperationError {
  override readonly name = 'SpecError';
}
