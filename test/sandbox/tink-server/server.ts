/**
 * A fake tink server: the same names, numbers, statuses and faults on the wire as the originals,
 * with its records in memory or in a file instead of PostgreSQL.
 *
 * Reproduced of v0.1.0 (the real one was observed, as v0.6.0 and v0.8.0 with PostgreSQL were): TLS
 * always, with `/cert` over HTTP; the stream of contexts is a finite list and hides workflows;
 * RUNNING is not idempotent; task and action names are checked and nothing else; a report on an
 * unknown workflow, or RUNNING after the last action, kills the process; messages over 200
 * characters and worker ids that are no UUID fail after the state has changed; an empty list of
 * contexts cannot be encoded; requests over 4 MiB are refused; unknown workflows have no actions; a
 * workflow's own state is always PENDING. v0.2 to v0.6 differ in names and numbers, know the state
 * of a workflow, and, from v0.5 on, refuse a report on an unknown workflow. v0.7 to v0.12 on
 * Kubernetes: see kubernetes.ts; v0.7 and v0.8 have TLS without `/cert`, later ones none. v0.17 and
 * later: see current.ts; the server itself tries each call again, once a second for a minute, so
 * that a question for work waits until there is some.
 *
 * Not reproduced: the REST gateway, `/metrics`, deadlines of the database, the wording of
 * `UNIMPLEMENTED`.
 */
import { once } from 'node:events';
import type { Server as HttpServer } from 'node:http';
import { type AddressInfo, createServer, type Socket, type Server as SocketServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ConnectionInjector, Server as GrpcServer, ServerCredentials, status } from '@grpc/grpc-js';
import { bracketed } from '../bracketed.ts';
import { type Certificate, createCertificateAuthority } from '../certificates.ts';
import { loopbackAddress } from '../loopback-address.ts';
import { patienceSeconds } from '../patience.ts';
import { type CreateWorkflowOptions, createTemplate, createWorkflow, deleteWorkflow, pushHardware } from './create.ts';
import { RpcFailure, ServerPanic } from './failure.ts';
import { createHttpServer } from './http.ts';
import {
  type EventRecord,
  loadRecords,
  type Progress,
  type Records,
  saveRecords,
  type WorkflowRecord,
} from './records.ts';
import { addServices, onKubernetes, type ServerDialect, stateName } from './services.ts';

export { onKubernetes, SERVER_DIALECTS, type ServerDialect } from './services.ts';

export interface TinkServerOptions {
  /** Default: `v0.1`. */
  readonly dialect?: ServerDialect;
  /** Address to listen on. Default: one in 127.0.0.0/8. */
  readonly address?: string;
  /** Default: a free one, kept across restarts. The original's: 42113. */
  readonly grpcPort?: number;
  /** Default: a free one, kept across restarts. The original's: 42114. */
  readonly httpPort?: number;
  /**
   * Key, certificate and what `/cert` gives out. Default: a new authority signs a certificate for
   * `names`.
   */
  readonly certificate?: ServerCertificate;
  /**
   * Default: as the originals, true up to `v0.7`, false for `v0.9` (which has none) and `current`
   * (which may).
   */
  readonly tls?: boolean;
  /**
   * PEM of the authority that clients must have a certificate of. Default: clients need none,
   * as with the originals.
   */
  readonly clientAuthority?: string;
  /**
   * Of `current`: how often the server tries a call again, and for how long. Default: every second
   * for 60 seconds; v0.17 took 5 minutes.
   */
  readonly retry?: { readonly intervalSeconds: number; readonly limitSeconds: number };
  /**
   * Of `current`: whether an action whose end was never reported is given again. Default: true, as
   * v0.24 and later; false is v0.17 to v0.23.
   */
  readonly servesAgain?: boolean;
  /**
   * Of `v0.7` and `v0.9`: how many calls the server answers from before a change, which the
   * originals do for some milliseconds. Default: none.
   */
  readonly oldAnswers?: number;
  /** Names and addresses of the certificate that is made. Default: the address and `localhost`. */
  readonly names?: readonly [string, ...string[]];
  /** JSON file that keeps all records across restarts of the process. Default: in memory. */
  readonly statePath?: string;
}

export interface ServerCertificate extends Certificate {
  /** PEM given out at `/cert`: the certificate and its authority's, or the certificate alone. */
  readonly bundle: string;
}

/** One row of `tink workflow events`. */
export interface TinkEvent {
  readonly workflowId: string;
  readonly workerId: string;
  readonly taskName: string;
  readonly actionName: string;
  readonly progress: Progress;
  /** The state as this dialect prints it, for example `ACTION_SUCCESS`. */
  readonly status: string;
  readonly seconds: number;
  readonly message: string;
  readonly createdAt: Date;
}

