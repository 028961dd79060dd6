/** The executable for the architecture that this machine is not of. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { architectures, hostArchitecture } from '../../debian/architecture.ts';
import { ElfImage, Tag } from '../../executable/elf/image.ts';

const build = join(import.meta.dirname, '../../build');
const [host, other] = [true, false].map((isHost) => {
  const found = architectures.find((one) => (one === hostArchitecture) === isHost);
  assert.ok(found !== undefined);
  const path = join(build, `nibs-linux-${found.node}`);
  assert.ok(existsSync(path), `${path} is missing; run \`make build ARCH=${found.name}\``);
  return { ...found, path };
});
assert.ok(host !== undefined && other !== undefined);
const image = new ElfImage(await readFile(other.path));

test('it is a program for that architecture, and needs no library but those of glibc 2.28 and GCC', () => {
  assert.equal(image.bytes.readUInt16LE(18), other.name === 'aarch64' ? 183 : 62);
  const glibc = ['libdl.so.2', 'libm.so.6', 'libpthread.so.0', 'libc.so.6', other.loader.replace(/.*\//, '')];
  assert.deepEqual(image.texts(Tag.needed).toSorted(), [...glibc, 'libgcc_s.so.1'].toSorted());
  const versions = new Set(image.symbols.flatMap(({ version }) => version?.name ?? []));
  const minors = [...versions].flatMap((name) => name.match(/^GLIBC_2\.(\d+)/)?.[1] ?? []).map(Number);
  assert.equal(Math.max(...minors), 28);
});

test('it has the same programs in it as the executable for this machine', async () => {
  const own = await readFile(host.path);
  const start = own.indexOf('const __nibsModuleUrl = require(');
  // The first bundle and the assets behind it, up to the end of the resource.
  const bundles = own.subarray(start, own.lastIndexOf('const __nibsModuleUrl = require('));
  assert.ok(bundles.length > 1_000_000, `${bundles.length} bytes`);
  assert.ok(image.bytes.includes(bundles));
});

test('the program is marked as one with a resource in it', () => {
  // Node's own sentinel: the byte behind the colon is 1 in a single executable.
  const sentinel = ['NODE_SEA', 'FUSE_fce680ab2cc467b6e072b8b5df1996b2:'].join('_');
  const at = image.bytes.indexOf(sentinel);
  assert.equal(image.bytes.subarray(at, at + sentinel.length + 1).toString(), `${sentinel}1`);
});
