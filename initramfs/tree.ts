import { createHash } from 'node:crypto';
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join, posix } from 'node:path';

/** An entry of the file tree of the image. The owner is root, the time that of the image. */
export type Entry =
  | { readonly kind: 'directory'; readonly mode: number }
  | { readonly kind: 'file'; readonly mode: number; readonly content: Uint8Array }
  | { readonly kind: 'link'; readonly target: string };

/**
 * Collects the files of one part of the image. Their order is that of their paths: same files, same
 * order, same bytes.
 */
export class Tree {
  readonly #entries = new Map<string, Entry>();

  /** All entries with their paths (no leading slash), directories before their contents. */
  get entries(): [path: string, entry: Entry][] {
    return [...this.#entries].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  has(path: string): boolean {
    return this.#entries.has(path);
  }

  /** The paths of all files (not links, not directories). */
  get files(): string[] {
    return this.entries.filter(([, entry]) => entry.kind === 'file').map(([path]) => path);
  }

  /** Total size of all files. */
  get sizeBytes(): number {
    return this.entries.reduce((sum, [, entry]) => sum + (entry.kind === 'file' ? entry.content.length : 0), 0);
  }

  directory(path: string, mode = 0o755): void {
    this.#put(path, { kind: 'directory', mode });
  }

  file(path: string, content: Uint8Array | string, mode = 0o644): void {
    this.#put(path, { kind: 'file', mode, content: typeof content === 'string' ? Buffer.from(content) : content });
  }

  link(path: string, target: string): void {
    this.#put(path, { kind: 'link', target });
  }

  /** Adds the entries of another tree; its files replace those of the same path. */
  add(other: Tree): void {
    for (const [path, entry] of other.entries)
      if (entry.kind !== 'directory' || !this.#entries.has(path)) this.#put(path, entry);
  }

  /**
   * Copies a file, a link, or a directory with its contents from the build host. Modes become 755
   * or 644.
   */
  async copy(source: string, path: string): Promise<void> {
    const status = await lstat(source);
    if (status.isSymbolicLink()) {
      this.link(path, await readlink(source));
    } else if (status.isDirectory()) {
      if (path !== '.') this.directory(path);
      for (const name of await readdir(source)) await this.copy(join(source, name), posix.join(path, name));
    } else {
      this.file(path, await readFile(source), (status.mode & 0o111) === 0 ? 0o644 : 0o755);
    }
  }

  /**
   * SHA-256 over paths, modes and contents: what a result made from this tree can be remembered by.
   */
  get hash(): string {
    const hash = createHash('sha256');
    for (const [path, entry] of this.entries) {
      const { kind } = entry;
      const detail = kind === 'link' ? entry.target : `${entry.mode} ${kind === 'file' ? entry.content.length : 0}`;
      hash.update(`${kind} ${path}\0${detail}\0`);
      if (kind === 'file') hash.update(entry.content);
    }
    return hash.digest('hex');
  }

  #put(path: string, entry: Entry): void {
    const parent = posix.dirname(path);
    if (parent !== '.' && !this.#entries.has(parent)) this.directory(parent);
    this.#entries.set(path, entry);
  }
}
