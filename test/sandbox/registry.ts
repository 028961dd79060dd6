import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { request } from 'node:https';
import { type AddressInfo, connect, createServer as createSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { bracketed } from './bracketed.ts';
import { type Certificate, type CertificateAuthority, createCertificateAuthority } from './certificates.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import type { Image } from './image.ts';
import { loopbackAddress } from './loopback-address.ts';

/** How the registry differs from the usual one; every field has a default. */
export interface RegistryOptions {
  /**
   * Address to listen on. Default: one in 127.0.0.0/8, which every Docker Engine takes without
   * looking at the certificate.
   */
  readonly address?: string;
  /** Default: a free port. */
  readonly port?: number;
  /** Network namespace (`ip netns`) to run in. Default: that of this process. */
  readonly networkNamespace?: string;
  /** More names for the certificate, beside the address and `localhost`. */
  readonly names?: readonly string[];
  /** Signs the certificate. Default: made on the spot. */
  readonly authority?: CertificateAuthority;
  readonly username?: string;
  readonly password?: string;
  /** Everybody may pull and push, as a public registry lets everybody pull. Default: false. */
  readonly anonymous?: boolean;
  /** Where the images are kept. Default: a temporary directory that goes with the registry. */
  readonly storage?: string;
}

/**
 * A running registry (Debian's docker-registry): TLS, a certificate by our own authority, one user
 * in htpasswd.
 */
export interface Registry extends AsyncDisposable {
  /** `address:port`, as it stands in front of an image's name. */
  readonly host: string;
  readonly port: number;
  readonly username: string;
  readonly password: string;
  readonly authority: CertificateAuthority;
  /**
   * Plain HTTP address of the authority's certificate, as the original provisioner offers it to
   * machines.
   */
  readonly authorityUrl: string;
  /** Path of the registry's log; it is deleted with the registry. */
  readonly logPath: string;
  /**
   * Puts an image into the registry over the distribution API.
   * @param name Repository with an optional tag (default `latest`), for example `tools/busybox:1`.
   * @returns The reference to pull it with, `host/name:tag`.
   */
  push(name: string, image: Image): Promise<string>;
  /** Takes the registry off the network; what it holds stays. */
  stop(): Promise<void>;
  /** Starts it again after {@link stop}, on the same port with the same content. */
  start(): Promise<void>;
}

/** Starts a registry and waits until it answers. */
export async function startRegistry(options: RegistryOptions = {}): Promise<Registry> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-registry-'));
  const address = options.address ?? loopbackAddress();
  const port = options.port ?? (await freePort(address));
  const username = options.username ?? 'admin';
  const password = options.password ?? 'Admin1234';
  const authority = options.authority ?? (await createCertificateAuthority());
  const certificate = await authority.issue([address, 'localhost', ...(options.names ?? [])]);
  const host = `${bracketed(address)}:${port}`;
  await configure(directory, options, host, certificate, username, password);

  const authorityServer = await serve(authority.certificate);
  const start = () => startProcess(directory, address, port, options.networkNamespace);
  let process: Daemon | undefined = await start();
  const stop = async () => {
    await process?.end();
    process = undefined;
  };
  const client: Client = { host, address, port, authorization: basic(username, password), ca: authority.certificate };
  return {
    host,
    port,
    username,
    password,
    authority,
    authorityUrl: `http://127.0.0.1:${(authorityServer.address() as AddressInfo).port}/ca.pem`,
    logPath: join(directory, 'registry.log'),
    push: (name, image) => push(client, name, image),
    stop,
    async start() {
      process = await start();
    },
    async [Symbol.asyncDispose]() {
      authorityServer.close();
      authorityServer.closeAllConnections();
      await stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function startProcess(directory: string, address: string, port: number, namespace?: string): Promise<Daemon> {
  const inside = namespace === undefined ? [] : ['ip', 'netns', 'exec', namespace];
  const [program = '', ...parameters] = [...inside, 'docker-registry', 'serve', join(directory, 'config.yml')];
  const ask = namespace === undefined ? () => connected(port, address) : () => listens(namespace, port);
  return await startDaemon({ program, parameters, logPath: join(directory, 'registry.log'), ask });
}

async function connected(port: number, address: string): Promise<void> {
  const socket = connect(port, address);
  try {
    await once(socket, 'connect');
  } finally {
    socket.destroy();
  }
}

/** The same without a connection: another network namespace cannot be reached from here. */
async function listens(namespace: string, port: number): Promise<void> {
  const { stdout } = await execa('ip', ['netns', 'exec', namespace, 'ss', '-Hltn', `sport = :${port}`]);
  if (stdout === '') throw new Error(`nothing listens on port ${port} in ${namespace}`);
}

async function configure(
  directory: string,
  options: RegistryOptions,
  listen: string,
  certificate: Certificate,
  username: string,
  password: string,
): Promise<void> {
  const write = (name: string, content: string) => writeFile(join(directory, name), content, { mode: 0o600 });
  await write('server.pem', certificate.certificate);
  await write('server.key', certificate.key);
  // Cost 4: the registry computes the hash again for every request.
  const { stdout } = await execa('htpasswd', ['-niB', '-C', '4', username], { input: password });
  await write('htpasswd', `${stdout.trim()}\n`);
  const tls = { certificate: join(directory, 'server.pem'), key: join(directory, 'server.key') };
  const configuration = {
    version: 0.1,
    log: { level: 'info' },
    storage: {
      filesystem: { rootdirectory: options.storage ?? join(directory, 'storage') },
      delete: { enabled: true },
    },
    http: { addr: listen, tls, secret: 'one process only' },
    ...(options.anonymous !== true && { auth: { htpasswd: { realm: 'sandbox', path: join(directory, 'htpasswd') } } }),
  };
  await write('config.yml', JSON.stringify(configuration));
}

/** Who pushes, and to where. */
interface Client {
  readonly host: string;
  readonly address: string;
  readonly port: number;
  readonly authorization: string;
  readonly ca: string;
}

/**
 * Distribution specification v1.1, "Pushing": blobs first, each with POST and PUT, then the
 * manifest that names them.
 */
async function push(client: Client, name: string, image: Image): Promise<string> {
  const [repository = '', tag = 'latest'] = name.split(':');
  for (const blob of [image.configuration, ...image.layers]) await pushBlob(client, repository, blob);
  const headers = { 'content-type': image.mediaType };
  await send(client, 'PUT', `/v2/${repository}/manifests/${tag}`, 201, headers, image.manifest);
  return `${client.host}/${repository}:${tag}`;
}

async function pushBlob(client: Client, repository: string, blob: Buffer): Promise<void> {
  const location = await send(client, 'POST', `/v2/${repository}/blobs/uploads/`, 202);
  const target = new URL(location, `https://${client.host}`);
  target.searchParams.set('digest', `sha256:${createHash('sha256').update(blob).digest('hex')}`);
  const headers = { 'content-type': 'application/octet-stream' };
  await send(client, 'PUT', `${target.pathname}${target.search}`, 201, headers, blob);
}

async function send(
  client: Client,
  method: string,
  path: string,
  expected: number,
  headers: Record<string, string> = {},
  body: Buffer = Buffer.alloc(0),
): Promise<string> {
  const outgoing = request({
    ...{ host: client.address, port: client.port, ca: client.ca, method, path },
    headers: { ...headers, authorization: client.authorization, 'content-length': body.length },
  });
  outgoing.end(body);
  const [incoming] = await once(outgoing, 'response');
  const answer = Buffer.concat(await incoming.toArray()).toString();
  if (incoming.statusCode !== expected) {
    throw new Error(`${method} ${path}: the registry answered ${incoming.statusCode}, not ${expected}: ${answer}`);
  }
  return incoming.headers.location ?? '';
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

async function serve(certificate: string): Promise<Server> {
  const server = createServer((incoming, answer) => {
    answer.statusCode = incoming.url === '/ca.pem' ? 200 : 404;
    answer.setHeader('content-type', 'application/x-x509-ca-cert');
    answer.end(incoming.url === '/ca.pem' ? certificate : '');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/** The registry cannot choose one itself: a port that was free a moment ago. */
async function freePort(address: string): Promise<number> {
  const server = createSocket();
  server.listen(0, address);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
