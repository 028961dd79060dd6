/**
 * Prints the test files whose result can depend on the release of Debian, one a line: they start programs of the machine (an engine, disk tools,
 * gpg, …), themselves or by a module of test/, and need no virtual machine.
 */
import { glob } from 'node:fs/promises';
import { build } from 'esbuild';

/** Starts a virtual machine. */
const machine = 'test/sandbox/machine.ts';

/** Most tests of protocols use these; `ip` and `openssl` do the same in every release. */
const harmless = ['test/sandbox/certificates.ts', 'test/sandbox/loopback-address.ts'];

/** Take minutes of processor time for what is ours: kills and floods at many moments, whole images. They run on the machine itself. */
const costly = [
  'test/agent/faults.test.ts',
  'test/agent/flood.test.ts',
  'test/agent/kill-anywhere.test.ts',
  'test/agent/outage.test.ts',
  'test/agent/runtime/flood.test.ts',
  'test/e2e/seed-image.test.ts',
  'test/initramfs/captain.test.ts',
  'test/installer/embedded-key.test.ts',
  'test/installer/interrupt.test.ts',
  'test/sandbox/os-image/layout.test.ts',
];

async function startsPrograms(file: string): Promise<boolean> {
  const { metafile } = await build({
    ...{ entryPoints: [file], bundle: true, metafile: true, write: false, outdir: 'build' },
    ...{ platform: 'node', format: 'esm', packages: 'external', logLevel: 'error' },
  });
  if (machine in metafile.inputs) return false;
  return Object.entries(metafile.inputs).some(
    ([path, { imports }]) =>
      path.startsWith('test/') &&
      !harmless.includes(path) &&
      imports.some((one) => one.path === 'execa' || one.path === 'node:child_process'),
  );
}

const files = (await Array.fromAsync(glob('test/**/*.test.ts'))).toSorted();
const missing = costly.filter((file) => !files.includes(file));
if (missing.length > 0) throw new Error(`no such test files: ${missing.join(', ')} (correct the list in this file)`);
for (const file of files) if (!costly.includes(file) && (await startsPrograms(file))) process.stdout.write(`${file}\n`);
