import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Metafile } from 'esbuild';
import { z } from 'zod';
import type { Architecture } from '../debian/architecture.ts';
import { type Library, type NpmPackage, sbom } from '../sbom/sbom.ts';
import { libstdcxx } from './libstdcxx.ts';

const root = resolve(import.meta.dirname, '..');

const NpmLock = z.object({
  packages: z.record(z.string(), z.object({ version: z.string().optional(), license: z.string().optional() })),
});

/**
 * The bill of materials of an executable: the npm packages of which something is in its bundles,
 * Node with what is compiled into it, and the C++ library.
 * @param executable its content
 * @param metafiles of the bundles, by esbuild
 */
export async function billOfMaterials(
  name: string,
  executable: Uint8Array,
  metafiles: readonly Metafile[],
  { node }: Architecture,
): Promise<string> {
  const checksum = (algorithm: string) => createHash(algorithm).update(executable).digest('hex');
  return sbom({
    name,
    files: [{ name, sha256: checksum('sha256'), sha1: checksum('sha1') }],
    npmPackages: await npmPackages([...bundledPackages(metafiles), `node_modules/node-linux-${node}`, ...compiledIn]),
    libraries: [...nodeLibraries(), libstdcxx(node)],
    timeSeconds: Number(process.env['SOURCE_DATE_EPOCH'] ?? 0),
  });
}

/** Parts of AssemblyScript's library are in the template engine. */
const compiledIn = ['node_modules/assemblyscript'];

/** @returns paths of packages below the repository, as in the lock file */
export function bundledPackages(metafiles: readonly Metafile[]): Set<string> {
  const inputs = metafiles.flatMap(({ outputs }) =>
    Object.values(outputs).flatMap((one) => Object.entries(one.inputs)),
  );
  const used = inputs.filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([path]) => path);
  return new Set(used.flatMap((path) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path) ?? []).sort());
}

async function npmPackages(paths: Iterable<string>): Promise<NpmPackage[]> {
  const lock = NpmLock.parse(JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')));
  return [...paths].map((path) => {
    const locked = lock.packages[path];
    if (locked?.version === undefined) throw new Error(`package-lock.json has no ${path}, which is in the executable`);
    const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
    return { name, version: locked.version, license: locked.license };
  });
}

/** What Node says of itself: V8, OpenSSL, libuv, ICU and others. Type stripping is removed. */
function nodeLibraries(): Library[] {
  const {
    node: _,
    modules: _interface,
    napi: _napi,
    unicode: _unicode,
    amaro: _amaro,
    ...libraries
  } = process.versions;
  return Object.entries(libraries).flatMap(([name, version = '']) =>
    version === '' ? [] : [{ name: `node-${name}`, version }],
  );
}
