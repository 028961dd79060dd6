import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { normaliseHost } from '../action/image-reference.ts';

/** What a registry asks for. */
export interface RegistryCredentials {
  /** `host[:port]`; the credentials are sent to exactly this one. */
  readonly host: string;
  readonly username: string;
  readonly password: string;
}

/** The header X-Registry-Auth, before its encoding (engine API, "Authentication"). */
export interface EngineAuthentication {
  readonly username?: string;
  readonly password?: string;
  readonly identitytoken?: string;
  readonly serveraddress: string;
}

/** Format: `config.json` of the Docker CLI; only what is stored in the file itself, no helper programs. */
const dockerConfig = z.object({
  auths: z
    .record(z.string(), z.object({ auth: z.base64().optional(), identitytoken: z.string().optional() }))
    .default({}),
});

/** The given credentials for a host, or `undefined`. Only exact equality counts: credentials of one registry never reach another. */
export function credentialsFor(
  host: string,
  credentials: readonly RegistryCredentials[],
): EngineAuthentication | undefined {
  const found = credentials.find((candidate) => normaliseHost(candidate.host) === host);
  return found && { username: found.username, password: found.password, serveraddress: serverAddress(host) };
}

/**
 * What `docker login` left behind for a host, or `undefined`.
 * @param directory Holds `config.json`, as the variable DOCKER_CONFIG names it.
 * @throws when the file is there but cannot be read or understood.
 */
export async function storedCredentialsFor(host: string, directory: string): Promise<EngineAuthentication | undefined> {
  const path = join(directory, 'config.json');
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '{}';
    throw new Error(`cannot read registry credentials from ${path}: ${error.message}`, { cause: error });
  });
  const { auths } = parse(path, text);
  const entry = Object.entries(auths).find(([name]) => normaliseHost(name) === host)?.[1];
  if (entry?.identitytoken) return { identitytoken: entry.identitytoken, serveraddress: serverAddress(host) };
  const [username, ...password] = Buffer.from(entry?.auth ?? '', 'base64')
    .toString()
    .split(':');
  return username ? { username, password: password.join(':'), serveraddress: serverAddress(host) } : undefined;
}

function parse(path: string, text: string): z.output<typeof dockerConfig> {
  try {
    return dockerConfig.parse(JSON.parse(text));
  } catch {
    // The cause would quote the file, and with it the secrets.
    throw new Error(`cannot read registry credentials from ${path}: it is not the JSON that "docker login" writes`);
  }
}

/** Docker Hub's credentials go by its old address. */
function serverAddress(host: string): string {
  return host === 'docker.io' ? 'https://index.docker.io/v1/' : host;
}
