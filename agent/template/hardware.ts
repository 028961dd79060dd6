import { readFile } from 'node:fs/promises';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { TemplateError } from './problem.ts';
import { type Fields, looseFields, type Value } from './value.ts';

const value: z.ZodType<Value> = z.lazy(() =>
  z.union([z.string(), z.number(), z.boolean(), z.null(), z.array(value), z.record(z.string(), value)]),
);

const fields = z.record(z.string(), value);

/** The manifest of a Hardware object (`kubectl get hardware -o json`). */
const manifest = z.object({
  spec: z.object({
    disks: z.array(z.object({ device: z.string() })).default([]),
    interfaces: z.array(value).default([]),
    userData: z.string().default(''),
    vendorData: z.string().default(''),
    metadata: fields.default({}),
  }),
});

/** What `tink hardware push` took. */
const pushed = z.object({
  network: z.object({ interfaces: z.array(value).default([]) }),
  metadata: fields.default({}),
});

/**
 * Reads a machine's hardware, JSON or YAML, as what templates know as `.Hardware` (Disks, Interfaces, UserData, VendorData, Metadata) and as `.hardware` (the
 * object itself). Both generations of the format are understood: Kubernetes manifests, and the JSON of `tink hardware push`.
 *
 * @throws {TemplateError}
 */
export async function readHardware(path: string): Promise<Fields> {
  const content = await contentOf(path);
  const object = fields.safeParse(content);
  const parsed = z.union([manifest.transform(ofManifest), pushed.transform(ofPushed)]).safeParse(content);
  if (!object.success || !parsed.success) {
    throw new TemplateError(
      `cannot use the hardware file ${path}: it must have "spec", as a Hardware manifest, or "network", as what tink hardware push took`,
    );
  }
  return { Hardware: looseFields(parsed.data), hardware: object.data };
}

async function contentOf(path: string): Promise<unknown> {
  try {
    // JSON is YAML, so that one reader serves both.
    return parseYaml(await readFile(path, 'utf8'));
  } catch (error) {
    throw new TemplateError(`cannot read the hardware file ${path}: ${(error as Error).message.split('\n')[0]}`, {
      cause: error,
    });
  }
}

function ofManifest({ spec }: z.output<typeof manifest>): Fields {
  return {
    Disks: spec.disks.map(({ device }) => device),
    Interfaces: spec.interfaces,
    UserData: spec.userData,
    VendorData: spec.vendorData,
    Metadata: spec.metadata,
  };
}

function ofPushed({ network, metadata }: z.output<typeof pushed>): Fields {
  return { Disks: [], Interfaces: network.interfaces, UserData: '', VendorData: '', Metadata: metadata };
}