/** What goes wrong with a call; chosen by {@link TinkServer.interfere}. */
export type Interference =
  /** All connections break before the server has seen the call. */
  | { readonly kind: 'lose request' }
  /** The server does what is asked, then all connections break. */
  | { readonly kind: 'lose answer' }
  /** The call waits for this promise before it is handled. */
  | { readonly kind: 'hold'; readonly until: Promise<unknown> }
  /** The call ends with this status; nothing else happens. */
  | { readonly kind: 'fail'; readonly code: status; readonly details: string };

/**
 * @param rpc for example `ReportActionStatus`.
 * @param request the decoded message.
 */
export type Interfere = (rpc: string, request: unknown) => Interference | undefined;

/** Starts a server and waits until it listens. */
export async function startTinkServer(options: TinkServerOptions = {}): Promise<TinkServer> {
  const address = options.address ?? loopbackAddress();
  const certificate = options.certificate ?? (await makeCertificate(options.names ?? [address, 'localhost']));
  const server = new TinkServer(options, address, certificate);
  await server.start();
  return server;
}

/** Makes an authority and a certificate signed by it, as the originals' set-up does. */
export async function makeCertificate(names: readonly [string, ...string[]]): Promise<ServerCertificate> {
  const authority = await createCertificateAuthority('tinkerbell');
  const leaf = await authority.issue(names);
  return { ...leaf, bundle: leaf.certificate + authority.certificate };
}

const STORES: Readonly<Record<ServerDialect, Pick<CreateWorkflowOptions, 'rules' | 'store'>>> = {
  'v0.1': { rules: 'v0.1', store: 'postgres' },
  'v0.2': { rules: 'v0.2', store: 'postgres' },
  'v0.7': { rules: 'v0.7', store: 'kubernetes' },
  'v0.9': { rules: 'v0.10', store: 'kubernetes-namespaced' },
  current: { rules: 'v0.10', store: 'kubernetes-status' },
};

export class TinkServer implements AsyncDisposable {
  readonly dialect: ServerDialect;
  /** Decides what goes wrong with each call. `undefined`: nothing does. */
  interfere: Interfere | undefined;
  /**
   * Why the process died, once it has: what Go prints after `panic: `. Cleared by {@link start}.
   */
  panic: string | undefined;

  readonly #options: TinkServerOptions;
  readonly address: string;
  readonly #records: Records;
  /** How many events of a workflow the listeners know. */
  readonly #announced: Map<WorkflowRecord, number>;
  readonly #listeners = new Set<(event: TinkEvent) => void>();
  readonly #callListeners = new Set<(rpc: string, request: unknown) => void>();
  readonly #connections = new Set<Socket>();
  #certificate: ServerCertificate;
  #certificateChangedAt = new Date();
  #ports: { readonly grpc: number; readonly http: number };
  #running: { grpc: GrpcServer; injector: ConnectionInjector; sockets: SocketServer; http: HttpServer } | undefined;
  #died = Promise.withResolvers<string>();
  #stopped: Promise<unknown> = Promise.resolve();
  #stopping = new AbortController();

  constructor(options: TinkServerOptions, address: string, certificate: ServerCertificate) {
    this.dialect = options.dialect ?? 'v0.1';
    this.#options = options;
    this.address = address;
    this.#certificate = certificate;
    this.#records = loadRecords(options.statePath);
    this.#announced = new Map(this.#records.workflows.map((workflow) => [workflow, workflow.events.length]));
    this.#ports = { grpc: options.grpcPort ?? 0, http: options.httpPort ?? 0 };
  }

  /** `host:port` for TINKERBELL_GRPC_AUTHORITY. */
  get authority(): string {
    return `${bracketed(this.address)}:${this.#ports.grpc}`;
  }

  /** Of the plain HTTP side, without a slash at the end. */
  get httpUrl(): string {
    return `http://${bracketed(this.address)}:${this.#ports.http}`;
  }

  /** For TINKERBELL_CERT_URL. */
  get certificateUrl(): string {
    return `${this.httpUrl}/cert`;
  }

  get tls(): boolean {
    return this.#options.tls ?? (this.dialect !== 'v0.9' && this.dialect !== 'current');
  }

  /** What TLS shows, and by what to trust it. */
  get certificate(): ServerCertificate {
    return this.#certificate;
  }

  /** Resolves with the reason when the process dies of a fault of its own. */
  get died(): Promise<string> {
    return this.#died.promise;
  }

