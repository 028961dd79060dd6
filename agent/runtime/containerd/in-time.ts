import type { Clock } from '../../../clock/clock.ts';

/**
 * Whether a promise is fulfilled in time.
 * @throws what it is rejected with
 */
export async function isInTime(clock: Clock, awaited: Promise<unknown>, seconds: number): Promise<boolean> {
  const late = Promise.withResolvers<false>();
  using _ = clock.schedule(seconds, () => late.resolve(false));
  return await Promise.race([awaited.then(() => true), late.promise]);
}
