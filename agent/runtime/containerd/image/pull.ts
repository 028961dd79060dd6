import { type Image, ImagesDefinition } from '../../../../proto/containerd.pb.ts';
import { type RegistryDirectories, registryHosts } from '../../../../registry/hosts.ts';
import { type ImageReference, parseReference } from '../../../../registry/image-reference.ts';
import type { RegistryLogin } from '../../../../registry/login.ts';
import {
  type ContentDescriptor,
  chainIds,
  checkLayers,
  chooseManifest,
  contentLabels,
  type ImageIndex,
  type ImageManifest,
  type ImageSettings,
  machinePlatform,
  type Platform,
  parseImageConfiguration,
  parseManifest,
  UnusableImageError,
} from '../../../../registry/manifest.ts';
import { Repository } from '../../../../registry/repository.ts';
import type { PullProgress } from '../../engine.ts';
import { alreadyExists, type CallOptions, type ContainerdClient, isNotFound } from '../client.ts';
import { withLease } from '../lease.ts';
import { adoptContent, labelContent, readContent, recordSource, writeContent } from './content.ts';
import { type Layer, snapshotExists, unpackLayer } from './unpack.ts';

/** A containerd as the place of images. */
export interface ImageStore extends RegistryDirectories {
  readonly client: ContainerdClient;
  /** What unpacks and mounts the layers; `overlayfs` usually. */
  readonly snapshotter: string;
  /** Whose image is chosen where there are several. Default: this machine. */
  readonly platform?: Platform | undefined;
}

/** An image that is unpacked and can be made a container of. */
export interface UnpackedImage {
  /** Of the configuration, which is what the Docker Engine calls the image's id. */
  readonly digest: string;
  /** Name of the snapshot that has all layers; empty if there are none. */
  readonly chainId: string;
  readonly config: ImageSettings;
}

const concurrentDownloads = 3;
/** Between two reports of the progress of a layer. */
const minReportSeconds = 0.1;

/** What a pull is about, and how containerd is to be called for it. */
interface Pull {
  readonly store: ImageStore;
  readonly client: ContainerdClient;
  readonly reference: ImageReference;
  readonly repository: Repository;
  readonly options: CallOptions;
  readonly onProgress: (step: PullProgress) => void;
}

/**
 * Gets an image from its registry, unpacks it, and gives it its name. What is there already is not
 * downloaded; what a tag means is asked every time.
 * @param name As {@link parseReference} takes it; the image gets the canonical form of it.
 * @param onProgress Called for the first time once containerd has answered. A layer is named by the
 * first 12 hexadecimal digits of its digest.
 * @throws {RegistryError}, {RegistryConfigError}, {UnusableImageError}, {GrpcError},
 * {ImageReferenceError}; the reason of the signal
 */
export async function pullImage(
  store: ImageStore,
  name: string,
  login: RegistryLogin | undefined,
  onProgress: (step: PullProgress) => void,
  signal: AbortSignal,
): Promise<void> {
  const reference = parseReference(name);
  const hosts = await registryHosts(reference.host, store);
  using repository = new Repository(reference.repository, reference.host, hosts, login, store.client.clock);
  const { client } = store;
  await withLease(client, signal, async (lease) => {
    onProgress({ phase: 'other' });
    const pull: Pull = { store, client, reference, repository, options: { signal, lease }, onProgress };
    const { target, manifest } = await fetchManifest(pull);
    const layers = await fetchConfiguration(pull, manifest);
    await fetchAndUnpack(pull, layers);
    await nameImage(pull, target);
  });
}

/**
 * An image that containers can be made of.
 * @returns `undefined` if it has to be pulled (again): there is none of that name, or not all of it
 * for this machine. The layers as they came over the net may be missing: containerd can be
 * configured to discard them once they are unpacked.
 * @throws {GrpcError}, {UnusableImageError}, {ImageReferenceError}; the reason of the signal
 */
