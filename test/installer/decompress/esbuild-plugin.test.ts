import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { build } from 'esbuild';
import { decompressPlugin } from '../../../installer/decompress/esbuild-plugin.ts';
import { Random } from './random.ts';

describe('a bundle of one file made with decompressPlugin()', () => {
  let folder: string;
  const image = Buffer.concat([new Random(1).bytes(2_000_000), Buffer.alloc(500_000)]);

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bundle-'));
    await build({
      stdin: {
        contents: `
          import { decompress } from './installer/decompress/decompress.ts';
          async function main() {
            for await (const extent of decompress(process.stdin, { workers: 2 })) {
              process.stdout.write(extent.kind === 'data' ? Buffer.from(extent.bytes) : Buffer.alloc(extent.lengthBytes));
            }
          }
          main();`,
        resolveDir: resolve(import.meta.dirname, '../../..'),
      },
      bundle: true,
      platform: 'node',
      format: 'cjs',
      minify: true,
      outfile: join(folder, 'bundle.cjs'),
      plugins: [decompressPlugin()],
      logOverride: { 'empty-import-meta': 'silent' },
    });
  });
  after(async () => await rm(folder, { recursive: true }));

  for (const program of ['bzip2', 'xz', 'zstd', 'gzip']) {
    test(`decodes ${program} far from the source tree`, async () => {
      const file = join(folder, `image.${program}`);
      await writeFile(file, execFileSync(program, ['-c'], { input: image, maxBuffer: 1 << 28 }));
      const decoded = execFileSync('sh', ['-c', '"$0" bundle.cjs < "$1"', process.execPath, file], {
        cwd: folder,
        maxBuffer: 1 << 28,
      });
      assert.ok(image.equals(decoded));
    });
  }
});
