import assert from 'node:assert/strict';
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { debianMirrors } from '../../debian/mirrors.ts';

/** Runs a function with an apt that has these sources and no package lists, as in an image. */
async function withSources<T>(sources: string, run: () => Promise<T>): Promise<T> {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-mirrors-'));
  const at = (name: string) => join(directory.path, name);
  for (const name of ['parts', 'lists']) await mkdir(at(name));
  await writeFile(at('sources.list'), sources);
  const directories = { sourcelist: at('sources.list'), sourceparts: at('parts') };
  const settings = Object.entries(directories).map(([name, path]) => `Dir::Etc::${name} "${path}";`);
  await writeFile(at('apt.conf'), `${settings.join('\n')}\nDir::State::lists "${at('lists')}";\n`);
  const { APT_CONFIG } = process.env;
  process.env['APT_CONFIG'] = at('apt.conf');
  try {
    return await run();
  } finally {
    if (APT_CONFIG === undefined) delete process.env['APT_CONFIG'];
    else process.env['APT_CONFIG'] = APT_CONFIG;
  }
}

test('debianMirrors() names the mirrors of the sources of an apt that has not read its package lists', async () => {
  const sources = 'deb http://mirror.example/debian trixie main\ndeb http://mirror.example/other stable main\n';
  const mirrors = await withSources(sources, debianMirrors);
  assert.equal(mirrors[0], 'http://mirror.example/debian');
  assert.ok(!mirrors.includes('http://mirror.example/other'), 'another archive');
});
