/**
 * Builds a release from the sources of this checkout, for x86_64 and aarch64.
 *
 *     node release/build.ts [--version 1.2.3] [--output build/release]
 *       [--parts images,packages,boot-x86_64,boot-aarch64] [--compression-level 19]
 *       [--sign-key KEY] [--maintainer 'NAME <ADDRESS>'] [--builder URI] [--repository URI]
 *
 * `--maintainer` is needed for the packages; its default is in the Makefile.
 *
 * Beside each file are its bill of materials (`….spdx.json`; that of `vmlinuz-x86_64` is
 * `initramfs-x86_64.spdx.json`) and its provenance (`….provenance.json`). SHA256SUMS has the
 * checksums of all files; `--sign-key` signs it. docs/releases.md lists the files.
 *
 * The same commit and arguments give the same bytes, but for the signature, which has a time.
 */
import { copyFile, link, mkdir, mkdtempDisposable, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { architectures, hostArchitecture } from '../debian/architecture.ts';
import { fileDigest, writeChecksums, writeWhole } from '../initramfs/checksums.ts';
import { exitOnMistake } from '../initramfs/exit-on-mistake.ts';
import { writeOciIndex } from '../initramfs/oci.ts';
import { billOf, billPath, sbom } from '../sbom/sbom.ts';
import { writeBootArtifact } from './boot-artifact.ts';
import { writeDebianPackage } from './debian/package.ts';
import { debianPackages } from './debian/packages.ts';
import { readMaintainer } from './maintainer.ts';
import { bootFiles, buildParts, imagePart, type Part, parts } from './parts.ts';
import { type ProvenanceOptions, provenance, provenancePath } from './provenance.ts';
import { signFile } from './sign.ts';
import { inRepository, readSource, type Source } from './source.ts';

/** Everything in a container image and in its archive, so that unchanged layers stay the same. */
const created = new Date(0);

const title = {
  'flatcar-install': 'flatcar-install',
  image2disk: 'image2disk',
  'tink-worker': 'tink-agent',
  'nibs-boot-image': 'boot image',
};

interface Release {
  readonly source: Source;
  readonly parts: readonly Part[];
  readonly compressionLevel: string | undefined;
  readonly maintainer: string;
  /** Directory with the parts for each architecture. */
  readonly built: string;
  /** Directory that becomes the release. */
  readonly output: string;
}

/** A file that is released, and where its bill of materials is. */
interface Product {
  readonly path: string;
  readonly bill: string;
}

await exitOnMistake(main);

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      version: { type: 'string' },
      output: { type: 'string', default: inRepository('build/release') },
      parts: { type: 'string', default: parts.join(',') },
      'compression-level': { type: 'string' },
      'sign-key': { type: 'string' },
      maintainer: { type: 'string' },
      builder: { type: 'string', default: 'urn:nibs:make-release' },
      repository: { type: 'string', default: 'urn:nibs:repository' },
    },
  });
  const source = await readSource(values.version);
  if (source.commit.endsWith('-dirty'))
    process.stderr.write('warning: the sources differ from the commit: the version says -dirty\n');
  const chosen = z.array(z.enum(parts)).parse(values.parts.split(/[\s,]+/).filter((part) => part !== ''));
  const maintainer = chosen.includes('packages') ? readMaintainer(values.maintainer) : '';
  const compressionLevel = values['compression-level'];
  const output = resolve(values.output);
  const unfinished = `${output}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(unfinished, { recursive: true });
  await using scratch = await mkdtempDisposable(`${output}.parts-`);
  const built = scratch.path;

  await buildParts({ source, parts: chosen, compressionLevel }, built);
  const { builder, repository } = values;
  const release: Release = { source, parts: chosen, compressionLevel, maintainer, built, output: unfinished };
  const products = [
    ...(await takeExecutables(release)),
    ...(await makeImages(release)),
    ...(await makePackages(release)),
    ...(await takeBootImages(release)),
  ];
  const parameters = { version: source.version, parts: chosen, compressionLevel };
  await writeProvenances(products, { source, parameters, builder, repository });
  await writeChecksums(unfinished, await readdir(unfinished));
  if (values['sign-key'] !== undefined) await signFile(join(unfinished, 'SHA256SUMS'), values['sign-key']);
  await rm(output, { recursive: true, force: true });
  await rename(unfinished, output);
  process.stdout.write(`${output}\n`);
}

async function takeExecutables(release: Release): Promise<Product[]> {
  const names = architectures.map(({ node }) => `nibs-linux-${node}`);
  return await Promise.all(names.map((name) => take(name, release)));
}

/** Moves a file of the parts into the release, with its bill of materials. */
async function take(name: string, { built, output }: Release, bill = name): Promise<Product> {
  await link(join(built, name), join(output, name));
  if (bill === name) await copyFile(join(built, billPath(name)), join(output, billPath(name)));
  return { path: join(output, name), bill: join(output, billPath(bill)) };
}

async function makeImages(release: Release): Promise<Product[]> {
  if (!release.parts.includes('images')) return [];
  const products = [];
  for (const name of ['flatcar-install', 'image2disk', 'tink-worker'] as const) {
    const images = architectures.map(({ debian: architecture }) => ({
      path: join(release.built, imagePart(name, architecture)),
      architecture,
    }));
    const path = join(release.output, `${name}.oci.tar`);
    await writeOciIndex({ ...labels(name, release), images, created }, path);
    products.push(await describe(path, await Promise.all(images.map((image) => billOf(image.path)))));
  }
  return products;
}

function labels(name: keyof typeof title, { source }: Release) {
  const key = (word: string) => `org.opencontainers.image.${word}`;
  return {
    reference: `${name}:${source.version}`,
    annotations: {
      [key('title')]: `nibs ${title[name]}`,
      [key('version')]: source.version,
      [key('revision')]: source.fullCommit,
      [key('licenses')]: 'Apache-2.0',
    },
  };
}

/** Writes the bill of materials of a product beside it. */
async function describe(path: string, included: readonly string[]): Promise<Product> {
  const name = basename(path);
  const files = [{ name, sha256: await fileDigest(path, 'sha256'), sha1: await fileDigest(path, 'sha1') }];
  await writeWhole(billPath(path), sbom({ name, files, included, timeSeconds: created.getTime() / 1000 }));
  return { path, bill: billPath(path) };
}

async function makePackages(release: Release): Promise<Product[]> {
  const { source, built, output, maintainer, compressionLevel } = release;
  if (!release.parts.includes('packages')) return [];
  const ownExecutable = join(built, `nibs-linux-${hostArchitecture.node}`);
  const products = [];
  for (const architecture of architectures) {
    const executable = join(built, `nibs-linux-${architecture.node}`);
    const level = compressionLevel === undefined ? undefined : String(Math.min(9, Number(compressionLevel)));
    for (const one of await debianPackages({ source, architecture, executable, ownExecutable, maintainer })) {
      const path = join(output, `${one.name}_${one.version}_${one.architecture}.deb`);
      await using scratch = await mkdtempDisposable(join(built, 'package-'));
      await writeDebianPackage(one, path, scratch.path, level);
      const contains = Object.values(one.files).some((file) => 'copyOf' in file && file.copyOf === executable);
      products.push(await describe(path, contains ? [await billOf(executable)] : []));
    }
  }
  return products;
}

async function takeBootImages(release: Release): Promise<Product[]> {
  const products: Product[] = [];
  for (const { name } of architectures) {
    if (!release.parts.includes(`boot-${name}`)) continue;
    const [kernel, initramfs, manifest] = bootFiles(name).image;
    products.push(await take(initramfs, release), await take(kernel, release, initramfs));
    await link(join(release.built, manifest), join(release.output, manifest));
    for (const medium of bootFiles(name).media) products.push(await take(medium, release));
  }
  if (products.length === 0) return [];
  const path = join(release.output, 'nibs-boot-image.oci.tar');
  const files = products.map((product) => product.path).filter((file) => !file.endsWith('.efi'));
  await writeBootArtifact({ ...labels('nibs-boot-image', release), files, created }, path, release.built);
  const bills = [...new Set(products.map(({ bill }) => bill))];
  return [...products, await describe(path, await Promise.all(bills.map((bill) => readFile(bill, 'utf8'))))];
}

async function writeProvenances(products: readonly Product[], options: ProvenanceOptions): Promise<void> {
  for (const { path, bill } of products) {
    const subject = { name: basename(path), sha256: await fileDigest(path, 'sha256') };
    await writeWhole(provenancePath(path), await provenance(subject, await readFile(bill, 'utf8'), options));
  }
}
