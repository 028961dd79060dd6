import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import type Docker from 'dockerode';
import { z } from 'zod';
import { reasonOf } from '../../../errors/reason.ts';
import { EngineError } from '../engine-error.ts';
import { plainReason, toEngineError } from './engine-error.ts';
import { jsonLines } from './json-lines.ts';

/** A line of the response (engine API, "Import images"). */
const loadLine = z.object({ stream: z.string().optional(), error: z.string().optional() });

/** See {@link Engine.loadImages}. */
export async function loadImages(docker: Docker, path: string, abortSignal: AbortSignal): Promise<string[]> {
  const operation = { what: 'load', target: `the images in ${path}` };
  const file = createReadStream(path);
  // Without a listener, a failure to read would end the process; the request fails by it too.
  const unreadable = Promise.withResolvers<never>();
  unreadable.promise.catch(() => {});
  file.on('error', (cause) =>
    unreadable.reject(new EngineError('refused', { ...operation, why: reasonOf(cause), cause })),
  );
  try {
    const response = docker.loadImage(file, { quiet: true, abortSignal } as object);
    const source = (await Promise.race([response, unreadable.promise])) as Readable;
    return await namesOf(source, operation);
  } catch (error) {
    abortSignal.throwIfAborted();
    throw toEngineError(operation, error);
  } finally {
    file.destroy();
  }
}

/**
 * `Loaded image: name:tag` of each, where Podman has all names of an image in one line;
 * `Loaded image ID: sha256:…` of one without a name. An error of the archive comes amid the
 * response.
 */
async function namesOf(source: Readable, operation: { what: string; target: string }): Promise<string[]> {
  const names: string[] = [];
  for await (const value of jsonLines(source)) {
    const { stream = '', error } = loadLine.parse(value);
    if (error !== undefined) throw new EngineError('refused', { ...operation, why: plainReason(error) });
    const loaded = /^Loaded image(?: ID)?: (\S+)/.exec(stream)?.[1];
    if (loaded !== undefined) names.push(...loaded.split(','));
  }
  return names;
}
