import { execa } from 'execa';

/**
 * Stands for the Internet: servers here listen on it, and machines reach it through their gateway,
 * the provisioner. Of the addresses for documentation (RFC 5737, TEST-NET-3).
 */
export const internetAddress = '203.0.113.10';

/**
 * A network of its own for a provisioner and its machines: a namespace with a bridge that has the
 * provisioner's address, and taps on it.
 */
export interface SandboxNetwork extends AsyncDisposable {
  /** Name for `ip netns exec`. */
  readonly namespace: string;
  /** Adds a tap device for one machine's card and returns its name. */
  addTap(): Promise<string>;
}

export interface SandboxNetworkOptions {
  /** Start of the namespace's name; the process id follows, so that two runs do not meet. */
  readonly name: string;
  /** The provisioner's address with the length of its prefix. */
  readonly address: string;
}

/** Makes the network. No packet leaves it: there is no route to the host. */
export async function createSandboxNetwork(options: SandboxNetworkOptions): Promise<SandboxNetwork> {
  await removeAbandoned(options.name);
  const namespace = `${options.name}-${process.pid}`;
  const inNamespace = (...args: string[]) => execa('ip', ['-n', namespace, ...args]);
  await execa('ip', ['netns', 'add', namespace]);
  let taps = 0;
  try {
    await inNamespace('link', 'set', 'lo', 'up');
    await inNamespace('addr', 'add', `${internetAddress}/32`, 'dev', 'lo');
    await inNamespace('link', 'add', 'br0', 'type', 'bridge');
    await inNamespace('addr', 'add', options.address, 'dev', 'br0');
    await inNamespace('link', 'set', 'br0', 'up');
  } catch (error) {
    await execa('ip', ['netns', 'delete', namespace], { reject: false });
    throw error;
  }
  return {
    namespace,
    addTap: async () => {
      const tap = `tap${taps++}`;
      await inNamespace('tuntap', 'add', tap, 'mode', 'tap');
      await inNamespace('link', 'set', tap, 'master', 'br0', 'up');
      return tap;
    },
    [Symbol.asyncDispose]: async () => {
      await execa('ip', ['netns', 'delete', namespace], { reject: false });
    },
  };
}

/** Removes namespaces whose process was killed before it could. */
async function removeAbandoned(name: string): Promise<void> {
  const { stdout } = await execa('ip', ['netns', 'list']);
  const names = stdout.split('\n').map((line) => line.split(' ')[0] ?? '');
  const abandoned = names.filter(
    (entry) => entry.startsWith(`${name}-`) && !isAlive(Number(entry.slice(name.length + 1))),
  );
  for (const namespace of abandoned) await execa('ip', ['netns', 'delete', namespace], { reject: false });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
