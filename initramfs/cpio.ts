import type { Tree } from './tree.ts';

/**
 * Packs a tree as a cpio archive of the "newc" format, padded to whole 512-byte blocks: several of
 * them, compressed or not, may follow one another in an initramfs (kernel.org:
 * Documentation/driver-api/early-userspace/buffer-format.rst).
 */
export function cpio(tree: Tree, timeSeconds: number): Buffer {
  const parts: Uint8Array[] = [];
  let inode = 0;
  for (const [path, entry] of tree.entries) {
    inode += 1;
    if (entry.kind === 'directory') parts.push(...member(path, 0o040000 | entry.mode, Buffer.alloc(0)));
    if (entry.kind === 'link') parts.push(...member(path, 0o120777, Buffer.from(entry.target)));
    if (entry.kind === 'file') parts.push(...member(path, 0o100000 | entry.mode, entry.content));
  }
  parts.push(...member('TRAILER!!!', 0, Buffer.alloc(0)));
  const archive = Buffer.concat(parts);
  return Buffer.concat([archive, Buffer.alloc(-archive.length & 511)]);

  function member(path: string, mode: number, content: Uint8Array): Uint8Array[] {
    const name = Buffer.from(`${path}\0`);
    const links = (mode & 0o170000) === 0o040000 ? 2 : 1;
    const fields = [inode, mode, 0, 0, links, timeSeconds, content.length, 0, 0, 0, 0, name.length, 0];
    const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`);
    return [header, name, pad(header.length + name.length), content, pad(content.length)];
  }
}

function pad(lengthBytes: number): Uint8Array {
  return Buffer.alloc(-lengthBytes & 3);
}
