import type { Readable } from 'node:stream';
import { z } from 'zod';
import type { RegistryLogin } from '../../../registry/login.ts';
import type { ContainerSpec } from '../container-spec.ts';
import type { ContainerDetails, ContainerSummary } from '../container-state.ts';
import type { ContainerEvent, Engine, EventFilter, Output, PullProgress } from '../engine.ts';
import { EngineError, type EngineFailure, isEngineError } from '../engine-error.ts';
import { abortable } from './abortable.ts';
import { withAcceptedCapabilities } from './accepted-capabilities.ts';
import { createDockerClient, type DockerClient } from './client.ts';
import { containerDetails, containerList } from './container-responses.ts';
import { createOptions, sharesNetwork } from './create-options.ts';
import { type DialRequest, dial } from './dial.ts';
import { type Operation, request, statusOf, toEngineError } from './engine-error.ts';
import { containerEvents, eventParameters } from './events.ts';
import { demultiplex } from './frames.ts';
import { loadImages } from './load-images.ts';
import { canMakeNetworks, isPodman } from './podman.ts';
import { isInvalidName, pullImage } from './pull.ts';
import { waitForExit } from './wait.ts';

/**
 * The Docker Engine API, or what answers it. Nothing is sent yet.
 * @param host `unix:///path`, `tcp://host:port`, `http://host:port` or the path of a socket.
 */
export function createDockerEngine(host: string): Engine {
  return new DockerEngine(createDockerClient(host));
}

class DockerEngine implements Engine {
  readonly #client: DockerClient;
  /**
   * `undefined`: not asked since the engine was away, which may have come back with another
   * configuration.
   */
  #knownLogDriver: { readonly name: string | undefined } | undefined;
  /** Capabilities that the engine has refused to drop since then. */
  readonly #refusedCapabilities = new Set<string>();

  constructor(client: DockerClient) {
    this.#client = client;
  }

