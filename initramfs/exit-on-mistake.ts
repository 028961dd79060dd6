import { OperationError } from '../errors/operation-error.ts';

/** Runs a build. What a person has to change ends it with one line and the exit code 1. */
export async function exitOnMistake(build: () => Promise<void>): Promise<void> {
  try {
    await build();
  } catch (error) {
    if (!(error instanceof OperationError)) throw error;
    process.stderr.write(`error: ${error.message}\n`);
    process.exitCode = 1;
  }
}
