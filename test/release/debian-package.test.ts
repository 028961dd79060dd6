import { deepEqual, equal, match } from 'node:assert/strict';
import { mkdir, mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { type DebianPackage, writeDebianPackage } from '../../release/debian/package.ts';
import { debianVersion } from '../../release/debian/packages.ts';

async function write(directory: string, name: string, umask: number): Promise<string> {
  const program = join(directory, 'program');
  await writeFile(program, '#!/bin/sh\n');
  const one: DebianPackage = {
    name: 'example',
    version: '1.2.3',
    architecture: 'amd64',
    fields: { Section: 'admin', Maintainer: 'A <a@example.org>', Depends: 'libc6' },
    description: { synopsis: 'an example', text: ['First line\nand second.', 'Another paragraph.'] },
    files: {
      'usr/lib/example/program': { copyOf: program, mode: 0o755 },
      'usr/sbin/example': { linkTo: '../lib/example/program' },
      'usr/share/doc/example/changelog.gz': { compressed: 'changes' },
      'etc/default/example': { content: 'A=1\n' },
    },
    conffiles: ['etc/default/example'],
    maintainerScripts: { postinst: '#!/bin/sh\nset -e\n' },
    timeSeconds: 1_700_000_000,
  };
  const scratch = join(directory, `${name}.d`);
  const before = process.umask(umask);
  try {
    await mkdir(scratch);
    await writeDebianPackage(one, join(directory, name), scratch);
  } finally {
    process.umask(before);
  }
  return join(directory, name);
}

test('writeDebianPackage() writes the same bytes again, also with another umask', async () => {
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'nibs-package-'));
  const [first, second] = [await write(scratch.path, 'a.deb', 0o022), await write(scratch.path, 'b.deb', 0o077)];
  deepEqual(await readFile(first), await readFile(second));
});

test('a package has its control fields, conffiles, checksums, and files of root with one time', async () => {
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'nibs-package-'));
  const path = await write(scratch.path, 'a.deb', 0o022);
  const { stdout: contents } = await execa('dpkg-deb', ['--contents', path], { env: { TZ: 'UTC' } });
  match(contents, /^-rwxr-xr-x root\/root +10 2023-11-14 22:13 \.\/usr\/lib\/example\/program$/m);
  match(contents, /^-rw-r--r-- root\/root +4 2023-11-14 22:13 \.\/etc\/default\/example$/m);
  match(contents, /\.\/usr\/sbin\/example -> \.\.\/lib\/example\/program$/m);
  for (const line of contents.split('\n')) match(line, /^(d|l|-)\S+ root\/root +\d+ 2023-11-14 22:13 /);
  const field = async (name: string) => (await execa('dpkg-deb', ['--field', path, name])).stdout;
  equal(await field('Description'), 'an example\n First line\n and second.\n .\n Another paragraph.');
  deepEqual([await field('Version'), await field('Depends')], ['1.2.3', 'libc6']);
  const extracted = join(scratch.path, 'extracted');
  await execa('dpkg-deb', ['--raw-extract', path, extracted]);
  equal(await readFile(join(extracted, 'DEBIAN/conffiles'), 'utf8'), '/etc/default/example\n');
  const { stdout } = await execa('md5sum', ['--check', 'DEBIAN/md5sums'], { cwd: extracted });
  deepEqual(stdout.split('\n').length, 3);
});

test('debianVersion() puts a candidate before its release, as dpkg orders them', async () => {
  equal(debianVersion('1.0.0'), '1.0.0');
  equal(debianVersion('1.0.0-rc.1'), '1.0.0~rc.1');
  await execa('dpkg', ['--compare-versions', debianVersion('1.0.0-rc.1'), 'lt', debianVersion('1.0.0')]);
});
