/** A container cannot be made as it is asked for: its settings, its image or the machine are not such. */
export class SpecError extends Error {
  override readonly name = 'SpecError';
  /** What the Docker API answers to such settings. */
  readonly statusCode = 400;
}
