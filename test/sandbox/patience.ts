/**
 * After this time without the awaited event a test fails, in seconds. It is there to name what
 * hangs, and far more than anything takes on a busy machine.
 */
export const patienceSeconds = 900;
