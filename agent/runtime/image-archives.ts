import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { reasonOf } from '../../errors/reason.ts';
import type { EngineConnection } from './engine-connection.ts';
import type { OnRuntimeEvent } from './event.ts';

/** Archives of images that the engine is loading. */
export interface ImageArchives extends AsyncDisposable {
  /**
   * Resolves when all are loaded, or cannot be.
   * @throws the reason of the signal
   */
  loaded(signal: AbortSignal): Promise<void>;
}

/**
 * Loads the archives of images in a directory into the engine, one after the other, and deletes
 * each that is loaded: the directory may be in memory. Begins at once. An archive that cannot be
 * loaded is kept, with a warning: its images may be pulled.
 * @param directory may be missing
 */
export function loadImageArchives(
  connection: EngineConnection,
  directory: string,
  onEvent: OnRuntimeEvent,
): ImageArchives {
  const ending = new AbortController();
  const end = loadAll(connection, directory, onEvent, ending.signal).catch((error: unknown) => {
    if (ending.signal.aborted) return;
    void onEvent({ kind: 'engine-warning', message: `cannot load the images in ${directory}: ${reasonOf(error)}` });
  });
  return {
    async loaded(signal) {
      signal.throwIfAborted();
      const aborted = Promise.withResolvers<never>();
      const abort = () => aborted.reject(signal.reason);
      signal.addEventListener('abort', abort, { once: true });
      try {
        await Promise.race([end, aborted.promise]);
      } finally {
        signal.removeEventListener('abort', abort);
      }
    },
    async [Symbol.asyncDispose]() {
      ending.abort();
      await end;
    },
  };
}

async function loadAll(
  connection: EngineConnection,
  directory: string,
  onEvent: OnRuntimeEvent,
  signal: AbortSignal,
): Promise<void> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  });
  const names = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
  for (const name of names.sort()) {
    const path = join(directory, name);
    const startedAtSeconds = connection.clock.monotonicSeconds();
    try {
      // The engine answers when it has read and unpacked everything.
      const images = await connection.call((engine, limited) => engine.loadImages(path, limited), signal, Infinity);
      const seconds = connection.clock.monotonicSeconds() - startedAtSeconds;
      await rm(path);
      void onEvent({ kind: 'images-loaded', archive: path, images, seconds });
    } catch (error) {
      signal.throwIfAborted();
      void onEvent({ kind: 'engine-warning', message: reasonOf(error) });
    }
  }
}
