import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import type Docker from 'dockerode';
import { z } from 'zod';
import { abortable } from './abortable.ts';
import { type DialRequest, dial } from './dial.ts';

/** Engine API, "Wait for a container". Podman sends no message as `null`. */
const waitResponse = z.object({
  StatusCode: z.number(),
  Error: z.object({ Message: z.string().nullish() }).nullish(),
});

/**
 * Waits until a container has exited. The response is read as a stream, because dockerode's own
 * `wait` never returns when the connection breaks.
 * @returns the exit code; `undefined`: the response has an error too, or was cut off
 * @throws what dockerode throws; the reason of the signal
 */
export async function waitForExit(docker: Docker, id: string, abortSignal: AbortSignal): Promise<number | undefined> {
  const request: DialRequest = {
    method: 'POST',
    path: `/containers/${id}/wait?`,
    statusCodes: { 200: true, 404: 'no such container', 500: 'server error' },
    isStream: true,
  };
  const source = await dial(docker, request, abortSignal);
  const response = waitResponse.safeParse(parseJson(await text(abortable(source as Readable, abortSignal))));
  return response.success && !response.data.Error?.Message ? response.data.StatusCode : undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // A response that was cut off.
    return undefined;
  }
}
