import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

/**
 * The compiled liblzma. In a bundle, `esbuild-plugin.ts` replaces this module by one that contains
 * it as text.
 */
export async function liblzmaBinary(): Promise<Uint8Array> {
  return await readFile(fileURLToPath(import.meta.resolve('node-liblzma/wasm/liblzma.wasm')));
}
