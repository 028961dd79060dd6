/**
 * Verifies a release as one who has only its files does.
 *
 *     node release/verify.ts [DIRECTORY] [--key FILE]
 *
 * Checks SHA256SUMS, its signature, and that it names all files; of each product its bill of
 * materials, its provenance, and what is particular to it: digests and platforms of images, the
 * contents of packages and of the boot image for Tinkerbell's chart, what programs say of their
 * version. `--key` has the public keys to trust.
 * Without it a missing signature is only noted, and keys are those of gpg's own keyring.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { reasonOf } from '../errors/reason.ts';
import { signaturePath, verifySignature } from './sign.ts';
import { inRepository } from './source.ts';
import { verifyChecksums } from './verify/checksums.ts';
import { verifyDescriptions } from './verify/descriptions.ts';
import { verifyProduct } from './verify/product.ts';

try {
  await main();
} catch (error) {
  process.stderr.write(`error: ${reasonOf(error)}\n`);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { key: { type: 'string' } } });
  const directory = resolve(positionals[0] ?? inRepository('build/release'));
  const note = (text: string) => process.stdout.write(`${text}\n`);
  const sums = join(directory, 'SHA256SUMS');
  if (values.key === undefined && !existsSync(signaturePath(sums))) note('SHA256SUMS: not signed');
  else note(`SHA256SUMS: signed by ${await verifySignature(sums, values.key)}`);
  const checksums = await verifyChecksums(await readFile(sums, 'utf8'), directory, await readdir(directory));
  note(`checksums: ${checksums.size} files`);
  const { products, version, commit } = await verifyDescriptions(directory, checksums);
  note(`version ${version}, commit ${commit}`);
  const expected = { version, commit, checksums };
  for (const name of products) note(`${name}: ${await verifyProduct(join(directory, name), expected)}`);
}
