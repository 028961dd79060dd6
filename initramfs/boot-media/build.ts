/**
 * Makes boot media of the boot image that initramfs/build.ts has built.
 *
 *     node initramfs/boot-media/build.ts uki|iso|netboot… [--arch x86_64|aarch64] [--output build]
 *       [--arguments TEXT] [--sign-key FILE --sign-cert FILE]
 *
 * - `uki` writes `nibs-x86_64.efi`, a unified kernel image; signed, if a key is given.
 * - `iso` writes `nibs-x86_64.iso`, for CD drives and USB sticks.
 * - `netboot` writes the directory `netboot`, for a TFTP or HTTP server.
 *
 * Beside each is its bill of materials (`….spdx.json`).
 *
 * `--arguments` are kernel arguments of the site. The same inputs give the same bytes; a signature
 * has a time.
 */
import { mkdtempDisposable, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { architectureOf, hostArchitecture } from '../../debian/architecture.ts';
import { reasonOf } from '../../errors/reason.ts';
import { billOf, billPath, sbom } from '../../sbom/sbom.ts';
import { fileDigest, writeChecksums, writeWhole } from '../checksums.ts';
import { type BootImage, findBootImage } from './boot-image.ts';
import { type BootLoaders, fetchBootLoaders } from './boot-loaders.ts';
import { writeIso } from './iso.ts';
import { fetchMediaTools } from './media-tools.ts';
import { writeNetboot } from './netboot.ts';
import { type SigningKey, sign } from './sign.ts';
import { makeUki } from './uki.ts';

const root = resolve(import.meta.dirname, '../..');
const cache = join(root, 'build/cache');

/** What Linux says is shown on the screen and on a serial line, unless arguments say otherwise. */
const usualConsoles = {
  x86_64: 'console=tty0 console=ttyS0,115200',
  aarch64: 'console=tty0 console=ttyAMA0,115200',
};

/** Writes a medium. `scratch` is an empty directory on the file system of the output. */
type Make = (path: string, scratch: string) => Promise<void>;

try {
  await main();
} catch (error) {
  process.stderr.write(`error: ${reasonOf(error)}\n`);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      arch: { type: 'string', default: hostArchitecture.name },
      output: { type: 'string', default: join(root, 'build') },
      arguments: { type: 'string', default: '' },
      'sign-key': { type: 'string' },
      'sign-cert': { type: 'string' },
    },
  });
  const output = resolve(values.output);
  const media = z
    .array(z.enum(['uki', 'iso', 'netboot']))
    .nonempty()
    .parse(positionals);
  const key = signingKey(values['sign-key'], values['sign-cert']);
  const architecture = architectureOf(values.arch);
  const image = await findBootImage(output, architecture.name);
  const loaders = await fetchBootLoaders(cache, architecture.debian);
  const tools = await fetchMediaTools(cache);
  const site = values.arguments;
  const otherwise = site.includes('console=') ? '' : usualConsoles[architecture.name];

  const makers: Record<(typeof media)[number], [name: string, make: Make]> = {
    uki: [
      `nibs-${image.machine}.efi`,
      async (path, scratch) => {
        const unsigned = key === undefined ? path : join(scratch, 'unsigned.efi');
        await writeFile(unsigned, await makeUki(image, `${otherwise} ${site}`.trim(), loaders.uefiStub));
        if (key !== undefined) await sign(unsigned, path, key, tools);
      },
    ],
    iso: [
      `nibs-${image.machine}.iso`,
      (path, scratch) => writeIso(path, image, { site, otherwise }, loaders, scratch, tools),
    ],
    netboot: [
      architecture.name === 'x86_64' ? 'netboot' : `netboot-${image.machine}`,
      (path) => writeNetboot(path, image, { site, otherwise }, loaders),
    ],
  };
  for (const medium of media) {
    const [name, make] = makers[medium];
    await using scratch = await mkdtempDisposable(join(output, `${medium}-`));
    const unfinished = join(scratch.path, name);
    await make(unfinished, scratch.path);
    if (medium === 'netboot') await rm(join(output, name), { recursive: true, force: true }); // rename() keeps it
    await rename(unfinished, join(output, name));
    await writeBill(join(output, name), image, loaders);
    process.stdout.write(`${join(output, name)}\n`);
  }
  await writeChecksums(
    output,
    media.filter((medium) => medium !== 'netboot').map((medium) => makers[medium][0]),
  );
}

/** Writes the bill of materials of a medium, or of a directory of files, beside it. */
async function writeBill(path: string, image: BootImage, { packages }: BootLoaders): Promise<void> {
  const isDirectory = (await stat(path)).isDirectory();
  const below = isDirectory ? await readdir(path, { recursive: true, withFileTypes: true }) : [];
  const paths = isDirectory ? below.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name)) : [path];
  const files = paths.sort().map(async (file) => ({
    name: relative(dirname(path), file),
    sha256: await fileDigest(file, 'sha256'),
    sha1: await fileDigest(file, 'sha1'),
  }));
  const bill = sbom({
    name: basename(path),
    files: await Promise.all(files),
    packages,
    included: [await billOf(image.initramfs)],
    timeSeconds: image.timeSeconds,
  });
  await writeWhole(billPath(path), bill);
}

/** @throws {Error} only one of both is given */
function signingKey(key: string | undefined, certificate: string | undefined): SigningKey | undefined {
  if (key === undefined && certificate === undefined) return undefined;
  if (key === undefined || certificate === undefined)
    throw new Error('signing needs both a key and its certificate (SIGN_KEY, SIGN_CERT)');
  return { key, certificate };
}
