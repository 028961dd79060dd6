import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

/**
 * Files of a machine: path → content, `-> target` for a link, `hex:…` for bytes that are not text.
 */
export type MachineTree = Readonly<Record<string, string>>;

/** Trees that were recorded or written (see README.md there), in alphabetical order. */
export const machines = join(import.meta.dirname, 'machines');

export async function readTree(name: string): Promise<MachineTree> {
  return JSON.parse(await readFile(join(machines, `${name}.json`), 'utf8'));
}

/**
 * Writes a tree to a scratch directory. The target of each link exists, at least as a directory:
 * the kernel has no dangling links.
 */
export async function layOut(tree: MachineTree): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'nibs-machine-'));
  await layOutIn(path, tree);
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

export async function layOutIn(root: string, tree: MachineTree): Promise<void> {
  const entries = Object.entries(tree);
  const links = entries.filter(([, content]) => content.startsWith('-> '));
  for (const [path, content] of entries.filter((entry) => !links.includes(entry))) {
    await mkdir(join(root, dirname(path)), { recursive: true });
    await writeFile(join(root, path), toBytes(content));
  }
  for (const [path, content] of links) {
    const target = content.slice('-> '.length);
    await mkdir(join(root, dirname(path)), { recursive: true });
    await mkdir(join(root, resolve(dirname(path), target)), { recursive: true });
    await symlink(target, join(root, path));
  }
}

function toBytes(content: string): Buffer {
  return content.startsWith('hex:') ? Buffer.from(content.slice('hex:'.length), 'hex') : Buffer.from(content);
}
