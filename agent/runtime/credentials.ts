import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { OperationError } from '../../errors/operation-error.ts';
import { reasonOf } from '../../errors/reason.ts';
import { normaliseHost } from '../../registry/image-reference.ts';
import type { RegistryLogin } from '../../registry/login.ts';

/** What a registry asks for. */
export interface RegistryCredentials {
  /** `host[:port]`; the credentials are sent to exactly this one. */
  readonly host: string;
  readonly username: string;
  readonly password: string;
}

/**
 * Format: `config.json` of the Docker CLI; only what is stored in the file itself, no helper
 * programs.
 */
const dockerConfig = z.object({
  auths: z
    .record(z.string(), z.object({ auth: z.base64().optional(), identitytoken: z.string().optional() }))
    .default({}),
});

/**
 * The configured credentials for a host, or `undefined`. Only exact equality counts: credentials of
 * one registry never reach another.
 */
export function credentialsFor(host: string, credentials: readonly RegistryCredentials[]): RegistryLogin | undefined {
  const found = credentials.find((candidate) => normaliseHost(candidate.host) === host);
  return found && { username: found.username, password: found.password };
}

/**
 * What `docker login` stored for a host, or `undefined`.
 * @param directory Holds `config.json`, as the variable DOCKER_CONFIG names it.
 * @throws {OperationError} the file exists, but cannot be read or understood
 */
export async function storedCredentialsFor(host: string, directory: string): Promise<RegistryLogin | undefined> {
  const path = join(directory, 'config.json');
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '{}';
    throw cannotRead(path, reasonOf(error), error);
  });
  const { auths } = parse(path, text);
  const entry = Object.entries(auths).find(([name]) => normaliseHost(name) === host)?.[1];
  if (entry?.identitytoken) return { identityToken: entry.identitytoken };
  const [username, ...password] = Buffer.from(entry?.auth ?? '', 'base64')
    .toString()
    .split(':');
  return username ? { username, password: password.join(':') } : undefined;
}

function parse(path: string, text: string): z.output<typeof dockerConfig> {
  try {
    return dockerConfig.parse(JSON.parse(text));
  } catch {
    // The cause would quote the file, and with it the secrets.
    throw cannotRead(path, 'it is not the JSON that "docker login" writes');
  }
}

function cannotRead(path: string, why: string, cause?: unknown): OperationError {
  return new OperationError({ what: 'read registry credentials from', target: path, why, cause });
}
