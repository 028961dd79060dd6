import { status } from '@grpc/grpc-js';
import { WorkflowServiceDefinition } from '../../../proto/tink.pb.ts';
import { type Channel, RpcError } from './channel.ts';
import { type Dialect, protocolProfiles } from './dialect.ts';

/**
 * Finds out which generation of the protocol a server speaks, without effect on it: each server of
 * v0.1 to v0.12 answers to the question for contexts under its own name of the service, and to no
 * other; whoever answers to none is taken for a current one. `GetAction` itself would be no
 * question but an order: a current server then waits for a minute, and may create things.
 *
 * `v0.2` stands for v0.7 and v0.8 too, which differ in nothing that a worker sends.
 *
 * @throws {RpcError} the server cannot be asked, or has an objection of its own; the reason of
 *   `signal` when that is aborted.
 */
export async function detectDialect(channel: Channel, workerId: string, signal: AbortSignal): Promise<Dialect> {
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
