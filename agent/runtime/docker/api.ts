import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { inspect } from 'node:util';
import Docker from 'dockerode';
import { z } from 'zod';
import { plainly } from '../engine.ts';
import type { EngineApi } from '../engine-api.ts';
import { dockerPullFailure } from './pull-failure.ts';

/**
 * The Docker Engine API, or what answers it. Nothing is sent yet.
 * @param host `unix:///path`, `tcp://host:port`, `http://host:port` or the path of a socket.
 */
export function connectDocker(host: string): EngineApi {
  const docker = new Docker(address(host));
  withoutDescriptions(docker);
  const streams = { stream: true, stdout: true, stderr: true };
  return {
    whyAway,
    ping: () => docker.ping(),
    listContainers: (label, abortSignal) =>
      docker.listContainers({ all: true, filters: { label: [...label] }, abortSignal }),
    createContainer: async (settings, abortSignal) => (await docker.createContainer({ ...settings, abortSignal })).id,
    inspectContainer: (id, abortSignal) => docker.getContainer(id).inspect({ abortSignal }),
    startContainer: (id, abortSignal) => docker.getContainer(id).start({ abortSignal }),
    attach: async (id, abortSignal) => {
      const source = await docker.getContainer(id).attach({ ...streams, abortSignal });
      return source as unknown as Readable;
    },
    followLog: async (id, since, abortSignal) => {
      const what = { follow: true as const, stdout: true, stderr: true, since };
      try {
        return (await docker.getContainer(id).logs({ ...what, abortSignal })) as Readable;
      } catch (error) {
        if (error instanceof Error && /does not support reading/.test(error.message)) return undefined;
        throw error;
      }
    },
    logDriver: async () => engineInformation.parse(await docker.info()).LoggingDriver,
    waitForEnd: (id, signal) => waitForEnd(docker, id, signal),
    stopContainer: (id, graceSeconds, abortSignal) =>
      docker.getContainer(id).stop({ t: Math.ceil(graceSeconds), abortSignal }),
    removeContainer: (id, abortSignal) => docker.getContainer(id).remove({ force: true, v: true, abortSignal }),
    events: async ({ container, event, sinceSeconds, untilSeconds }, abortSignal) => {
      const question = {
        filters: { container: [container], event: [event] },
        ...(sinceSeconds !== undefined && { since: sinceSeconds }),
        ...(untilSeconds !== undefined && { until: untilSeconds }),
        abortSignal,
      };
      return (await docker.getEvents(question)) as Readable;
    },
    hasImage: async (name) => {
      try {
        await docker.getImage(name).inspect();
        return true;
      } catch (error) {
        if (error instanceof Error && 'statusCode' in error && error.statusCode === 404) return false;
        throw error;
      }
    },
    pullImage: async (name, authentication, abortSignal) =>
      (await docker.createImage(authentication ?? {}, { fromImage: name, abortSignal })) as Readable,
    pullFailure: dockerPullFailure,
    trustAdvice: {
      certificate: (host) =>
        `the engine finds the authority to trust in /etc/docker/certs.d/${host}/ca.crt; is the clock right?`,
      plainHttp: (host) => `list ${host} as an insecure registry of the engine`,
    },
    hasBridge: async (abortSignal) =>
      (await docker.listNetworks({ filters: { driver: ['bridge'] }, abortSignal })).length > 0,
  };
}

/** Engine API, "Get system information". */
const engineInformation = z.object({ LoggingDriver: z.string().optional() });

/** What dockerode must be told; every field, because it takes those that are missing from DOCKER_HOST. */
function address(host: string): Docker.DockerOptions {
  if (host.startsWith('/')) return { socketPath: host, host: undefined, port: undefined };
  const url = new URL(host);
  if (url.protocol === 'unix:') return { socketPath: url.pathname, host: undefined, port: undefined };
  const protocol = url.protocol === 'https:' ? 'https' : 'http';
  const port = url.port || (protocol === 'https' ? '2376' : '2375');
  return { protocol, host: url.hostname, port, socketPath: undefined };
}

/**
 * docker-modem describes each request in full for its debug log before that can say that nobody reads it; a fifth of what a request costs. The description is
 * made short: the way that util.inspect() offers for it.
 */
function withoutDescriptions({ modem }: Docker): void {
  const build: unknown = Reflect.get(modem, 'buildRequest');
  if (typeof build !== 'function')
    throw new Error('docker-modem has no buildRequest() any more: see whether it still describes each request');
  const short = { [inspect.custom]: () => 'request' };
  Reflect.set(modem, 'buildRequest', (request: object, ...rest: readonly unknown[]) => {
    Reflect.apply(build, modem, [Object.assign(request, short), ...rest]);
  });
}

function whyAway(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ('statusCode' in error) return error.statusCode === 503 ? plainly(error.message) : undefined;
  // System errors (ECONNREFUSED, ENOENT, …) and those of the HTTP parser (HPE_…): nobody is there, or not an engine.
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return /^(?:E(?!RR_)|HPE_)/.test(code) ? error.message : undefined;
}

/** Engine API, "Wait for a container". Podman sends no message as `null`. */
const waitAnswer = z.object({
  StatusCode: z.number(),
  Error: z.object({ Message: z.string().nullish() }).nullish(),
});

/** As a stream, because dockerode's own `wait` never returns when the connection breaks. */
async function waitForEnd(docker: Docker, id: string, abortSignal: AbortSignal): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<Readable>();
  const statusCodes = { 200: true, 404: 'no such container', 500: 'server error' };
  const request = {
    path: `/containers/${id}/wait?`,
    method: 'POST',
    isStream: true,
    options: {},
    abortSignal,
    statusCodes,
  };
  docker.modem.dial(request, (error, answer) => (error ? reject(error) : resolve(answer as Readable)));
  const answer = waitAnswer.safeParse(parseJson(await text(await promise)));
  return answer.success && answer.data.StatusCode === 0 && !answer.data.Error?.Message;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // An answer that was cut off.
    return undefined;
  }
}