export async function imageConfiguration(
  store: ImageStore,
  name: string,
  signal: AbortSignal,
): Promise<UnpackedImage | undefined> {
  const { client, snapshotter } = store;
  const target = await targetOf(client, parseReference(name).canonical, { signal });
  const manifest = target && (await storedManifest(store, target.digest, target.mediaType, { signal }));
  if (manifest === undefined) return undefined;
  const bytes = await readContent(client, manifest.config.digest, { signal });
  if (bytes === undefined) return undefined;
  const { settings, diffIds } = parseImageConfiguration(bytes, manifest);
  const chainId = chainIds(diffIds).at(-1) ?? '';
  if (chainId !== '' && !(await snapshotExists(client, snapshotter, chainId, { signal }))) return undefined;
  return { digest: manifest.config.digest, chainId, config: settings };
}

async function targetOf(client: ContainerdClient, name: string, options: CallOptions): Promise<Image['target']> {
  try {
    return (await client.call(ImagesDefinition, 'get', { name }, options)).image?.target;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

async function storedManifest(
  store: ImageStore,
  digest: string,
  mediaType: string,
  options: CallOptions,
): Promise<ImageManifest | undefined> {
  const bytes = await readContent(store.client, digest, options);
  if (bytes === undefined) return undefined;
  const document = parseManifest(bytes, mediaType);
  if (document.kind === 'manifest') return document;
  const chosen = chooseManifest(document, store.platform ?? machinePlatform());
  return await storedManifest(store, chosen.digest, chosen.mediaType, options);
}

/**
 * Where a name leads to, and the manifest for this machine that it leads to in the end. Both, and
 * what is between them, are stored.
 */
async function fetchManifest(pull: Pull): Promise<{ target: ContentDescriptor; manifest: ImageManifest }> {
  const { reference, store } = pull;
  const name = reference.digest ?? reference.canonical.slice(reference.canonical.lastIndexOf(':') + 1);
  let { descriptor, document } = await fetchDocument(pull, name);
  const target = descriptor;
  // An index may have an index in it, to a certain depth.
  for (let depth = 0; document.kind === 'index' && depth < 5; depth++) {
    const chosen = chooseManifest(document, store.platform ?? machinePlatform());
    ({ descriptor, document } = await fetchDocument(pull, chosen.digest, chosen.mediaType));
  }
  if (document.kind === 'index') throw new UnusableImageError('its image index is nested too deep');
  checkLayers(document);
  return { target, manifest: document };
}

/** @param name tag or digest */
async function fetchDocument(
  { client, reference, repository, options }: Pull,
  name: string,
  stated?: string,
): Promise<{ descriptor: ContentDescriptor; document: ImageIndex | ImageManifest }> {
  const known = name.includes(':')
    ? { digest: name, mediaType: undefined }
    : await repository.resolve(name, options.signal);
  const stored = known && (await readContent(client, known.digest, options));
  const { bytes, digest, mediaType } = stored
    ? { ...known, bytes: stored }
    : await repository.manifest(name, options.signal);
  const document = parseManifest(bytes, stated ?? mediaType);
  const descriptor = { mediaType: document.mediaType, digest, size: bytes.length };
  if (!(await adoptContent(client, descriptor, options))) await writeContent(client, descriptor, [bytes], options);
  await labelContent(client, digest, contentLabels(document), options);
  await recordSource(client, digest, reference, options);
  return { descriptor, document };
}

async function fetchConfiguration(pull: Pull, manifest: ImageManifest): Promise<Layer[]> {
  const { client, store, options } = pull;
  const { config, layers } = manifest;
  await fetchBlob(pull, config, () => {});
  const bytes = (await readContent(client, config.digest, options)) ?? Buffer.alloc(0);
  const { diffIds } = parseImageConfiguration(bytes, manifest);
  const chain = chainIds(diffIds);
  const top = chain.at(-1);
  // Before the snapshots are looked for: those that are there already stay from now on.
  const label = `containerd.io/gc.ref.snapshot.${store.snapshotter}`;
  if (top !== undefined) await labelContent(client, config.digest, { [label]: top }, options);
  return layers.map((blob, index) => ({
    ...{ blob, diffId: diffIds[index] ?? '', chainId: chain[index] ?? '' },
    parent: index === 0 ? '' : (chain[index - 1] ?? ''),
  }));
}

/** Some layers are under way while those below them are unpacked. The first failure ends it all. */
async function fetchAndUnpack(pull: Pull, layers: readonly Layer[]): Promise<void> {
  const failed = new AbortController();
  const signal = AbortSignal.any([pull.options.signal, failed.signal]);
  const inner: Pull = { ...pull, options: { ...pull.options, signal } };
  const arrivals = layers.map((layer) => ({ layer, ...Promise.withResolvers<void>() }));
  const waiting = arrivals.values();
  const download = async () => {
    for (const { layer, resolve } of waiting) {
      await fetchLayer(inner, layer);
      resolve();
    }
  };
  const stop = () => {
    for (const { reject } of arrivals) reject(signal.reason);
  };
  for (const { promise } of arrivals) promise.catch(() => {});
  signal.addEventListener('abort', stop, { once: true });
  const workers = [...Array.from({ length: concurrentDownloads }, download), extractAll(inner, arrivals, 3)];
  await Promise.allSettled(workers.map((worker) => worker.catch((error) => failed.abort(error))));
  signal.removeEventListener('abort', stop);
  signal.throwIfAborted();
}

async function extractAll(
  pull: Pull,
  arrivals: readonly { readonly layer: Layer; readonly promise: Promise<void> }[],
  attempts: number,
): Promise<void> {
  try {
    for (const { layer, promise } of arrivals) {
      await promise;
      await extract(pull, layer);
    }
  } catch (error) {
    if (!isNotFound(error) || attempts === 1) throw error;
    // A snapshot that was there has been collected before the next one was made upon it: its image
    // has been deleted.
    await extractAll(pull, arrivals, attempts - 1);
  }
}

async function fetchLayer(pull: Pull, { blob }: Layer): Promise<void> {
  const { onProgress } = pull;
  const layer = shortDigest(blob.digest);
  let reportedAt = Number.NEGATIVE_INFINITY;
  const wasThere = await fetchBlob(pull, blob, (doneBytes) => {
    const now = pull.client.clock.monotonicSeconds();
    if (now - reportedAt < minReportSeconds) return;
    reportedAt = now;
    onProgress({ phase: 'downloading', layer, doneBytes, totalBytes: blob.size });
  });
  onProgress({ phase: wasThere ? 'present' : 'downloaded', layer });
}

/**
 * @param onBytes How many are here so far.
 * @returns whether it was in the store before
 */
async function fetchBlob(
  { client, reference, repository, options }: Pull,
  blob: ContentDescriptor,
  onBytes: (count: number) => void,
): Promise<boolean> {
  const wasThere = await adoptContent(client, blob, options);
  if (!wasThere) {
    const receive = (content: AsyncIterable<Buffer>) => writeContent(client, blob, counted(content, onBytes), options);
    await repository.blob(blob, receive, options.signal);
  }
  await recordSource(client, blob.digest, reference, options);
  return wasThere;
}

async function* counted(
  content: AsyncIterable<Buffer>,
  onBytes: (count: number) => void,
): AsyncGenerator<Buffer, void> {
  let count = 0;
  for await (const chunk of content) {
    count += chunk.length;
    onBytes(count);
    yield chunk;
  }
}

async function extract({ client, store, options, onProgress }: Pull, layer: Layer): Promise<void> {
  const { digest } = layer.blob;
  onProgress({ phase: 'unpacking', layer: shortDigest(digest) });
  await unpackLayer(client, store.snapshotter, layer, options);
  await labelContent(client, digest, { 'containerd.io/uncompressed': layer.diffId }, options);
  onProgress({ phase: 'unpacked', layer: shortDigest(digest) });
}

/** Other programs may create and delete the same name meanwhile. */
async function nameImage({ client, reference, options }: Pull, descriptor: ContentDescriptor): Promise<void> {
  const { mediaType, digest, size } = descriptor;
  const image = { name: reference.canonical, labels: {}, target: { mediaType, digest, size, annotations: {} } };
  for (;;) {
    try {
      await client.call(ImagesDefinition, 'create', { image }, options);
      return;
    } catch (error) {
      if (!alreadyExists(error)) throw error;
    }
    try {
      // Labels belong to other programs.
      await client.call(ImagesDefinition, 'update', { image, updateMask: ['target'] }, options);
      return;
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}

function shortDigest(digest: string): string {
  return digest.slice(digest.indexOf(':') + 1).slice(0, 12);
}
