/** What is really in the boot image and the executable, against their bills of materials. */
import { deepEqual, match, ok } from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { z } from 'zod';
import { hostArchitecture } from '../../debian/architecture.ts';
import { builtInitramfs, findLayers } from './built-image.ts';

const root = join(import.meta.dirname, '../..');
const bill = z.object({
  packages: z.array(
    z.object({
      name: z.string(),
      versionInfo: z.string().optional(),
      checksums: z.array(z.object({ checksumValue: z.string() })).optional(),
    }),
  ),
});

async function readBill(path: string) {
  return bill.parse(JSON.parse(await readFile(`${path}.spdx.json`, 'utf8'))).packages;
}

/** Made by the build, from what is in the packages. */
const made = /^\/(lib\/modules\/[^/]+\/modules\.[\w.]+|etc\/ssl\/certs\/ca-certificates\.crt|etc\/nibs-earliest-time)$/;

test('each file in the layers of the boot image is of a package in its bill of materials, or of ours', async () => {
  const image = builtInitramfs;
  const ours = (await readdir(join(root, 'initramfs/files'), { recursive: true })).map((path) => basename(path));
  const known = new Set(['nibs', 'flatcar-install.8', ...ours]);
  for (const { checksums = [] } of await readBill(image)) {
    for (const { checksumValue } of checksums) {
      const file = join(root, `build/cache/packages/${checksumValue}.deb`);
      const { stdout } = await execa('dpkg-deb', ['--fsys-tarfile', file], { buffer: false }).pipe('tar', ['--list']);
      for (const path of stdout.split('\n')) known.add(plain(basename(path)));
    }
  }
  const found: string[] = [];
  for (const offset of await findLayers(image)) {
    const { stdout } = await execa('unsquashfs', ['-lln', '-dest', '', '-offset', String(offset), image]);
    for (const [, path = ''] of stdout.matchAll(/^-\S+ +\S+ +\d+ +\S+ +\S+ (\/.*)$/gm)) found.push(path);
  }
  ok(found.length > 500);
  deepEqual(
    found.filter((path) => !made.test(path) && !known.has(plain(basename(path)))),
    [],
  );
});

/** Modules and firmware are unpacked. */
function plain(name: string): string {
  return name.replace(/\.(xz|zst)$/, '');
}

test('the bill of materials of the executable has the versions that are compiled into it', async () => {
  const executable = join(root, `build/nibs-linux-${hostArchitecture.node}`);
  const versions = new Map((await readBill(executable)).map(({ name, versionInfo = '' }) => [name, versionInfo]));
  const content = await readFile(executable, 'latin1');
  for (const [name, text] of Object.entries({
    'node-openssl': 'OpenSSL VERSION ',
    'node-sqlite': 'VERSION',
    'node-brotli': 'VERSION',
    [`node-linux-${hostArchitecture.node}`]: 'vVERSION',
    'node-v8': 'VERSION',
  }))
    ok(content.includes(text.replace('VERSION', versions.get(name) ?? 'missing')), name);
  match(versions.get('libstdc++6') ?? '', /^10\./);
});

test('the bill of materials of the executable has the packages that its sources import, and none for building', async () => {
  const { dependencies } = z
    .object({ dependencies: z.record(z.string(), z.string()) })
    .parse(JSON.parse(await readFile(join(root, 'package.json'), 'utf8')));
  const names = (await readBill(join(root, `build/nibs-linux-${hostArchitecture.node}`))).map(({ name }) => name);
  deepEqual(
    Object.keys(dependencies).filter((name) => !names.includes(name)),
    [],
  );
  for (const name of ['typescript', 'esbuild', 'ssh2']) ok(!names.includes(name), name);
});
