import { onKubernetes, type TinkServer } from '../tink-server/server.ts';

/** Waits until a server of a dialect up to v0.9 has been polled that often from now on. */
export async function waitForPolls(server: TinkServer, count: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const poll = onKubernetes(server.dialect) ? 'GetWorkflowContexts' : 'GetWorkflowContextList';
  let polls = 0;
  using _ = server.subscribeToCalls((rpc) => {
    if (rpc === poll) polls += 1;
    if (polls >= count) resolve();
  });
  await promise;
}
