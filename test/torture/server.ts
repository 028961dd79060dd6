/**
 * The fake servers of `test/sandbox/tink-server/` without sockets: requests and answers pass as
 * bytes, in virtual time. The services, their records and their faults are the same. Not
 * reproduced: TLS, the framing of gRPC, `/cert`.
 */
import { type MethodDefinition, status } from '@grpc/grpc-js';
import type { Clock } from '../../clock/clock.ts';
import { createTemplate, createWorkflow, deleteWorkflow, pushHardware } from '../sandbox/tink-server/create.ts';
import { hardwareJson, MACHINE_ONE } from '../sandbox/tink-server/example.ts';
import { RpcFailure, ServerPanic } from '../sandbox/tink-server/failure.ts';
import type { EventRecord, Records, WorkflowRecord } from '../sandbox/tink-server/records.ts';
import { addServices, onKubernetes, type ServerDialect } from '../sandbox/tink-server/services.ts';

type Definition = MethodDefinition<unknown, unknown>;
interface Served {
  readonly definition: Definition;
  readonly handle: (call: Call, respond: (error: unknown, answer: unknown) => void) => void;
}
interface Call {
  readonly request: unknown;
  once(event: 'cancelled', listener: () => void): void;
  write(message: unknown): void;
  end(): void;
  emit(event: 'error', error: unknown): void;
}

/** A call that did not succeed, as the wire carries it. */
export class StatusError extends Error {
  override readonly name = 'StatusError';
  readonly code: status;

  constructor(code: status, details: string) {
    super(details);
    this.code = code;
  }
}

const STORES = {
  'v0.1': { rules: 'v0.1', store: 'postgres' },
  'v0.2': { rules: 'v0.2', store: 'postgres' },
  'v0.7': { rules: 'v0.7', store: 'kubernetes' },
  'v0.9': { rules: 'v0.10', store: 'kubernetes-namespaced' },
  current: { rules: 'v0.10', store: 'kubernetes-status' },
} as const;

/** So long a current server looks for work before it says that there is none. */
const retrySeconds = 60;

export interface SimulatedServerOptions {
  readonly dialect: ServerDialect;
  readonly clock: Clock;
  readonly onEvent: (workflow: WorkflowRecord, event: EventRecord) => void;
  readonly onPanic: (why: string) => void;
}

export class SimulatedServer {
  readonly workerId: string;
  isUp = true;
  readonly #options: SimulatedServerOptions;
  readonly #records: Records = { hardware: [], templates: [], workflows: [] };
  readonly #methods = new Map<string, Served>();
  #stopping = new AbortController();
  /** Settled when the records have changed. */
  #change = Promise.withResolvers<void>();