  /**
   * Starts listening, again on the same ports after {@link stop} or after it died, with everything
   * it knew.
   */
  async start(): Promise<void> {
    if (this.#running) return;
    await this.#stopped;
    this.panic = undefined;
    this.#died = Promise.withResolvers<string>();
    const grpc = new GrpcServer({
      'grpc.max_receive_message_length': 4 * 1024 ** 2,
      'grpc.max_send_message_length': -1,
    });
    this.#stopping = new AbortController();
    addServices(grpc, {
      dialect: this.dialect,
      records: this.#records,
      servesAgain: this.#options.servesAgain ?? true,
      oldAnswers: this.#options.oldAnswers ?? 0,
      around: (method, request, handle, cancelled) => this.#around(method, request, handle, cancelled),
    });
    const injector = grpc.createConnectionInjector(this.#credentials());
    const sockets = createServer((socket) => {
      this.#track(socket);
      injector.injectConnection(socket);
    });
    const http = createHttpServer({
      certificate: () =>
        onKubernetes(this.dialect)
          ? undefined
          : { pem: this.#certificate.bundle, changedAt: this.#certificateChangedAt },
      events: (id) => this.#describe(id),
    });
    http.on('connection', (socket) => this.#track(socket));
    this.#ports = {
      grpc: await listen(sockets, this.#ports.grpc, this.address),
      http: await listen(http, this.#ports.http, this.address),
    };
    this.#running = { grpc, injector, sockets, http };
  }

  /** Ends at once, as a killed process: every connection is reset. The records stay. */
  async stop(): Promise<void> {
    const running = this.#running;
    if (running) {
      this.#running = undefined;
      this.#stopping.abort();
      this.#stopped = Promise.all([once(running.sockets, 'close'), once(running.http, 'close')]);
      running.sockets.close();
      running.http.close();
      this.#breakConnections();
      running.grpc.forceShutdown();
    }
    await this.#stopped;
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Takes another certificate, with a restart, as the originals need it too. */
  async changeCertificate(certificate: ServerCertificate): Promise<void> {
    await this.stop();
    this.#certificate = certificate;
    this.#certificateChangedAt = new Date();
    await this.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /**
   * @param json as `tink hardware push` takes it.
   * @returns the id: the machine's worker id.
   */
  pushHardware(json: unknown): string {
    return this.#change(() => pushHardware(this.#records, json));
  }

  /**
   * @param data YAML with variables.
   * @returns the template's id.
   */
  createTemplate(name: string, data: string): string {
    return this.#change(() => createTemplate(this.#records, name, data));
  }

  /**
   * @param values of the template's variables.
   * @returns the workflow's id.
   */
  createWorkflow(templateId: string, values: Readonly<Record<string, string>>): string {
    return this.#change(() =>
      createWorkflow(this.#records, {
        templateId,
        values: JSON.stringify(values),
        ...STORES[this.dialect],
      }),
    );
  }

  /** The commands of a workflow's actions, in order, as agents get them. */
  commands(workflowId: string): readonly (readonly string[])[] {
    const workflow = this.#records.workflows.find(({ id }) => id === workflowId);
    return (workflow?.actions ?? []).map(({ command }) => command);
  }

  deleteWorkflow(workflowId: string): void {
    this.#change(() => deleteWorkflow(this.#records, workflowId));
  }

  /** Of all workflows that were not deleted, in the order of their creation. */
  workflowIds(): readonly string[] {
    return this.#records.workflows.filter(({ deletedAt }) => deletedAt === undefined).map(({ id }) => id);
  }

  /** What was reported of a workflow, oldest first; of a deleted one too. */
  events(workflowId: string): readonly TinkEvent[] {
    const workflow = this.#records.workflows.find(({ id }) => id === workflowId);
    return (workflow?.events ?? []).map((event) => this.#toEvent(event));
  }

  /**
   * What a `current` server shows of a workflow.
   * @throws {Error} there is none
   */
  status(workflowId: string): NonNullable<WorkflowRecord['status']> {
    const status = this.#records.workflows.find(({ id }) => id === workflowId)?.status;
    if (status === undefined) throw new Error(`workflow ${workflowId} has no status`);
    return structuredClone(status);
  }

  /** Calls `listener` with each event from now on, until disposed. */
  subscribe(listener: (event: TinkEvent) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /**
   * Calls `listener` with each RPC that arrives from now on, before it is handled, until disposed.
   */
  subscribeToCalls(listener: (rpc: string, request: unknown) => void): Disposable {
    this.#callListeners.add(listener);
    return { [Symbol.dispose]: () => this.#callListeners.delete(listener) };
  }

  /**
   * Waits until the events of a workflow satisfy `wanted`, and returns them.
   * @throws {Error} they did not within `timeoutSeconds`; the reason of the signal
   */
  async waitFor(
    workflowId: string,
    wanted: (events: readonly TinkEvent[]) => boolean,
    timeoutSeconds = patienceSeconds,
    signal?: AbortSignal,
  ): Promise<readonly TinkEvent[]> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const stop = () => reject(signal?.reason);
    signal?.addEventListener('abort', stop, { once: true });
    const check = () => {
      if (wanted(this.events(workflowId))) resolve();
    };
    using _ = this.subscribe(check);
    const giveUp = () => {
      const seen = this.events(workflowId).map(({ actionName, status }) => `${actionName} ${status}`);
      reject(
        new Error(
          `waited ${timeoutSeconds} s without result; workflow ${workflowId} has: ${seen.join(', ') || 'no event'}`,
        ),
      );
    };
    // A timer that is never to end would end at once.
    const timer = Number.isFinite(timeoutSeconds) ? setTimeout(giveUp, timeoutSeconds * 1000) : undefined;
    try {
      check();
      await promise;
      return this.events(workflowId);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
    }
  }

  async #around<Response>(
    rpc: string,
    request: unknown,
    handle: () => Response,
    cancelled: AbortSignal,
  ): Promise<Response | undefined> {
    for (const listener of this.#callListeners) listener(rpc, request);
    const interference = this.interfere?.(rpc, request);
    if (interference?.kind === 'fail') throw new RpcFailure(interference.code, interference.details);
    if (interference?.kind === 'hold') await interference.until;
    if (interference?.kind === 'lose request') {
      this.#breakConnections();
      return undefined;
    }
    try {
      const response = await this.#attempt(handle, cancelled);
      if (interference?.kind !== 'lose answer') return response;
      this.#breakConnections();
    } catch (error) {
      if (!(error instanceof ServerPanic)) throw error;
      this.#die(error.message);
    }
    return undefined;
  }

  /**
   * The last error of a `current` server comes when its time limit is over; of all others, the
   * first and at once.
   */
  async #attempt<Response>(handle: () => Response, cancelled: AbortSignal): Promise<Response> {
    const { intervalSeconds, limitSeconds } = this.#options.retry ?? { intervalSeconds: 1, limitSeconds: 60 };
    const end = performance.now() + limitSeconds * 1000;
    const signal = AbortSignal.any([cancelled, this.#stopping.signal]);
    for (;;) {
      try {
        if (signal.aborted) throw new RpcFailure(status.UNAVAILABLE, 'server shutting down');
        return this.#change(handle);
      } catch (error) {
        const isLast = performance.now() + intervalSeconds * 1000 > end;
        if (this.dialect !== 'current' || signal.aborted || isLast) throw error;
      }
      await sleep(intervalSeconds * 1000, undefined, { signal }).catch(() => {});
    }
  }

  /**
   * Runs something that may change the records; keeps them and announces new events even if
   * it throws, because changes stay then too.
   */
  #change<Result>(change: () => Result): Result {
    try {
      return change();
    } finally {
      saveRecords(this.#options.statePath, this.#records);
      this.#announce();
    }
  }

  /** Looks at each workflow, but only at its new events: there may be thousands of both. */
  #announce(): void {
    for (const workflow of this.#records.workflows) {
      const { events } = workflow;
      const announced = this.#announced.get(workflow) ?? 0;
      if (events.length === announced) continue;
      this.#announced.set(workflow, events.length);
      for (const event of events.slice(announced)) {
        for (const listener of this.#listeners) listener(this.#toEvent(event));
      }
    }
  }

  #toEvent(event: EventRecord): TinkEvent {
    return { ...event, status: stateName(this.dialect, event.progress), createdAt: new Date(event.createdAt) };
  }

  #describe(workflowId: string): unknown {
    const workflow = this.#records.workflows.find(({ id }) => id === workflowId);
    return workflow && { workflowId, state: workflow.current.progress, events: this.events(workflowId) };
  }

  #die(reason: string): void {
    this.panic = reason;
    this.#died.resolve(reason);
    void this.stop();
  }

  #credentials(): ServerCredentials {
    if (!this.tls) return ServerCredentials.createInsecure();
    const { certificate, key } = this.#certificate;
    const pair = { cert_chain: Buffer.from(certificate), private_key: Buffer.from(key) };
    const { clientAuthority } = this.#options;
    if (clientAuthority === undefined) return ServerCredentials.createSsl(null, [pair]);
    return ServerCredentials.createSsl(Buffer.from(clientAuthority), [pair], true);
  }

  #track(socket: Socket): void {
    this.#connections.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => this.#connections.delete(socket));
  }

  #breakConnections(): void {
    for (const socket of this.#connections) socket.resetAndDestroy();
  }
}

async function listen(server: SocketServer, port: number, address: string): Promise<number> {
  server.listen(port, address);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}
