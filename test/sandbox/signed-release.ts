import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { writeBootCode } from './boot-code.ts';
import { makeFlatcarImage } from './flatcar-layout.ts';
import type { Mirror } from './mirror.ts';
import { createGpg, type Gpg } from './signing.ts';

/**
 * A release as its makers have it: an image, compressed with lbzip2 and signed by a subkey of the
 * year.
 */
export interface SignedRelease extends AsyncDisposable {
  /** Scratch directory that lives as long as the release. */
  readonly directory: string;
  /** Raw image. */
  readonly imagePath: string;
  readonly imageBytes: number;
  readonly compressed: Buffer;
  readonly signature: Buffer;
  /** Public key in a file, for `-k`. */
  readonly keyPath: string;
  readonly gpg: Gpg;
  readonly primary: string;
  readonly subkey: string;
}

export const releaseVersion = '1.2.3';
/**
 * So much that a decoder that reads ahead cannot have read it all before something is on the disk.
 */
const usrBytes = 15 * 1024 * 1024;
export const imageFile = `/${releaseVersion}/flatcar_production_image.bin.bz2`;

/** @param bootCode at most 440 bytes, for the first sector of the image. Default: none. */
export async function makeSignedRelease({ bootCode }: { readonly bootCode?: Uint8Array } = {}): Promise<SignedRelease> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-release-'));
  const gpg = await createGpg();
  const imagePath = join(directory, 'image.bin');
  const imageBytes = await makeFlatcarImage({ path: imagePath, usrBytes });
  if (bootCode !== undefined) await writeBootCode(imagePath, bootCode);
  const compressed = await compress(imagePath);
  const primary = await gpg.createPrimary('release', { algorithm: 'rsa2048' });
  const subkey = await gpg.addSubkey(primary, { algorithm: 'rsa2048' });
  const keyPath = join(directory, 'key.asc');
  await writeFile(keyPath, await gpg.exportKeys(primary));
  return {
    directory,
    imagePath,
    imageBytes,
    compressed,
    signature: await gpg.sign(compressed, [subkey]),
    keyPath,
    gpg,
    primary,
    subkey,
    async [Symbol.asyncDispose]() {
      await gpg[Symbol.asyncDispose]();
      await rm(directory, { recursive: true });
    },
  };
}

/** As Flatcar's pipeline does it. */
export async function compress(path: string): Promise<Buffer> {
  await execa('lbzip2', ['--keep', '--force', path]);
  return await readFile(`${path}.bz2`);
}

/** Puts a release where `-b` finds it, as the current one. */
export function publish(
  mirror: Mirror,
  { compressed, signature }: Pick<SignedRelease, 'compressed' | 'signature'>,
): void {
  mirror.put(
    '/current/version.txt',
    Buffer.from(`FLATCAR_BUILD=1\nFLATCAR_VERSION=${releaseVersion}\nFLATCAR_BUILD_ID=""\n`),
  );
  mirror.put(imageFile, compressed);
  mirror.put(`${imageFile}.sig`, signature);
}
