import type { Readable } from 'node:stream';
import type Docker from 'dockerode';
import { z } from 'zod';
import { reasonOf } from '../../../errors/reason.ts';
import { parseReference } from '../../../registry/image-reference.ts';
import type { RegistryLogin } from '../../../registry/login.ts';
import type { PullProgress } from '../engine.ts';
import { isEngineError } from '../engine-error.ts';
import { type EngineHints, type PullAttempt, PullError, pullError } from '../pull-error.ts';
import { plainReason, statusOf, toEngineError } from './engine-error.ts';
import { jsonLines } from './json-lines.ts';
import { dockerPullFailure } from './pull-failure.ts';

const hints: EngineHints = {
  'untrusted-certificate': (host) =>
    `put the certificate of its authority at /etc/docker/certs.d/${host}/ca.crt; is the clock right?`,
  'no-tls': (host) => `add ${host} to the engine's "insecure-registries"`,
};

/** See {@link Engine.pullImage}. */
export async function pullImage(
  docker: Docker,
  name: string,
  login: RegistryLogin | undefined,
  abortSignal: AbortSignal,
): Promise<AsyncIterable<PullProgress>> {
  const { host } = parseReference(name);
  const attempt: PullAttempt = { image: name, host, hadLogin: login !== undefined };
  try {
    const source = await docker.createImage(login ? authentication(host, login) : {}, { fromImage: name, abortSignal });
    return progressOf(source as Readable, attempt, abortSignal);
  } catch (error) {
    const failure = toEngineError({ what: 'pull', target: name }, error);
    if (!isEngineError(failure) || failure.reason === 'unavailable') throw failure;
    if (host.startsWith('[') && isInvalidName(failure.why)) throw noAddress(name, error);
    throw pullError(dockerPullFailure(failure.why, statusOf(error)), failure.why, attempt, hints, error);
  }
}

/** Whether the engine takes the name for that of no image. */
export function isInvalidName(why: string): boolean {
  return /invalid reference format/.test(why);
}

/** Podman's library for names (docker/reference of containers/image) takes no such address. */
function noAddress(name: string, cause: unknown): PullError {
  return new PullError('unusable-image', {
    target: name,
    why: 'Podman takes no IPv6 address in the name of an image',
    hint: 'name the registry by a host name, or take a boot image with Docker (make initramfs ENGINE=docker)',
    cause,
  });
}

/**
 * The header X-Registry-Auth, before its encoding (engine API, "Authentication"). Docker Hub's
 * credentials go by its old address.
 */
function authentication(host: string, login: RegistryLogin): object {
  const serveraddress = host === 'docker.io' ? 'https://index.docker.io/v1/' : host;
  return 'identityToken' in login
    ? { identitytoken: login.identityToken, serveraddress }
    : { username: login.username, password: login.password, serveraddress };
}

/** A line of the response (engine API, "Create an image"). */
const progressLine = z.object({
  id: z.string().optional(),
  status: z.string().optional(),
  progressDetail: z.object({ current: z.number().optional(), total: z.number().optional() }).optional(),
  error: z.string().optional(),
});

/** An error amid the response is reported like one at its start. */
async function* progressOf(
  source: Readable,
  attempt: PullAttempt,
  signal: AbortSignal,
): AsyncGenerator<PullProgress, void, undefined> {
  try {
    for await (const value of jsonLines(source)) {
      const line = progressLine.parse(value);
      if (line.error === undefined) {
        yield toProgress(line);
      } else {
        const why = plainReason(line.error);
        throw pullError(dockerPullFailure(why, undefined), why, attempt, hints);
      }
    }
  } catch (error) {
    if (error instanceof PullError) throw error;
    signal.throwIfAborted();
    throw pullError('temporary', `the engine ended the pull early: ${reasonOf(error)}`, attempt, hints, error);
  } finally {
    source.destroy();
  }
}

const phases: Readonly<Record<string, Exclude<PullProgress['phase'], 'downloading' | 'other'>>> = {
  'Download complete': 'downloaded',
  'Already exists': 'present',
  Extracting: 'unpacking',
  'Pull complete': 'unpacked',
};

function toProgress({ id, status = '', progressDetail }: z.output<typeof progressLine>): PullProgress {
  if (id === undefined) return { phase: 'other' };
  if (status === 'Downloading') {
    const { current: doneBytes = 0, total: totalBytes = 0 } = progressDetail ?? {};
    return { phase: 'downloading', layer: id, doneBytes, totalBytes };
  }
  const phase = Object.hasOwn(phases, status) ? phases[status] : undefined;
  return phase === undefined ? { phase: 'other' } : { phase, layer: id };
}
