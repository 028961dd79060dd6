import { status } from '@grpc/grpc-js';
import { WorkflowServiceDefinition } from '../../../proto/tink.pb.ts';
import { type RpcChannel, RpcError } from './channel.ts';
import { type Dialect, protocolProfiles } from './dialect.ts';

/**
 * Detects the protocol version of a server without effect on it. Each server of v0.1 to v0.12
 * answers the request for workflow contexts under its own name of the service and under no other; a
 * server that answers none is a current one. `GetAction` cannot be used for this: a current server
 * then waits for a minute and may create objects.
 *
 * `v0.2` stands for v0.7 and v0.8 too: they do not differ in what a worker sends.
 *
 * @throws {RpcError} the server is unreachable or refuses the request; the reason of `signal`
 */
export async function detectDialect(channel: RpcChannel, workerId: string, signal: AbortSignal): Promise<Dialect> {
  const asked = new Set<string>();
  for (const { service, dialect } of protocolProfiles) {
    if (asked.has(service)) continue;
    asked.add(service);
    try {
      await channel.collect(service, WorkflowServiceDefinition.methods.getWorkflowContexts, { workerId }, signal);
      return dialect;
    } catch (error) {
      if (!isUnimplemented(error)) throw error;
    }
  }
  return 'current';
}

/** The server has no such service or method: it speaks another dialect. */
export function isUnimplemented(error: unknown): boolean {
  return error instanceof RpcError && error.code === status.UNIMPLEMENTED;
}
