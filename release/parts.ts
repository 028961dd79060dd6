import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { type Architecture, architectures } from '../debian/architecture.ts';
import { billPath } from '../sbom/sbom.ts';
import { inRepository, type Source } from './source.ts';

/** What can be released on its own. Each part needs the executables, which are always built. */
export const parts = ['images', 'packages', 'boot-x86_64', 'boot-aarch64'] as const;

export type Part = (typeof parts)[number];

export interface BuildOptions {
  readonly source: Source;
  readonly parts: readonly Part[];
  /** Of the boot image and the packages, 1 to 9. Default: the best ones. */
  readonly compressionLevel?: string | undefined;
}

/** Container images, by the script that builds one for an architecture, and its arguments. */
const imageScripts = {
  'flatcar-install': ['initramfs/action-image.ts'],
  image2disk: ['initramfs/action-image.ts', '--name', 'image2disk'],
  'tink-worker': ['initramfs/agent-image.ts'],
} as const;

/** Builds what does not depend on the other architecture. */
export async function buildParts(options: BuildOptions, directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const architecture of architectures) {
    await buildExecutable(architecture, options, directory);
    if (options.parts.includes('images')) await buildImages(architecture, directory);
    if (options.parts.includes(`boot-${architecture.name}`)) await buildBootImage(architecture, options, directory);
  }
}

async function buildExecutable({ name }: Architecture, { source }: BuildOptions, directory: string): Promise<void> {
  await build('executable/build.ts', ['--arch', name, '--output', directory, '--version', source.version]);
}

async function buildImages({ name, node, debian }: Architecture, directory: string): Promise<void> {
  for (const [image, [script, ...which]] of Object.entries(imageScripts)) {
    const output = join(directory, imagePart(image, debian));
    const executable = join(directory, `nibs-linux-${node}`);
    await build(script, [...which, '--arch', name, '--executable', executable, '--output', output]);
  }
}

/** The archive of an image for one architecture. */
export function imagePart(image: string, architecture: string): string {
  return `${image}-${architecture}.oci.tar`;
}

async function buildBootImage(
  { name, node }: Architecture,
  { compressionLevel }: BuildOptions,
  directory: string,
): Promise<void> {
  const where = ['--arch', name, '--output', directory];
  const level = compressionLevel === undefined ? [] : ['--compression-level', compressionLevel];
  await build('initramfs/build.ts', [...where, ...level, '--executable', join(directory, `nibs-linux-${node}`)]);
  await build('initramfs/boot-media/build.ts', [...where, 'iso', 'uki']);
}

/** Names of the files of the boot image for an architecture. */
export function bootFiles(architecture: string) {
  const initramfs = `initramfs-${architecture}`;
  return {
    image: [`vmlinuz-${architecture}`, initramfs, `${initramfs}.manifest.json`, billPath(initramfs)],
    media: [`nibs-${architecture}.iso`, `nibs-${architecture}.efi`],
  } as const;
}

/** What it prints is progress. */
async function build(script: string, args: readonly string[]): Promise<void> {
  process.stderr.write(`${script} ${args.join(' ')}\n`);
  await execa(process.execPath, [inRepository(script), ...args], { stdin: 'ignore', stdout: 2, stderr: 2 });
}
