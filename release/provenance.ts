import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { inRepository, lockFiles, type Source } from './source.ts';

/** Of a statement: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md. */
export const statementType = 'https://in-toto.io/Statement/v1';

/** Of its predicate: https://slsa.dev/spec/v1.0/provenance. */
export const provenanceType = 'https://slsa.dev/provenance/v1';

/** How it was built: `make release` of these sources, with the external parameters as variables. */
const buildType = 'urn:nibs:make-release:1';

export interface ReleaseParameters {
  readonly version: string;
  readonly parts: readonly string[];
  readonly compressionLevel?: string | undefined;
}

/** A file and its digests in hexadecimal, as the specification calls it: ResourceDescriptor. */
interface Material {
  readonly uri: string;
  readonly digest: Readonly<Record<string, string>>;
}

export interface ProvenanceOptions {
  readonly source: Source;
  readonly parameters: ReleaseParameters;
  /** URI of what runs `make release`. */
  readonly builder: string;
  /** URI of the repository. */
  readonly repository: string;
}

const Bill = z.object({
  packages: z.array(
    z.object({
      checksums: z.array(z.object({ algorithm: z.string(), checksumValue: z.string() })).default([]),
      externalRefs: z.array(z.object({ referenceLocator: z.string() })).default([]),
    }),
  ),
});

const NpmLock = z.object({
  packages: z.record(z.string(), z.object({ version: z.string().optional(), integrity: z.string().optional() })),
});

export function provenancePath(path: string): string {
  return `${path}.provenance.json`;
}

/**
 * The provenance of a file as an in-toto statement with SLSA's predicate, not signed on its own:
 * SHA256SUMS has its checksum. It has no times: same sources, same bytes.
 * @param bill its bill of materials, whose packages with a known checksum are materials
 */
export async function provenance(
  subject: { readonly name: string; readonly sha256: string },
  bill: string,
  { source, parameters, builder, repository }: ProvenanceOptions,
): Promise<string> {
  const statement = {
    _type: statementType,
    subject: [{ name: subject.name, digest: { sha256: subject.sha256 } }],
    predicateType: provenanceType,
    predicate: {
      buildDefinition: {
        buildType,
        externalParameters: parameters,
        internalParameters: { node: process.version, commit: source.commit },
        resolvedDependencies: [
          { uri: `git+${repository}@${source.fullCommit}`, digest: { gitCommit: source.fullCommit } },
          ...(await Promise.all(lockFiles.map(lockMaterial))),
          ...(await packageMaterials(bill)),
        ],
      },
      runDetails: { builder: { id: builder } },
    },
  };
  return `${JSON.stringify(statement, undefined, 2)}\n`;
}

async function lockMaterial(path: string): Promise<Material> {
  const sha256 = createHash('sha256')
    .update(await readFile(inRepository(path)))
    .digest('hex');
  return { uri: `file:${path}`, digest: { sha256 } };
}

/** Packages of Debian have their checksum in the bill of materials, those of npm in its lock file. */
async function packageMaterials(bill: string): Promise<Material[]> {
  const { packages } = NpmLock.parse(JSON.parse(await readFile(inRepository('package-lock.json'), 'utf8')));
  const integrities = new Map(
    Object.entries(packages).map(([path, { version, integrity }]) => [
      `${path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)}@${version}`,
      integrity,
    ]),
  );
  return Bill.parse(JSON.parse(bill)).packages.flatMap(({ checksums, externalRefs: [reference] }): Material[] => {
    if (reference === undefined) return [];
    const uri = reference.referenceLocator;
    const sha256 = checksums.find(({ algorithm }) => algorithm === 'SHA256')?.checksumValue;
    if (sha256 !== undefined) return [{ uri, digest: { sha256 } }];
    const name = uri.startsWith('pkg:npm/') ? decodeURIComponent(uri.slice('pkg:npm/'.length)) : '';
    const [, algorithm, base64] = /^(sha\d+)-(\S+)/.exec(integrities.get(name) ?? '') ?? [];
    if (algorithm === undefined || base64 === undefined) return [];
    return [{ uri, digest: { [algorithm]: Buffer.from(base64, 'base64').toString('hex') } }];
  });
}
