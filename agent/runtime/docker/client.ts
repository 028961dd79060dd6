import http from 'node:http';
import https from 'node:https';
import { inspect } from 'node:util';
import Docker from 'dockerode';

/** A client of the engine's API with the connections that it keeps. */
export interface DockerClient extends Disposable {
  readonly docker: Docker;
}

/**
 * An idle connection is closed after this time, as by Node's default agent: an engine may close it
 * at the same time as a request is sent.
 */
const idleTimeoutMilliseconds = 5000;

/**
 * Makes a client. Nothing is sent yet.
 * @param host `unix:///path`, `tcp://host:port`, `http://host:port` or the path of a socket.
 */
export function createDockerClient(host: string): DockerClient {
  const address = addressOf(host);
  const agent = new (address.protocol === 'https' ? https : http).Agent({
    keepAlive: true,
    timeout: idleTimeoutMilliseconds,
  });
  const options = { ...address, agent };
  const docker = new Docker(options);
  shortenDescriptions(docker);
  return { docker, [Symbol.dispose]: () => agent.destroy() };
}

/** Every field, because dockerode takes those that are missing from DOCKER_HOST. */
function addressOf(host: string): Docker.DockerOptions {
  if (host.startsWith('/')) return { socketPath: host, host: undefined, port: undefined };
  const url = new URL(host);
  if (url.protocol === 'unix:') return { socketPath: url.pathname, host: undefined, port: undefined };
  const protocol = url.protocol === 'https:' ? 'https' : 'http';
  const port = url.port || (protocol === 'https' ? '2376' : '2375');
  return { protocol, host: url.hostname, port, socketPath: undefined };
}

/**
 * docker-modem describes each request in full for its debug log before it checks whether that log
 * is on; a fifth of what a request costs. The description is made short: the way that
 * util.inspect() offers for it.
 */
function shortenDescriptions({ modem }: Docker): void {
  const build: unknown = Reflect.get(modem, 'buildRequest');
  if (typeof build !== 'function')
    throw new Error('docker-modem has no buildRequest() any more: see whether it still describes each request');
  const short = { [inspect.custom]: () => 'request' };
  Reflect.set(modem, 'buildRequest', (request: object, ...rest: readonly unknown[]) => {
    Reflect.apply(build, modem, [Object.assign(request, short), ...rest]);
  });
}
