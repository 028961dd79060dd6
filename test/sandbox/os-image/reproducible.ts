import { execa } from 'execa';
import { timestampSeconds } from './recipe.ts';

/** Environment under which tools write the recipe's time instead of the clock's. */
export const fixedTime = {
  SOURCE_DATE_EPOCH: String(timestampSeconds),
  E2FSPROGS_FAKE_TIME: String(timestampSeconds),
};

/** Gives every file below `tree`, links included, the recipe's time. */
export async function resetTimes(tree: string, signal: AbortSignal): Promise<void> {
  await execa('find', [tree, '-exec', 'touch', '--no-dereference', `--date=@${timestampSeconds}`, '{}', '+'], {
    cancelSignal: signal,
  });
}
