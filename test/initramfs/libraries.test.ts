import { deepEqual, ok, rejects } from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { findLibraries } from '../../initramfs/libraries.ts';
import { fetchSystem } from '../../initramfs/system.ts';

const { packages } = await fetchSystem(resolve(import.meta.dirname, '../../build/cache'));

test('findLibraries() finds what the loader finds', async () => {
  const podman = join(packages, 'usr/bin/podman');
  const found = (await findLibraries([podman], packages)).map((path) => path.split('/').at(-1)).sort();
  const library = ['lib', 'usr/lib'].map((directory) => join(packages, directory, 'x86_64-linux-gnu')).join(':');
  const loader = join(packages, 'lib64/ld-linux-x86-64.so.2');
  const { stdout } = await execa(loader, ['--library-path', library, '--list', podman]);
  const expected = stdout
    .split('\n')
    .filter((line) => !line.includes('linux-vdso'))
    .map((line) => line.trim().split(' ')[0]?.split('/').at(-1))
    .sort();
  ok(expected.length > 2);
  deepEqual(found, expected);
});

test('findLibraries() names the missing library and the file that needs it', async () => {
  const empty = await mkdtemp(join(tmpdir(), 'nibs-libraries-'));
  try {
    await rejects(findLibraries([join(packages, 'usr/bin/crun')], empty), /crun needs .*\.so.*no package/);
  } finally {
    await rm(empty, { recursive: true });
  }
});
