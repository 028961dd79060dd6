import { createHash } from 'node:crypto';
import { chmod, copyFile, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { execa } from 'execa';
import { z } from 'zod';
import { type Architecture, hostArchitecture } from '../debian/architecture.ts';

const root = resolve(import.meta.dirname, '..');

const NpmLock = z.object({
  packages: z.record(z.string(), z.object({ version: z.string().optional(), integrity: z.string().optional() })),
});

/**
 * SHA-256 of the program `bin/node` of version 24.21.0, as it is in the archives of Node's project
 * (docs/dependencies.md says how that was compared).
 */
const nodeDigests: Readonly<Record<string, string>> = {
  x64: '7fde7b8afa198da66257f42ee2001d874c7355631e6d1579a5fb5ef1f246df4c',
  arm64: '0f8949d1028f6d61506b2d5bc57e7e6fe893d7b1997509b7847294fc9c616584',
};

/**
 * Writes the Node that an executable begins with to `path`: a copy of the one that runs this, or
 * the same version for another architecture. npm does not install the latter; `make build ARCH=…`
 * fetches its package into build/cache.
 * @throws {Error} the package is not there, is not the one of package-lock.json, or has another
 *   program than Node's project has published
 */
export async function copyNode(architecture: Architecture, path: string): Promise<void> {
  if (architecture === hostArchitecture) await copyFile(process.execPath, path);
  else await unpackNode(await findPackage(architecture), path);
  await chmod(path, 0o755);
  await checkNode(path, architecture.node);
}

/** @throws {Error} the file is not Node's own program of the pinned version */
export async function checkNode(path: string, architecture: string): Promise<void> {
  const digest = createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
  if (digest === nodeDigests[architecture]) return;
  throw new Error(
    `${path} is not the published Node for ${architecture}: its SHA-256 is ${digest} (npm ci installs it again; after an update of Node, see docs/dependencies.md)`,
  );
}

/** @returns path of the verified package */
async function findPackage({ name, node }: Architecture): Promise<string> {
  const lock = NpmLock.parse(JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')));
  const { version, integrity } = lock.packages[`node_modules/node-linux-${node}`] ?? {};
  if (`v${version}` !== process.version)
    throw new Error(`package-lock.json has Node ${version} for ${node}, but this is Node ${process.version}`);
  const path = join(root, `build/cache/node-linux-${node}-${version}.tgz`);
  const content = await readFile(path).catch((cause: unknown) => {
    throw new Error(`cannot read the Node for ${node}, ${path} (make build ARCH=${name} fetches it)`, { cause });
  });
  if (`sha512-${createHash('sha512').update(content).digest('base64')}` !== integrity)
    throw new Error(`${path} is not the package of package-lock.json (remove it: make build ARCH=${name} fetches it)`);
  return path;
}

async function unpackNode(file: string, path: string): Promise<void> {
  const options = ['--extract', '--gzip', '--to-stdout', '--file', file, 'package/bin/node'];
  await execa('tar', options, { buffer: false, stdout: { file: path } });
}
