import { deepEqual, equal, ok } from 'node:assert/strict';
import { copyFile, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { namesWithDependencies } from '../../initramfs/packages.ts';

const aptCache = resolve(import.meta.dirname, '../../build/cache/apt');

test('namesWithDependencies() asks apt-get again only when what apt knows has changed', async (context) => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-packages-'));
  const path = process.env['PATH'] ?? '';
  context.after(() => {
    process.env['PATH'] = path;
    return rm(directory, { recursive: true });
  });
  // apt-get itself, which also leaves a line for each time that it is asked.
  const asked = join(directory, 'asked');
  await writeFile(asked, '');
  const { stdout: aptGet } = await execa('which', ['apt-get']);
  const script = `#!/bin/sh\necho asked >>${asked}\nexec ${aptGet} "$@"\n`;
  await writeFile(join(directory, 'apt-get'), script, { mode: 0o755 });
  process.env['PATH'] = `${directory}:${path}`;
  const timesAsked = async () => (await readFile(asked, 'utf8')).split('\n').length - 1;

  const names = await namesWithDependencies(['kmod']);
  ok(
    ['kmod', 'libkmod2', 'libc6'].every((name) => names.includes(name)),
    names.join(),
  );
  const before = await timesAsked();
  deepEqual(await namesWithDependencies(['kmod']), names);
  equal(await timesAsked(), before, 'the answer was kept');
  // What apt does when its lists have changed. Other tests may ask at the same time, so the file is never missing.
  const [packages, again] = [join(aptCache, 'packages.bin'), join(aptCache, `packages.${process.pid}`)];
  await copyFile(packages, again);
  await rename(again, packages);
  deepEqual(await namesWithDependencies(['kmod']), names);
  equal(await timesAsked(), before + 1, 'apt-get was asked again');
});
