import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { OperationError } from '../../errors/operation-error.ts';
import { fileDigest } from '../../initramfs/checksums.ts';
import { parts } from '../parts.ts';
import { provenancePath, provenanceType, statementType } from '../provenance.ts';

const Bill = z.object({
  spdxVersion: z.literal('SPDX-2.3'),
  files: z.array(
    z.object({
      fileName: z.string().startsWith('./'),
      checksums: z.array(z.object({ algorithm: z.string(), checksumValue: z.string() })),
    }),
  ),
});

const Statement = z.object({
  _type: z.literal(statementType),
  subject: z.tuple([z.object({ name: z.string(), digest: z.object({ sha256: z.string() }) })]),
  predicateType: z.literal(provenanceType),
  predicate: z.object({
    buildDefinition: z.object({
      externalParameters: z.object({ version: z.string(), parts: z.array(z.enum(parts)) }),
      internalParameters: z.object({ commit: z.string() }),
      resolvedDependencies: z.array(z.object({ uri: z.string(), digest: z.record(z.string(), z.string()) })).nonempty(),
    }),
    runDetails: z.object({ builder: z.object({ id: z.string().min(1) }) }),
  }),
});

/** What describes products, and is none itself. */
const description = /\.(spdx|provenance|manifest)\.json$/;

/** Files that each part must have. */
const required: Readonly<Record<(typeof parts)[number] | 'executables', readonly RegExp[]>> = {
  executables: [/^nibs-linux-x64$/, /^nibs-linux-arm64$/],
  images: [/^flatcar-install\.oci\.tar$/, /^image2disk\.oci\.tar$/, /^tink-worker\.oci\.tar$/],
  packages: [/^flatcar-install_.*_amd64\.deb$/, /^flatcar-install_.*_arm64\.deb$/].concat([
    /^tink-agent_.*_amd64\.deb$/,
    /^tink-agent_.*_arm64\.deb$/,
  ]),
  'boot-x86_64': [/^vmlinuz-x86_64$/, /^initramfs-x86_64$/, /^nibs-x86_64\.(iso|efi)$/, /^nibs-boot-image\.oci\.tar$/],
  'boot-aarch64': [/^vmlinuz-aarch64$/, /^initramfs-aarch64$/, /^nibs-aarch64\.(iso|efi)$/],
};

/** What the descriptions of all products say in common. */
export interface Described {
  /** Names of files. */
  readonly products: readonly string[];
  readonly version: string;
  readonly commit: string;
}

/**
 * Checks that each product is named by a bill of materials and by a provenance of its own, with its
 * digests, that these agree about version, commit and parts, and that no product of these parts is
 * missing.
 * @param checksums file → SHA-256, of files that have it
 * @throws {OperationError}
 */
export async function verifyDescriptions(
  directory: string,
  checksums: ReadonlyMap<string, string>,
): Promise<Described> {
  const refuse = (name: string, why: string) => new OperationError({ what: 'verify', target: name, why });
  const names = [...checksums.keys()];
  const products = names.filter((name) => !description.test(name));
  const bills = new Map<string, readonly { algorithm: string; checksumValue: string }[]>();
  for (const name of names.filter((one) => one.endsWith('.spdx.json'))) {
    for (const { fileName, checksums } of Bill.parse(await json(directory, name)).files)
      bills.set(fileName.slice('./'.length), checksums);
  }
  const said = new Map<string, z.infer<typeof Statement>['predicate']['buildDefinition']>();
  for (const name of products) {
    const digests = { SHA256: checksums.get(name), SHA1: await fileDigest(join(directory, name), 'sha1') };
    const listed = bills.get(name);
    if (listed === undefined) throw refuse(name, 'no bill of materials names it');
    for (const [algorithm, digest] of Object.entries(digests)) {
      if (listed.find((one) => one.algorithm === algorithm)?.checksumValue !== digest)
        throw refuse(name, `its bill of materials has another ${algorithm}`);
    }
    if (!checksums.has(provenancePath(name))) throw refuse(name, 'it has no provenance');
    const { subject, predicate } = Statement.parse(await json(directory, provenancePath(name)));
    if (subject[0].name !== name || subject[0].digest.sha256 !== digests.SHA256)
      throw refuse(name, 'its provenance is that of another file');
    const { buildDefinition } = predicate;
    said.set(JSON.stringify([buildDefinition.externalParameters, buildDefinition.internalParameters]), buildDefinition);
  }
  const [definition, another] = said.values();
  if (definition === undefined) throw refuse(directory, 'it has no products');
  if (another !== undefined) throw refuse(directory, 'its files are of several releases');
  const { version, parts: built } = definition.externalParameters;
  for (const part of ['executables', ...built] as const) {
    const missing = required[part].find((pattern) => !products.some((name) => pattern.test(name)));
    if (missing !== undefined) throw refuse(directory, `a file of the part ${part} is missing: ${missing.source}`);
  }
  return { products, version, commit: definition.internalParameters.commit };
}

async function json(directory: string, name: string): Promise<unknown> {
  return JSON.parse(await readFile(join(directory, name), 'utf8'));
}
