import { createHash } from 'node:crypto';
import { glob, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { constants, zstdCompressSync } from 'node:zlib';
import { execa } from 'execa';

// Builds engine.wasm.zst from the Go sources beside this file and the modules that go.sum names:
//
//     node agent/template/engine/build.ts
//
// It needs Go: any version that can get the one that go.mod names. The same sources make the same
// bytes.

const folder = import.meta.dirname;

/**
 * A hash of all that the engine is built from, in hexadecimal. The engine has it in a section of
 * its own, so that a test sees when it is out of date.
 */
export async function sourcesDigest(): Promise<string> {
  const names = await Array.fromAsync(glob(['**/*.go', 'go.mod', 'go.sum', 'build.ts'], { cwd: folder }));
  const hash = createHash('sha256');
  for (const name of names.sort()) hash.update(`${name}\0`).update(await readFile(join(folder, name)));
  return hash.digest('hex');
}

async function build(): Promise<void> {
  const parent = join(folder, '../../../build');
  await mkdir(parent, { recursive: true });
  const output = await mkdtemp(join(parent, 'template-engine-'));
  try {
    const file = join(output, 'engine.wasm');
    const options = ['-trimpath', '-buildvcs=false', '-buildmode=c-shared', '-ldflags=-s -w -buildid=', `-o=${file}`];
    const env = { GOOS: 'wasip1', GOARCH: 'wasm', GOFLAGS: '-mod=readonly', GOWASM: '' };
    await execa('go', ['build', ...options, '.'], { cwd: folder, env, stdio: 'inherit' });
    const module = Buffer.concat([await readFile(file), customSection('sources', await sourcesDigest())]);
    await writeFile(join(folder, 'engine.wasm.zst'), compress(module));
  } finally {
    await rm(output, { recursive: true });
  }
}

/**
 * A section that means nothing to the module (WebAssembly core specification, 5.5.3); both texts
 * are short enough that a byte counts them.
 */
function customSection(name: string, content: string): Buffer {
  const payload = Buffer.concat([Buffer.from([name.length]), Buffer.from(name), Buffer.from(content)]);
  return Buffer.concat([Buffer.from([0, payload.length]), payload]);
}

function compress(module: Buffer): Buffer {
  const params = { [constants.ZSTD_c_compressionLevel]: 22, [constants.ZSTD_c_windowLog]: 24 };
  return zstdCompressSync(module, { params });
}

if (import.meta.main) await build();
