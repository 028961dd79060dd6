import { RegistryError } from '../../../../registry/connection.ts';
import { RegistryConfigError } from '../../../../registry/hosts.ts';
import { parseReference } from '../../../../registry/image-reference.ts';
import type { RegistryLogin } from '../../../../registry/login.ts';
import { UnusableImageError, WrongPlatformError } from '../../../../registry/manifest.ts';
import type { PullFailure } from '../../../../registry/pull-failure.ts';
import type { PullProgress } from '../../engine.ts';
import { type EngineHints, pullError } from '../../pull-error.ts';
import { isUnavailable, plainReasonOf } from '../client.ts';
import { type ImageStore, pullImage } from './pull.ts';

/**
 * See {@link Engine.pullImage}. A consumer that stops early ends the pull.
 * @throws {PullError}; {GrpcError} it is unavailable; the reason of the signal
 */
export async function startPull(
  store: ImageStore,
  name: string,
  login: RegistryLogin | undefined,
  signal: AbortSignal,
): Promise<AsyncIterable<PullProgress>> {
  const stopped = new AbortController();
  const progress = new ProgressQueue(() => stopped.abort());
  const begun = Promise.withResolvers<void>();
  const onProgress = (step: PullProgress) => {
    begun.resolve();
    progress.add(step);
  };
  const onFailure = (error: unknown) => {
    const attempt = { image: name, host: parseReference(name).host, hadLogin: login !== undefined };
    const failure = signal.aborted
      ? signal.reason
      : pullError(pullFailureOf(error), plainReasonOf(error), attempt, hintsFor(store), error);
    begun.reject(isUnavailable(error) ? error : failure);
    progress.fail(failure);
  };
  pullImage(store, name, login, onProgress, AbortSignal.any([signal, stopped.signal])).then(
    () => progress.end(),
    onFailure,
  );
  await begun.promise;
  return progress;
}

/** Why {@link pullImage} failed, by what it threw. */
function pullFailureOf(error: unknown): PullFailure {
  if (error instanceof RegistryError) return error.reason;
  if (error instanceof RegistryConfigError) return 'bad-configuration';
  if (error instanceof WrongPlatformError) return 'wrong-platform';
  return error instanceof UnusableImageError ? 'unusable-image' : 'temporary';
}

function hintsFor({ registryConfigPath }: ImageStore): EngineHints {
  return {
    'untrusted-certificate': (host) =>
      `put the certificate of its authority at ${registryConfigPath}/${host}/ca.crt, or name it in the hosts.toml there; is the clock right?`,
    'no-tls': (host) => `set server = "http://${host}" in ${registryConfigPath}/${host}/hosts.toml`,
  };
}

/**
 * Progress of work that goes on by itself. Each step is a few bytes, and they are reported at
 * intervals: any number of them may wait to be read.
 */
class ProgressQueue implements AsyncIterable<PullProgress> {
  readonly #onStop: () => void;
  readonly #waiting: PullProgress[] = [];
  #result: { readonly error?: unknown } | undefined;
  #change = Promise.withResolvers<void>();

  /** @param onStop called when the reader stops */
  constructor(onStop: () => void) {
    this.#onStop = onStop;
  }

  add(step: PullProgress): void {
    this.#waiting.push(step);
    this.#change.resolve();
  }

  end(): void {
    this.#result = {};
    this.#change.resolve();
  }

  fail(error: unknown): void {
    this.#result = { error };
    this.#change.resolve();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<PullProgress, void, undefined> {
    try {
      for (;;) {
        yield* this.#waiting.splice(0);
        if (this.#waiting.length > 0) continue;
        if (this.#result !== undefined) {
          if ('error' in this.#result) throw this.#result.error;
          return;
        }
        this.#change = Promise.withResolvers();
        await this.#change.promise;
      }
    } finally {
      this.#onStop();
    }
  }
}