  constructor(options: SimulatedServerOptions) {
    this.#options = options;
    const { dialect } = options;
    this.workerId = onKubernetes(dialect) ? MACHINE_ONE.mac : pushHardware(this.#records, hardwareJson(MACHINE_ONE));
    const addService = (definitions: Record<string, Definition>, handlers: Record<string, unknown>) => {
      for (const [name, definition] of Object.entries(definitions))
        this.#methods.set(definition.path, { definition, handle: handlers[name] as Served['handle'] });
    };
    addServices({ addService: addService as never } satisfies Parameters<typeof addServices>[0], {
      dialect,
      records: this.#records,
      servesAgain: true,
      oldAnswers: 0,
      around: (_method, _request, handle, cancelled) => this.#attempt(handle, cancelled),
    });
  }

  /**
   * Handles a request to its end.
   * @throws {StatusError}
   */
  async handle(path: string, bytes: Buffer, cancelled: AbortSignal): Promise<readonly Uint8Array[]> {
    const served = this.#methods.get(path);
    if (served === undefined) throw new StatusError(status.UNIMPLEMENTED, `unknown service ${path}`);
    const { definition, handle } = served;
    const { promise, resolve, reject } = Promise.withResolvers<readonly unknown[]>();
    const fail = (error: unknown) => {
      const { code, details } = error as { code: status; details: string };
      reject(new StatusError(code, details));
    };
    const written: unknown[] = [];
    const call: Call = {
      request: definition.requestDeserialize(bytes),
      once: (_event, listener) => cancelled.addEventListener('abort', listener, { once: true }),
      write: (message) => void written.push(message),
      end: () => resolve(written),
      emit: (_event, error) => fail(error),
    };
    const gone = () => reject(new StatusError(status.UNAVAILABLE, 'connection reset by peer'));
    const { signal } = this.#stopping;
    signal.addEventListener('abort', gone, { once: true });
    try {
      handle(call, (error, answer) => (error === null ? resolve([answer]) : fail(error)));
      return (await promise).map((answer) => definition.responseSerialize(answer));
    } finally {
      signal.removeEventListener('abort', gone);
    }
  }

  /** As a killed process: what it handles is not answered. Its records stay. */
  stop(): void {
    this.isUp = false;
    this.#stopping.abort();
    this.#stopping = new AbortController();
  }

  start(): void {
    this.isUp = true;
  }

  /** @returns the id of the workflow */
  createWorkflow(name: string, template: string): string {
    const templateId = createTemplate(this.#records, name, template);
    const options = { templateId, values: JSON.stringify({ one: MACHINE_ONE.mac }), ...STORES[this.#options.dialect] };
    const id = createWorkflow(this.#records, options);
    this.#announce();
    return id;
  }

  deleteWorkflow(id: string): void {
    deleteWorkflow(this.#records, id);
    this.#announce();
  }

  /** Whether a workflow has come to an end, or does not exist. */
  isOver(id: string): boolean {
    const workflow = this.#records.workflows.find((workflow) => workflow.id === id && workflow.deletedAt === undefined);
    if (workflow === undefined) return true;
    const { status: state, current, actions } = workflow;
    if (state !== undefined) return state.state !== 'PENDING' && state.state !== 'RUNNING';
    const { progress, index } = current;
    return progress === 'FAILED' || progress === 'TIMEOUT' || (progress === 'SUCCESS' && index === actions.length - 1);
  }

  #announce(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }

  /** A current server tries again for a minute; nothing but a change makes a difference to that. */
  async #attempt<Response>(handle: () => Response, cancelled: AbortSignal): Promise<Response | undefined> {
    const { clock, dialect } = this.#options;
    const end = clock.monotonicSeconds() + retrySeconds;
    const stopped = this.#stopping.signal;
    for (;;) {
      if (stopped.aborted) return undefined;
      try {
        return this.#handleOnce(handle);
      } catch (error) {
        if (error instanceof ServerPanic) {
          this.#options.onPanic(error.message);
          return undefined;
        }
        if (dialect !== 'current' || cancelled.aborted) throw error;
        const left = end - clock.monotonicSeconds();
        if (left < 1) throw error;
        const over = Promise.withResolvers<void>();
        using _ = clock.schedule(left, over.resolve);
        cancelled.addEventListener('abort', () => over.resolve(), { once: true });
        await Promise.race([this.#change.promise, over.promise]);
        if (cancelled.aborted) throw new RpcFailure(status.CANCELLED, 'the client is gone');
        // Its next attempt comes within a second.
        await clock.wait(0.5);
      }
    }
  }

  #handleOnce<Response>(handle: () => Response): Response {
    const before = this.#records.workflows.map(({ events }) => events.length);
    try {
      return handle();
    } finally {
      let changed = false;
      for (const [index, workflow] of this.#records.workflows.entries()) {
        if (workflow.events.length === before[index]) continue;
        for (const event of workflow.events.slice(before[index])) {
          changed = true;
          this.#options.onEvent(workflow, event);
        }
      }
      if (changed) this.#announce();
    }
  }
}
