import { onKubernetes, type TinkServer } from '../tink-server/server.ts';

/**
 * Waits until a server of a dialect up to v0.9 has been polled that often from now on, or for the
 * limit, if there is one.
 *
 * @returns how many polls there were
 */
export async function waitForPolls(server: TinkServer, count: number, limitSeconds?: number): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const poll = onKubernetes(server.dialect) ? 'GetWorkflowContexts' : 'GetWorkflowContextList';
  let polls = 0;
  using _ = server.subscribeToCalls((rpc) => {
    if (rpc === poll) polls += 1;
    if (polls === count) resolve();
  });
  const timer = limitSeconds === undefined ? undefined : setTimeout(resolve, limitSeconds * 1000);
  await promise;
  clearTimeout(timer);
  return polls;
}
