import { ok } from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { hostArchitecture } from '../../debian/architecture.ts';

/** The initramfs that `make initramfs` has built for this machine. */
export const builtInitramfs = join(import.meta.dirname, `../../build/initramfs-${hostArchitecture.name}`);

/** Offsets of the squashfs images in the archives that the initramfs begins with. */
export async function findLayers(image: string): Promise<number[]> {
  await using file = await open(image);
  const found: number[] = [];
  const roundUp = (value: number, multiple: number) => Math.ceil(value / multiple) * multiple;
  for (let offset = 0; ; ) {
    const header = (await file.read(Buffer.alloc(110), 0, 110, offset)).buffer.toString('latin1');
    if (!header.startsWith('070701')) return found; // the last archive is compressed
    const [sizeBytes, nameBytes] = [54, 94].map((at) => Number.parseInt(header.slice(at, at + 8), 16));
    ok(sizeBytes !== undefined && nameBytes !== undefined);
    const { buffer } = await file.read(Buffer.alloc(nameBytes - 1), 0, nameBytes - 1, offset + 110);
    const content = offset + roundUp(110 + nameBytes, 4);
    if (buffer.toString().endsWith('.squashfs')) found.push(content);
    offset = content + roundUp(sizeBytes, 4);
    if (buffer.toString() === 'TRAILER!!!') offset = roundUp(offset, 512);
  }
}
