import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { type Daemon, startDaemon } from './daemon.ts';
import { unmountBelow } from './scratch-mount.ts';

/**
 * A private containerd of Debian's package: own socket, own store. Any number of them work side by
 * side. All containers go with it.
 */
export interface Containerd extends AsyncDisposable {
  readonly socketPath: string;
  /**
   * Directory with room for more files of this containerd, for example those of its registries; it
   * goes with it.
   */
  readonly directory: string;
  /** Path of its log; it is deleted with it. */
  readonly logPath: string;
  /** Runs `ctr` against it and returns what that prints. */
  ctr(...parameters: readonly string[]): Promise<string>;
  /** Ends containerd; its containers go on. */
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  /** Starts it again with the same store, and waits until it answers. */
  start(): Promise<void>;
}

/**
 * Starts a containerd and waits until it answers. Needs root and the packages containerd and runc.
 */
export async function startContainerd(): Promise<Containerd> {
  // Short: a socket path has at most 107 characters.
  const directory = await mkdtemp(join(tmpdir(), 'nibs-ctd-'));
  const at = (name: string) => join(directory, name);
  const socketPath = at('containerd.sock');
  const ctr = async (...parameters: readonly string[]) =>
    (await execa('ctr', ['--address', socketPath, ...parameters])).stdout;
  // The machine's own /etc/containerd/config.toml must not count.
  await writeFile(at('config.toml'), 'version = 2\n');
  let daemon: Daemon | undefined;

  async function start(): Promise<void> {
    daemon = await startDaemon({
      program: 'containerd',
      parameters: [
        ...['--config', at('config.toml'), '--address', socketPath],
        ...['--root', at('root'), '--state', at('state')],
      ],
      logPath: at('containerd.log'),
      ask: () => ctr('version'),
    });
  }

  async function stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    await daemon?.end(signal);
    daemon = undefined;
  }

  async function dispose(): Promise<void> {
    if (daemon === undefined) await start();
    for (const namespace of words(await ctr('namespaces', 'list', '--quiet'))) {
      for (const task of words(await ctr('--namespace', namespace, 'tasks', 'list', '--quiet')))
        await ctr('--namespace', namespace, 'tasks', 'delete', '--force', task);
    }
    await stop();
    await unmountBelow(directory);
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  }

  await start();
  return {
    ...{ socketPath, directory, logPath: at('containerd.log'), ctr, start, stop },
    [Symbol.asyncDispose]: dispose,
  };
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}
