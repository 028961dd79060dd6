import { access, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { execa } from 'execa';
import { makeFlatcarImage, todaysSizes } from '../sandbox/flatcar-layout.ts';
import { createGpg } from '../sandbox/signing.ts';

const root = resolve(import.meta.dirname, '../..');

interface ReleaseOptions {
  /** A small image. */
  readonly isQuick: boolean;
  readonly signal: AbortSignal;
}

/**
 * The image, raw and compressed, its signature and the key.
 * @returns their directory
 */
export async function provideRelease({ isQuick, signal }: ReleaseOptions): Promise<string> {
  const made = join(root, 'build/cache/bench', isQuick ? 'quick-1' : 'flatcar-1');
  if (
    await access(join(made, 'key.asc')).then(
      () => true,
      () => false,
    )
  )
    return made;
  const unfinished = `${made}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(unfinished, { recursive: true });
  const path = join(unfinished, 'image.bin');
  const sizes = isQuick ? { ROOT: 600, 'USR-A': 64 } : todaysSizes;
  await makeFlatcarImage({ path, sizes, usrBytes: isQuick ? 40e6 : 500e6 });
  await execa('lbzip2', ['-9', '--keep', path], { cancelSignal: signal });
  await using gpg = await createGpg();
  const primary = await gpg.createPrimary('release', { algorithm: 'rsa3072' });
  const subkey = await gpg.addSubkey(primary, { algorithm: 'rsa3072' });
  await writeFile(`${path}.bz2.sig`, await gpg.sign(await readFile(`${path}.bz2`), [subkey]));
  await writeFile(join(unfinished, 'key.asc'), await gpg.exportKeys(primary));
  await rename(unfinished, made);
  return made;
}
