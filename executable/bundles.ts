import { createRequire } from 'node:module';
import { getAsset } from 'node:sea';
import { compileFunction } from 'node:vm';

// The programs, bundled one by one (see build.ts). Only the one that is called is read: parsing the code of all of them took half of the start-up
// time and a good part of the memory of each.

export const loadAgent = () => load('agent.cjs') as typeof import('../agent/main.ts');
export const loadInstaller = () => load('installer.cjs') as typeof import('../installer/main.ts');

/** What a bundle in CommonJS format exports. */
function load(asset: string): unknown {
  const module = { exports: {} };
  const names = ['module', 'exports', 'require', '__filename', '__dirname'];
  const run = compileFunction(getAsset(asset, 'latin1'), names, { filename: asset });
  run(module, module.exports, createRequire(process.execPath), process.execPath, '/');
  return module.exports;
}
