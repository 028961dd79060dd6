/**
 * The files in which the kernel describes the machine (/proc, /sys) and udev its devices (/run),
 * below a root that tests replace.
 */
import { readdir, readFile, readlink, realpath } from 'node:fs/promises';
import { join } from 'node:path';

export class MachineFiles {
  readonly #root: string;

  /** @param root directory in which /proc, /sys and /run are */
  constructor(root = '/') {
    this.#root = root;
  }

  /**
   * The content without spaces and line ends around it; `undefined` where there is no such file or
   * it cannot be read.
   */
  async text(path: string): Promise<string | undefined> {
    return (await this.bytes(path))?.toString('utf8').trim();
  }

  async bytes(path: string): Promise<Buffer | undefined> {
    return await readFile(join(this.#root, path)).catch(() => undefined);
  }

  /** The whole number in a file; `undefined` where there is none. */
  async integer(path: string): Promise<number | undefined> {
    const text = (await this.text(path)) ?? '';
    return /^-?\d+$/.test(text) ? Number(text) : undefined;
  }

  /** Names in a directory in the order of their bytes; none where there is no such directory. */
  async names(directory: string): Promise<string[]> {
    return (await readdir(join(this.#root, directory)).catch(() => [])).sort();
  }

  async isDirectory(path: string): Promise<boolean> {
    return await readdir(join(this.#root, path)).then(
      () => true,
      () => false,
    );
  }

  /** What a symbolic link says; `undefined` where there is none. */
  async target(path: string): Promise<string | undefined> {
    return await readlink(join(this.#root, path)).catch(() => undefined);
  }

  /** A path with all its links followed, below the root; `undefined` where it leads nowhere. */
  async real(path: string): Promise<string | undefined> {
    try {
      const root = await realpath(this.#root);
      const real = await realpath(join(root, path));
      return root === '/' ? real : real.startsWith(`${root}/`) ? real.slice(root.length) : undefined;
    } catch {
      return undefined; // Not there.
    }
  }
}
