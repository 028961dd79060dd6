import { createHash } from 'node:crypto';
import { lstat, mkdir, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { status } from '@grpc/grpc-js';
import { reasonOf } from '../../../errors/reason.ts';
import { PlacedFileError, readPlacedFile } from '../../../files/read-placed-file.ts';
import type { Action } from '../../action/action.ts';
import { TransportError } from '../transport.ts';
import { RpcError } from './channel.ts';
import type { LegacyClient } from './legacy-client.ts';

export interface WorkflowDataOptions {
  /** The directory that the actions of a workflow see as `/workflow`. */
  readonly directory: (workflowId: string) => string;
  /**
   * Largest file that is sent, in bytes. Default: 4 MiB less what else the message needs; servers
   * take no more.
   */
  readonly maxSizeBytes?: number | undefined;
  /** Takes a sentence about data that could not be sent and will not be tried again. */
  readonly notice: (text: string) => void;
}

const maxSizeBytes = 4 * 1024 ** 2 - 64 * 1024;

/**
 * Carries the file `data` of a workflow's directory, a JSON object, from action to action by way of
 * the server, so that the next worker has it too (tink v0.1 to v0.8).
 */
export class WorkflowData {
  readonly #client: LegacyClient;
  readonly #options: WorkflowDataOptions;
  /** What the server has of the last workflow: data is fetched before each of its actions. */
  #known: { readonly workflowId: string; readonly digest: string } | undefined;

  constructor(client: LegacyClient, options: WorkflowDataOptions) {
    this.#client = client;
    this.#options = options;
  }

  /**
   * Puts the server's latest data into the file, before an action. No data: the file stays as it
   * is.
   *
   * @throws {TransportError}
   */
  async fetch({ workflowId }: Action, signal: AbortSignal): Promise<void> {
    const data = await this.#client.readData(workflowId, signal);
    if (data === undefined || data.byteLength === 0) return;
    const file = this.#file(workflowId);
    try {
      await mkdir(path.dirname(file), { recursive: true });
      // Not overwritten in place: a reader could see the end of the old content after shorter new
      // content.
      await replaceFile(file, data);
    } catch (error) {
      const target = `the data of workflow ${workflowId} to ${file}`;
      throw new TransportError({ what: 'write', target, why: reasonOf(error), cause: error });
    }
    this.#known = { workflowId, digest: digest(data) };
  }

  /**
   * Sends the file after an action succeeded, if it changed or the server has none yet, as the Go
   * workers do. What the server would never take is not sent, and told as a notice.
   *
   * @throws {TransportError} the server cannot be reached.
   */
  async send(action: Action, signal: AbortSignal): Promise<void> {
    const { workflowId } = action;
    const data = await this.#read(workflowId);
    if (data === undefined) return;
    const current = digest(data);
    if (this.#known?.workflowId === workflowId && this.#known.digest === current) return;
    try {
      await this.#client.writeData(action, data, current, signal);
      this.#known = { workflowId, digest: current };
    } catch (error) {
      if (!(error instanceof RpcError) || temporaryCodes.has(error.code)) throw error;
      this.#options.notice(`the server does not take the data of workflow ${workflowId}: ${error.message}`);
    }
  }

  async #read(workflowId: string): Promise<Buffer | undefined> {
    const limit = this.#options.maxSizeBytes ?? maxSizeBytes;
    const refuse = (why: string) => {
      this.#options.notice(
        `the data of workflow ${workflowId} is not sent to the server: ${this.#file(workflowId)} ${why}`,
      );
      return undefined;
    };
    try {
      const data = await readPlacedFile(this.#file(workflowId), limit);
      return isJsonObject(data) ? data : refuse('is not a JSON object');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      return refuse(error instanceof PlacedFileError ? error.message : `cannot be read: ${reasonOf(error)}`);
    }
  }

  #file(workflowId: string): string {
    return path.join(this.#options.directory(workflowId), 'data');
  }
}

/** Statuses after which the same data may be taken. */
const temporaryCodes: ReadonlySet<status> = new Set([status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.CANCELLED]);

/**
 * The directory is that of the actions, which may have placed anything there under the names of
 * these files: it is replaced, and no link is followed. An action may have given the file another
 * mode or owner, which it keeps. Without a file yet: readable for all.
 */
async function replaceFile(file: string, data: Uint8Array): Promise<void> {
  const before = await lstat(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return undefined;
  });
  const partial = `${file}.partial`;
  await rm(partial, { recursive: true, force: true });
  await using handle = await open(partial, 'wx', 0o600);
  await handle.writeFile(data);
  if (before?.isFile() === true) await handle.chown(before.uid, before.gid);
  await handle.chmod(before?.isFile() === true ? before.mode & 0o777 : 0o644);
  if (before?.isDirectory() === true) await rm(file, { recursive: true, force: true });
  await rename(partial, file);
}

function isJsonObject(data: Buffer): boolean {
  try {
    const value: unknown = JSON.parse(data.toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

function digest(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('base64');
}
