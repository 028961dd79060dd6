import { randomUUID } from 'node:crypto';
import {
  ContentDefinition,
  WriteAction,
  type WriteContentRequest,
  type WriteContentResponse,
} from '../../../../proto/containerd.pb.ts';
import type { BlobDescriptor } from '../../../../registry/endpoint.ts';
import { alreadyExists, type CallOptions, type ContainerdClient, cleanUp, isNotFound } from '../client.ts';

const pieceBytes = 1024 * 1024;
const maxDocumentBytes = 8 * 1024 * 1024;

/**
 * A manifest or a configuration in the content store; `undefined` if it is not there.
 * @throws {GrpcError}
 */
export async function readContent(
  client: ContainerdClient,
  digest: string,
  options: CallOptions,
): Promise<Buffer | undefined> {
  const read: Uint8Array[] = [];
  try {
    const request = { digest, offset: 0, size: maxDocumentBytes };
    for await (const { data } of client.stream(ContentDefinition, 'read', request, options)) read.push(data);
    return Buffer.concat(read);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/**
 * Whether content is in the store already. If so, the lease holds it from now on; looking it up
 * would not do that. Content of another namespace is shared with this one.
 * @throws {GrpcError}
 */
export async function adoptContent(
  client: ContainerdClient,
  descriptor: BlobDescriptor,
  options: CallOptions,
): Promise<boolean> {
  return await withWrite(client, options, async (send) => {
    const { digest: expected, size: total } = descriptor;
    try {
      const { offset } = await send({ action: WriteAction.STAT, total, expected });
      if (offset !== total || total === 0) return false;
      await send({ action: WriteAction.COMMIT, offset, total, expected });
      return true;
    } catch (error) {
      if (alreadyExists(error)) return true;
      throw error;
    }
  });
}

/**
 * Writes content to the store. Incomplete content is removed.
 * @throws {GrpcError}; what the content throws
 */
export async function writeContent(
  client: ContainerdClient,
  descriptor: BlobDescriptor,
  content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: CallOptions,
): Promise<void> {
  const { digest: expected, size: total } = descriptor;
  try {
    await withWrite(client, options, async (send) => {
      let offset = 0;
      await send({ action: WriteAction.STAT, total });
      for await (const data of inPieces(content)) {
        await send({ action: WriteAction.WRITE, offset, data });
        offset += data.length;
      }
      await send({ action: WriteAction.COMMIT, offset, total, expected });
    });
  } catch (error) {
    // Another process has written it meanwhile.
    if (!alreadyExists(error) || !(await adoptContent(client, descriptor, options))) throw error;
  }
}

/**
 * Adds labels to content.
 * @throws {GrpcError}
 */
export async function labelContent(
  client: ContainerdClient,
  digest: string,
  labels: Readonly<Record<string, string>>,
  options: CallOptions,
): Promise<void> {
  const info = { digest, size: 0, labels: { ...labels } };
  const updateMask = Object.keys(labels).map((key) => `labels.${key}`);
  if (updateMask.length > 0) await client.call(ContentDefinition, 'update', { info, updateMask }, options);
}

/** containerd's own limit. */
const maxLabelBytes = 4096;

/**
 * Records the repositories of content in a label, as containerd's client does for pushes and lazy
 * downloads.
 * @throws {GrpcError}
 */
export async function recordSource(
  client: ContainerdClient,
  digest: string,
  source: { readonly host: string; readonly repository: string },
  options: CallOptions,
): Promise<void> {
  const key = `containerd.io/distribution.source.${source.host.replace(/:\d+$/, '')}`;
  const { info } = await client.call(ContentDefinition, 'info', { digest }, options);
  const known = info?.labels[key]?.split(',') ?? [];
  const value = [...new Set([...known, source.repository])].sort().join(',');
  if (known.includes(source.repository) || key.length + value.length > maxLabelBytes) return;
  await labelContent(client, digest, { [key]: value }, options);
}

/**
 * One request of a write, and its response: the next is not sent before, so that no more than a
 * piece is under way.
 */
type Send = (request: Partial<WriteContentRequest>) => Promise<WriteContentResponse>;

const emptyRequest = { action: WriteAction.STAT, total: 0, expected: '', offset: 0, data: Buffer.alloc(0), labels: {} };

async function withWrite<Result>(
  client: ContainerdClient,
  options: CallOptions,
  work: (send: Send) => Promise<Result>,
): Promise<Result> {
  // Unique: containerd would resume an interrupted write of the same name, with the bytes that it
  // has.
  const ref = `nibs-${randomUUID()}`;
  let isCommitted = false;
  try {
    using call = client.open(ContentDefinition, 'write', options);
    const send: Send = async (request) => {
      call.send({ ...emptyRequest, ref, ...request });
      const { value } = await call.responses.next();
      if (!value) throw new Error('containerd ended a write before it was complete');
      isCommitted = request.action === WriteAction.COMMIT;
      return value;
    };
    return await work(send);
  } finally {
    if (!isCommitted) await abortWrite(client, ref);
  }
}

async function abortWrite(client: ContainerdClient, ref: string): Promise<void> {
  try {
    await cleanUp(client, (options) => client.call(ContentDefinition, 'abort', { ref }, options));
  } catch {
    // It was never begun, or containerd is gone; what is left of it goes with the lease.
  }
}

async function* inPieces(content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Buffer, void> {
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  for await (const chunk of content) {
    for (let rest = chunk; rest.length > 0; ) {
      const part = rest.subarray(0, pieceBytes - heldBytes);
      rest = rest.subarray(part.length);
      held.push(part);
      heldBytes += part.length;
      if (heldBytes < pieceBytes) continue;
      yield Buffer.concat(held);
      held = [];
      heldBytes = 0;
    }
  }
  if (heldBytes > 0) yield Buffer.concat(held);
}
