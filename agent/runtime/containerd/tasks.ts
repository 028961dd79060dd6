import { constants } from 'node:os';
import { GrpcError } from '../../../net/grpc/grpc-error.ts';
import { type Mount, type Process, TaskStatus, TasksDefinition } from '../../../proto/containerd.pb.ts';
import { type ContainerdClient, ignoreIf, isNotFound } from './client.ts';

/** How the first process of a container exited, as containerd says it. */
export interface TaskExit {
  readonly exitCode: number;
  /** `undefined`: containerd does not say. */
  readonly exitedAt: Date | undefined;
}

/** Tasks of containerd: the processes of containers. */
export class Tasks {
  readonly #client: ContainerdClient;

  constructor(client: ContainerdClient) {
    this.#client = client;
  }

  /** The first process of each container that has one. */
  async list(signal: AbortSignal): Promise<ReadonlyMap<string, Process>> {
    const { tasks } = await this.#client.call(TasksDefinition, 'list', { filter: '' }, { signal });
    return new Map(tasks.map((process) => [process.id || process.containerId, process]));
  }

  /** The first process of a container. `undefined`: there is none, not even one that has exited. */
  async get(id: string, signal: AbortSignal): Promise<Process | undefined> {
    const request = { containerId: id, execId: '' };
    return (await ignoreIf(isNotFound, this.#client.call(TasksDefinition, 'get', request, { signal })))?.process;
  }

  /** @param output URI of the program that takes the output */
  async start(id: string, rootfs: Mount[], output: string, signal: AbortSignal): Promise<void> {
    const task = { containerId: id, rootfs, stdin: '', stdout: output, stderr: output, terminal: false };
    await this.#client.call(TasksDefinition, 'create', task, { signal });
    await this.#client.call(TasksDefinition, 'start', { containerId: id, execId: '' }, { signal });
  }

  /** Waits until the first process has exited. `undefined`: there is none. */
  async wait(id: string, signal: AbortSignal): Promise<TaskExit | undefined> {
    const request = { containerId: id, execId: '' };
    const response = await ignoreIf(isNotFound, this.#client.call(TasksDefinition, 'wait', request, { signal }));
    return response && { exitCode: response.exitStatus, exitedAt: response.exitedAt };
  }

  /**
   * Sends a signal to the first process.
   * @returns false: there is none, or it has exited
   */
  async signal(id: string, number: number, signal: AbortSignal): Promise<boolean> {
    return await this.#send(id, number, false, signal);
  }

  /** Kills all processes and waits until the first one has exited. */
  async kill(id: string, signal: AbortSignal): Promise<void> {
    const exited = this.wait(id, signal);
    // It is awaited below; if the request before that fails, it is not.
    exited.catch(() => {});
    if (await this.#send(id, constants.signals.SIGKILL, true, signal)) await exited;
  }

  /**
   * Removes what containerd stores of the processes. Waits until the shim has passed on what the
   * container printed.
   */
  async delete(id: string, signal: AbortSignal): Promise<void> {
    await ignoreIf(isNotFound, this.#client.call(TasksDefinition, 'delete', { containerId: id }, { signal }));
  }

  /** Kills what runs, and removes what containerd stores of it. */
  async clear(id: string, signal: AbortSignal): Promise<void> {
    const process = await this.get(id, signal);
    if (process === undefined) return;
    if (process.status !== TaskStatus.STOPPED) await this.kill(id, signal);
    await this.delete(id, signal);
  }

  async #send(id: string, number: number, all: boolean, signal: AbortSignal): Promise<boolean> {
    const request = { containerId: id, execId: '', signal: number, all };
    const sent = await ignoreIf(hasExited, this.#client.call(TasksDefinition, 'kill', request, { signal }));
    return sent !== undefined;
  }
}

/** containerd has no code of its own for a process that has exited. */
function hasExited(error: unknown): boolean {
  return isNotFound(error) || (error instanceof GrpcError && /process already finished/i.test(error.details));
}
