/**
 * Builds a second initramfs with what a site adds to the boot image, for boot loaders that load
 * several.
 *
 *     node initramfs/site-initramfs.ts [--arch x86_64|aarch64] [--output build]
 *       [--files directory …] [--certificate file …] [--image [name:tag=]file …]
 *       [--package name …] [--module name …] [--authorized-keys file] [--ssh dropbear]
 *       [--kernel stable|backports] [--engine docker|podman]
 *
 * It writes site-initramfs-x86_64 and site-initramfs-x86_64.manifest.json. The same inputs give the
 * same bytes.
 */
import { createHash } from 'node:crypto';
import { mkdir, mkdtempDisposable } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { architectureOf, hostArchitecture } from '../debian/architecture.ts';
import { OperationError } from '../errors/operation-error.ts';
import { manifestOf, packAdditions, readAdditions } from './additions/additions.ts';
import { additionArguments, additionOptions } from './additions/options.ts';
import { writeChecksums, writeWhole } from './checksums.ts';
import { exitOnMistake } from './exit-on-mistake.ts';
import { engines, kernels } from './package-sets.ts';
import { defaultEngine, fetchSystem } from './system.ts';

await exitOnMistake(main);

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      arch: { type: 'string', default: hostArchitecture.name },
      output: { type: 'string', default: resolve(import.meta.dirname, '../build') },
      kernel: { type: 'string', default: 'stable' },
      engine: { type: 'string', default: defaultEngine },
      ...additionArguments,
    },
  });
  const options = additionOptions(values);
  if (options === undefined)
    throw new OperationError({
      ...{ what: 'make', target: 'a second initramfs', why: 'there is nothing to add' },
      hint: 'give FILES=, CERTIFICATES=, IMAGES=, PACKAGES=, MODULES=, AUTHORIZED_KEYS= or SSH=',
    });
  const architecture = architectureOf(values.arch);
  const kernel = z.enum(kernels).parse(values.kernel);
  const engine = z.enum(engines).parse(values.engine);
  const cache = resolve(import.meta.dirname, '../build/cache');
  await mkdir(cache, { recursive: true });
  await using scratch = await mkdtempDisposable(join(cache, 'site-initramfs-'));
  const system = () => fetchSystem(cache, { architecture, kernel, engine });
  const sources = { architecture, system, cache, scratch: join(scratch.path, 'modules') };
  const additions = await readAdditions(options, sources);
  const initramfs = await packAdditions(additions.tree, timeSeconds());
  const name = `site-initramfs-${architecture.name}`;
  const sha256 = createHash('sha256').update(initramfs).digest('hex');
  const described = { initramfs: { sizeBytes: initramfs.length, sha256 }, site: manifestOf(additions) };
  const output = resolve(values.output);
  await mkdir(output, { recursive: true });
  await writeWhole(join(output, name), initramfs);
  await writeWhole(join(output, `${name}.manifest.json`), `${JSON.stringify(described, undefined, 2)}\n`);
  await writeChecksums(output, [name, `${name}.manifest.json`]);
  process.stdout.write(`${name} ${(initramfs.length / 2 ** 20).toFixed(1)} MiB\n`);
}

/** Of all its files. The time of the build would make other bytes of the same files. */
function timeSeconds(): number {
  return Number.parseInt(process.env['SOURCE_DATE_EPOCH'] ?? '0', 10);
}
