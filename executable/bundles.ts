import { createRequire } from 'node:module';
import { join } from 'node:path';
import { getAsset, isSea } from 'node:sea';
import { compileFunction } from 'node:vm';
import { bundleOf, PACKAGES_APART } from './packages-apart.ts';

// The programs, bundled one by one (see build.ts). Only the one that is called is read: parsing the
// code of all of them took half of the start-up time and a good part of the memory of each. Run
// from its sources, as by the tests, main.ts takes the sources of the program.

type Agent = typeof import('../agent/main.ts');
type Installer = typeof import('../installer/main.ts');

export const loadAgent = async () => (isSea() ? load<Agent>('agent.cjs') : await loadSource<Agent>('agent'));
export const loadInstaller = async () =>
  isSea() ? load<Installer>('installer.cjs') : await loadSource<Installer>('installer');

// It finds only what is part of Node. The path of the executable is not known without /proc.
const requireOfNode = createRequire('/');

const loaded = new Map<string, unknown>();

/** `require` for a bundle. */
function requireFor(name: string): unknown {
  if (!PACKAGES_APART.includes(name)) return requireOfNode(name);
  if (!loaded.has(name)) loaded.set(name, load(bundleOf(name)));
  return loaded.get(name);
}

/** What a bundle in CommonJS format exports. */
function load<Exports>(asset: string): Exports {
  const module = { exports: {} };
  const names = ['module', 'exports', 'require', '__filename', '__dirname'];
  const run = compileFunction(getAsset(asset, 'latin1'), names, { filename: asset });
  run(module, module.exports, Object.assign(requireFor, requireOfNode), process.execPath, '/');
  return module.exports as Exports;
}

/** The path is put together here so that the bundler does not follow it. */
async function loadSource<Exports>(folder: string): Promise<Exports> {
  return await import(join(import.meta.dirname, '..', folder, 'main.ts'));
}
