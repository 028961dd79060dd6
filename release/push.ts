/**
 * Pushes the container images of a release to a registry, with skopeo.
 *
 *     node release/push.ts REGISTRY [--directory build/release] [-- OPTION…]
 *
 * REGISTRY is `host[:port][/path]`. Each image gets the tag of its version and `latest`. The agent
 * gets two names: HookOS asks for `tink-worker`, CaptainOS for `tink-agent`. Options after `--` are
 * skopeo's: `--dest-creds=NAME:PASSWORD`, `--dest-tls-verify=false`.
 */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { OperationError } from '../errors/operation-error.ts';
import { exitOnMistake } from '../initramfs/exit-on-mistake.ts';
import { runTool } from '../tools/run-tool.ts';
import { inRepository } from './source.ts';
import { readImageIndex } from './verify/image-index.ts';

/** Archive → names in the registry. */
const repositories = {
  'flatcar-install.oci.tar': ['flatcar-install'],
  'image2disk.oci.tar': ['image2disk'],
  'tink-worker.oci.tar': ['tink-worker', 'tink-agent'],
  'nibs-boot-image.oci.tar': ['nibs-boot-image'],
} as const;

await exitOnMistake(main);

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { directory: { type: 'string', default: inRepository('build/release') } },
  });
  const directory = resolve(values.directory);
  const [registry, ...options] = positionals;
  if (registry === undefined || registry === '')
    throw new OperationError({
      what: 'push',
      target: directory,
      why: 'no registry is given',
      hint: 'make push REGISTRY=registry.example/nibs',
    });
  const archives = Object.entries(repositories).filter(([archive]) => existsSync(join(directory, archive)));
  if (archives.length === 0)
    throw new OperationError({
      what: 'push',
      target: directory,
      why: 'it has no container images',
      hint: 'make release',
    });
  for (const [archive, names] of archives) {
    const path = join(directory, archive);
    const { version } = await readImageIndex(path);
    for (const name of names) {
      for (const tag of [version, 'latest']) await push(path, `${registry}/${name}:${tag}`, options);
    }
  }
}

async function push(archive: string, reference: string, options: readonly string[]): Promise<void> {
  // --all: the images of all platforms, not only that of this machine.
  await runTool('skopeo', ['copy', '--all', '--quiet', ...options, `oci-archive:${archive}`, `docker://${reference}`], {
    timeoutSeconds: Number.POSITIVE_INFINITY,
    // Proxies, certificates, and where the credentials of `skopeo login` are.
    environment: process.env,
  });
  process.stdout.write(`${reference}\n`);
}
