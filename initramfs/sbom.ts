import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import type { Architecture } from '../debian/architecture.ts';
import { type Package, release } from '../debian/package.ts';

const root = resolve(import.meta.dirname, '..');

/** What a bill of materials is about. */
export interface Contents {
  /** The files that are delivered. */
  readonly files: readonly DeliveredFile[];
  readonly packages: readonly Package[];
  /** npm packages in the executable. */
  readonly npmPackages: readonly NpmPackage[];
  /** Container images that a site has added. Default: none. */
  readonly containerImages?: readonly ContainerImage[];
  /** Debian package → the text of its licences, for those whose licences ask to be passed on. */
  readonly licences?: ReadonlyMap<string, string>;
  /** Seconds since 1970. */
  readonly timeSeconds: number;
}

/** A file with its checksums in hexadecimal. SPDX 2.3 requires SHA-1 for files. */
export interface DeliveredFile {
  readonly name: string;
  readonly sha256: string;
  readonly sha1: string;
}

/** A container image: its names, and `sha256:…` of its configuration. */
export interface ContainerImage {
  readonly names: readonly string[];
  readonly id: string;
}

/** An npm package as the lock file of npm describes it. */
export interface NpmPackage {
  readonly name: string;
  readonly version: string;
  /** SPDX expression; undefined if its author gives none. */
  readonly license: string | undefined;
}

const NpmLock = z.object({
  packages: z.record(
    z.string(),
    z.object({
      version: z.string().optional(),
      license: z.string().optional(),
      dev: z.boolean().optional(),
      optional: z.boolean().optional(),
      devOptional: z.boolean().optional(),
    }),
  ),
});

/**
 * The packages that package-lock.json has for the product: those that the executable may contain. A
 * bundle has only the files that it uses. The executable begins with the Node of its architecture.
 */
export async function npmPackages({ node }: Architecture): Promise<NpmPackage[]> {
  const baseOfExecutable = `node_modules/node-linux-${node}`;
  const lock = NpmLock.parse(JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')));
  return Object.entries(lock.packages)
    .filter(
      ([path, one]) => path === baseOfExecutable || (path !== '' && !one.dev && !one.devOptional && !one.optional),
    )
    .map(([path, { version = '', license }]) => ({
      name: path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length),
      version,
      license,
    }));
}

/**
 * The bill of materials of an image in SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/), as JSON.
 * Same contents, same bytes: its namespace is derived from the files. Debian does not list licences
 * in a form that SPDX can name: those of its packages are not asserted, or their text is given.
 */
export function sbom(contents: Contents): string {
  const { files, packages, npmPackages, containerImages = [], licences = new Map(), timeSeconds } = contents;
  const texts = [...new Set(licences.values())];
  const licenceOf = (name: string): string => {
    const text = licences.get(name);
    return text === undefined ? 'NOASSERTION' : `LicenseRef-${texts.indexOf(text) + 1}`;
  };
  const elements = [
    ...packages.map((one) => debianElement(one, licenceOf(one.name))),
    ...npmPackages.map(npmElement),
    ...containerImages.map(imageElement),
  ];
  const name = 'nibs-boot-image';
  const image = {
    SPDXID: identifier('Package', name),
    name,
    downloadLocation: 'NOASSERTION',
    filesAnalyzed: false,
    licenseConcluded: 'NOASSERTION',
    licenseDeclared: 'NOASSERTION',
    copyrightText: 'NOASSERTION',
  };
  const fileElements = files.map(({ name, sha256, sha1 }) => ({
    SPDXID: identifier('File', name),
    fileName: `./${name}`,
    checksums: [
      { algorithm: 'SHA1', checksumValue: sha1 },
      { algorithm: 'SHA256', checksumValue: sha256 },
    ],
    licenseConcluded: 'NOASSERTION',
    copyrightText: 'NOASSERTION',
  }));
  const document = {
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: 'SPDXRef-DOCUMENT',
    name,
    documentNamespace: `urn:${name}:${files.map(({ sha256 }) => sha256).join(':')}`,
    creationInfo: {
      created: new Date(timeSeconds * 1000).toISOString().replace('.000Z', 'Z'),
      creators: ['Tool: nibs'],
    },
    packages: [image, ...elements],
    files: fileElements,
    ...(texts.length === 0 ? {} : { hasExtractedLicensingInfos: texts.map(licensingInfo) }),
    relationships: [
      relationship('SPDXRef-DOCUMENT', 'DESCRIBES', image.SPDXID),
      ...[...fileElements, ...elements].map(({ SPDXID }) => relationship(image.SPDXID, 'CONTAINS', SPDXID)),
    ],
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

function relationship(spdxElementId: string, relationshipType: string, relatedSpdxElement: string): object {
  return { spdxElementId, relationshipType, relatedSpdxElement };
}

function licensingInfo(extractedText: string, index: number): object {
  return { licenseId: `LicenseRef-${index + 1}`, extractedText };
}

function debianElement(one: Package, licence: string) {
  const purl = `pkg:deb/debian/${purlPart(one.name)}@${purlPart(one.version)}?arch=${one.architecture}&distro=${release}`;
  return {
    ...element('deb', one.name, one.version, licence, purl),
    supplier: one.maintainer.replace(/^(.*) <(.*)>$/, 'Organization: $1 ($2)'),
    packageFileName: one.path,
    checksums: [{ algorithm: 'SHA256', checksumValue: one.sha256 }],
  };
}

function npmElement(one: NpmPackage) {
  const purl = `pkg:npm/${one.name.split('/').map(purlPart).join('/')}@${purlPart(one.version)}`;
  return {
    ...element('npm', one.name, one.version, one.license ?? 'NOASSERTION', purl),
    supplier: 'NOASSERTION',
  };
}

/** Its layers are not taken apart. */
function imageElement({ names: [name = ''], id }: ContainerImage) {
  const repository = name.slice(name.lastIndexOf('/') + 1).replace(/:.*$/, '');
  return {
    ...element('image', name, id, 'NOASSERTION', `pkg:oci/${purlPart(repository)}@${purlPart(id)}`),
    supplier: 'NOASSERTION',
  };
}

function element(kind: string, name: string, versionInfo: string, licenseDeclared: string, purl: string) {
  return {
    SPDXID: identifier(kind, `${name}-${versionInfo}`),
    name,
    versionInfo,
    downloadLocation: 'NOASSERTION',
    filesAnalyzed: false,
    licenseConcluded: 'NOASSERTION',
    licenseDeclared,
    copyrightText: 'NOASSERTION',
    externalRefs: [{ referenceCategory: 'PACKAGE-MANAGER', referenceType: 'purl', referenceLocator: purl }],
  };
}

/** SPDX allows letters, digits, `.` and `-` in it. */
function identifier(kind: string, name: string): string {
  return `SPDXRef-${kind}-${name.replace(/[^a-zA-Z0-9.]+/g, (text) => `-${Buffer.from(text).toString('hex')}-`)}`;
}

/** The specification of package URLs encodes all but these. */
function purlPart(text: string): string {
  return encodeURIComponent(text).replaceAll('%3A', ':');
}
