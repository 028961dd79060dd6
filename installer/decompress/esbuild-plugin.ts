import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { build, type Plugin } from 'esbuild';

/**
 * Makes a bundle of one file able to decode images: modules that start or read another file of the
 * source tree are replaced by modules that contain it. Needed in every bundle of `decompress.ts`:
 *
 *     await build({ entryPoints: […], bundle: true, plugins: [decompressPlugin()] });
 */
export function decompressPlugin(): Plugin {
  return {
    name: 'decompress',
    setup({ onLoad }) {
      onLoad({ filter: /[/\\]decompress[/\\](bzip2|xz)[/\\]start-worker\.ts$/ }, async ({ path }) => ({
        loader: 'ts',
        resolveDir: dirname(path),
        contents: `
          import { Worker } from 'node:worker_threads';
          const code = ${JSON.stringify(await workerCode(dirname(path)))};
          export const startWorker = (workerData) => new Worker(code, { eval: true, workerData });`,
      }));
      onLoad({ filter: /[/\\]decompress[/\\]liblzma-binary\.ts$/ }, async () => {
        const file = new URL(import.meta.resolve('node-liblzma/wasm/liblzma.wasm'));
        return {
          loader: 'ts',
          contents: `export const liblzmaBinary = async () =>
            Buffer.from(${JSON.stringify((await readFile(file)).toString('base64'))}, 'base64');`,
        };
      });
    },
  };
}

/** The decoding thread and all it imports, as one CommonJS script. */
async function workerCode(format: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(format, 'worker.ts')],
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    minify: true,
    write: false,
  });
  return outputFiles.map(({ text }) => text).join('');
}