  async ping(signal: AbortSignal): Promise<void> {
    this.#knownLogDriver = undefined;
    this.#refusedCapabilities.clear();
    await request({ what: 'reach', target: 'the engine' }, () => dial(this.#docker, ping, signal));
  }

  async listContainers(labels: readonly string[], abortSignal: AbortSignal): Promise<readonly ContainerSummary[]> {
    const filters = { label: [...labels] };
    const operation = { what: 'list', target: 'the containers' };
    return await read(operation, containerList, () => this.#docker.listContainers({ all: true, filters, abortSignal }));
  }

  async createContainer(spec: ContainerSpec, abortSignal: AbortSignal): Promise<string> {
    const meanings: Operation['meanings'] = { 409: 'name-taken' };
    const operation: Operation = { what: 'create', target: `the container ${spec.name}`, meanings, meaningsOfWords };
    return await request(operation, async () => {
      const joinsHostname = sharesNetwork(spec) && (await isPodman(this.#docker, abortSignal));
      const options = await createOptions(spec, await this.#logDriver(abortSignal), joinsHostname);
      const { id } = await withAcceptedCapabilities(options.HostConfig ?? {}, this.#refusedCapabilities, (HostConfig) =>
        this.#docker.createContainer({ ...options, HostConfig, abortSignal }),
      );
      return id;
    });
  }

  async inspectContainer(container: string, abortSignal: AbortSignal): Promise<ContainerDetails> {
    const operation = onContainer('inspect', container);
    return await read(operation, containerDetails, () => this.#container(container).inspect({ abortSignal }));
  }

  async startContainer(id: string, abortSignal: AbortSignal): Promise<void> {
    await request(onContainer('start', id), () => this.#container(id).start({ abortSignal }));
  }

  async attach(id: string, abortSignal: AbortSignal): Promise<Output> {
    const operation = onContainer('read the output of', id);
    // Without `stdin: false`, Podman passes the body of the request to the container. A container
    // that exits before it has read it ends the connection with an error, and output is lost.
    const parameters = { stream: true, stdin: false, stdout: true, stderr: true, abortSignal };
    const source = await request(operation, () => this.#container(id).attach(parameters));
    return readParts(operation, demultiplex(source as unknown as Readable), abortSignal);
  }

  async followLog(id: string, since: Date, abortSignal: AbortSignal): Promise<Output | undefined> {
    const operation = onContainer('read the log of', id);
    const parameters = {
      follow: true as const,
      stdout: true,
      stderr: true,
      since: since.getTime() / 1000,
      abortSignal,
    };
    try {
      const source = await this.#container(id).logs(parameters);
      return readParts(operation, demultiplex(source as Readable), abortSignal);
    } catch (error) {
      if (error instanceof Error && /does not support reading/.test(error.message)) return undefined;
      throw toEngineError(operation, error);
    }
  }

  async waitForExit(id: string, signal: AbortSignal): Promise<number | undefined> {
    return await request(onContainer('wait for', id), () => waitForExit(this.#docker, id, signal));
  }

  async stopContainer(id: string, graceSeconds: number, abortSignal: AbortSignal): Promise<void> {
    const parameters = { t: Math.ceil(graceSeconds), abortSignal };
    await request(onContainer('stop', id, { 304: 'not-running' }), () => this.#container(id).stop(parameters));
  }

  async removeContainer(id: string, abortSignal: AbortSignal): Promise<void> {
    const parameters = { force: true, v: true, abortSignal };
    await request(onContainer('remove', id, { 409: 'being-removed' }), () => this.#container(id).remove(parameters));
  }

  async events(filter: EventFilter, abortSignal: AbortSignal): Promise<AsyncIterable<ContainerEvent>> {
    const operation = onContainer('read the events of', filter.container);
    const parameters = { ...eventParameters(filter), abortSignal };
    const source = await request(operation, () => this.#docker.getEvents(parameters));
    return readParts(operation, containerEvents(source as Readable), abortSignal);
  }

  async hasImage(name: string, signal: AbortSignal): Promise<boolean> {
    try {
      await dial(this.#docker, inspectImage(name), signal);
      return true;
    } catch (error) {
      if (statusOf(error) === 404) return false;
      const failure = toEngineError({ what: 'look for', target: `the image ${name}` }, error);
      if (isEngineError(failure) && isInvalidName(failure.why)) return false;
      throw failure;
    }
  }

  async pullImage(
    name: string,
    login: RegistryLogin | undefined,
    signal: AbortSignal,
  ): Promise<AsyncIterable<PullProgress>> {
    return await pullImage(this.#docker, name, login, signal);
  }

  async loadImages(path: string, signal: AbortSignal): Promise<readonly string[]> {
    return await loadImages(this.#docker, path, signal);
  }

  async hasDefaultNetwork(abortSignal: AbortSignal): Promise<boolean> {
    const filters = { driver: ['bridge'] };
    return await request({ what: 'list', target: 'the networks' }, async () => {
      const bridges = await this.#docker.listNetworks({ filters, abortSignal });
      if (bridges.length === 0) return false;
      return !(await isPodman(this.#docker, abortSignal)) || (await canMakeNetworks(this.#docker, abortSignal));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client[Symbol.dispose]();
  }

  get #docker() {
    return this.#client.docker;
  }

  #container(id: string) {
    return this.#docker.getContainer(id);
  }

  async #logDriver(signal: AbortSignal): Promise<string | undefined> {
    this.#knownLogDriver ??= { name: engineInformation.parse(await dial(this.#docker, info, signal)).LoggingDriver };
    return this.#knownLogDriver.name;
  }
}

/** Podman has no status of its own for a name that is taken. */
const meaningsOfWords: NonNullable<Operation['meaningsOfWords']> = [[/\bname is already in use\b/, 'name-taken']];

const simpleStatusCodes = { 200: true, 500: 'server error' } as const;
const ping: DialRequest = { method: 'GET', path: '/_ping', statusCodes: simpleStatusCodes };
const info: DialRequest = { method: 'GET', path: '/info', statusCodes: simpleStatusCodes };

/** Engine API, "Inspect an image". */
function inspectImage(name: string): DialRequest {
  return { method: 'GET', path: `/images/${name}/json`, statusCodes: { ...simpleStatusCodes, 404: 'no such image' } };
}

/** Engine API, "Get system information". */
const engineInformation = z.object({ LoggingDriver: z.string().optional() });

function onContainer(what: string, container: string, meanings: Operation['meanings'] = {}): Operation {
  return { what, target: `the container ${container}`, meanings: { 404: 'no-such-container', ...meanings } };
}

/** A request whose response passes a schema. */
async function read<Schema extends z.ZodType>(
  operation: Operation,
  schema: Schema,
  send: () => Promise<unknown>,
): Promise<z.output<Schema>> {
  const { data, error } = schema.safeParse(await request(operation, send));
  if (error === undefined) return data;
  const [issue] = error.issues;
  const why = `unexpected response of the engine: ${issue?.path.join('.')}: ${issue?.message}`;
  throw new EngineError('refused' satisfies EngineFailure, { ...operation, why, cause: error });
}

/** The parts of a response. The connection breaks when the engine becomes unavailable. */
async function* readParts<Part>(
  operation: Operation,
  parts: AsyncIterable<Part>,
  signal: AbortSignal,
): AsyncGenerator<Part, void, undefined> {
  try {
    yield* abortable(parts, signal);
  } catch (error) {
    throw toEngineError(operation, error);
  }
}
