import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { type Package, release } from '../debian/package.ts';

/** What a bill of materials is about. */
export interface Contents {
  /** Of what: letters, digits, `.` and `-`. */
  readonly name: string;
  /** The files that are delivered. */
  readonly files: readonly DeliveredFile[];
  /** Debian packages. Default: none. */
  readonly packages?: readonly Package[];
  /** Default: none. */
  readonly npmPackages?: readonly NpmPackage[];
  /** What is compiled into a program. Default: none. */
  readonly libraries?: readonly Library[];
  /** Container images that a site has added. Default: none. */
  readonly containerImages?: readonly ContainerImage[];
  /** Bills of materials of what is inside, of this module. Default: none. */
  readonly included?: readonly string[];
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

/** A library without a registry of packages. */
export interface Library {
  readonly name: string;
  readonly version: string;
  /** SPDX expression; undefined if it is not asserted. */
  readonly license?: string;
  /** Package URL. Default: one of the type `generic`. */
  readonly purl?: string;
}

const Included = z.object({
  packages: z.array(z.looseObject({ SPDXID: z.string() })),
  hasExtractedLicensingInfos: z.array(z.looseObject({})).default([]),
});

/**
 * The bill of materials beside a file.
 * @throws {Error} there is none
 */
export async function billOf(path: string): Promise<string> {
  return await readFile(billPath(path), 'utf8').catch((cause: unknown) => {
    throw new Error(`${path} has no bill of materials beside it (make build writes it)`, { cause });
  });
}

export function billPath(path: string): string {
  return `${path}.spdx.json`;
}

/**
 * The bill of materials in SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/), as JSON.
 * Same contents, same bytes: its namespace is derived from the files. Debian does not list licences
 * in a form that SPDX can name: those of its packages are not asserted, or their text is given.
 */
export function sbom(contents: Contents): string {
  const { name, files, packages = [], npmPackages = [], libraries = [], timeSeconds } = contents;
  const { containerImages = [], included = [], licences = new Map() } = contents;
  const inside = included.map((text) => Included.parse(JSON.parse(text)));
  const texts = [...new Set(licences.values())];
  const licenceOf = (name: string): string => {
    const text = licences.get(name);
    return text === undefined ? 'NOASSERTION' : `LicenseRef-${texts.indexOf(text) + 1}`;
  };
  const elements = [
    ...packages.map((one) => debianElement(one, licenceOf(one.name))),
    ...npmPackages.map(npmElement),
    ...libraries.map(libraryElement),
    ...containerImages.map(imageElement),
    // The first one stands for all that is in it.
    ...inside.flatMap((one) => one.packages.slice(1)),
  ].filter(({ SPDXID }, index, all) => all.findIndex((one) => one.SPDXID === SPDXID) === index);
  const licensingInfos = [
    ...texts.map(licensingInfo),
    ...inside.flatMap(({ hasExtractedLicensingInfos }) => hasExtractedLicensingInfos),
  ];
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
    ...(licensingInfos.length === 0 ? {} : { hasExtractedLicensingInfos: licensingInfos }),
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

function libraryElement({ name, version, license = 'NOASSERTION', purl }: Library) {
  const location = purl ?? `pkg:generic/${purlPart(name)}@${purlPart(version)}`;
  return { ...element('library', name, version, license, location), supplier: 'NOASSERTION' };
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
