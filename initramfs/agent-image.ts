/**
 * Builds the container image of the agent, which replaces that of tink-worker or tink-agent in
 * OSIE, HookOS and CaptainOS.
 *
 *     node initramfs/agent-image.ts [--output build/tink-worker.oci.tar]
 *       [--executable build/nibs-linux-x64]
 *
 * The result is an OCI archive;
 * `skopeo copy oci-archive:build/tink-worker.oci.tar docker://registry/tink-worker` pushes it to a
 * registry.
 */
import { copyFile, symlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { builtExecutable, layOutDirectories, layOutLibraries, writeContainerImage } from './container-image.ts';
import { agentPackages } from './package-sets.ts';

const { values } = parseArgs({
  options: {
    output: { type: 'string', default: resolve(import.meta.dirname, '../build/tink-worker.oci.tar') },
    executable: { type: 'string', default: builtExecutable },
  },
});

await writeContainerImage(
  {
    packages: agentPackages,
    reference: 'tink-worker:latest',
    config: {
      Entrypoint: ['/usr/bin/tink-worker'],
      Env: [
        'PATH=/usr/bin:/usr/sbin',
        // All three systems mount this directory. Elsewhere the journal would be lost with the
        // container.
        'NIBS_STATE_DIRECTORY=/worker/.nibs',
        // The kernel command line names the server, but the engines of these systems forward what
        // containers print.
        'NIBS_SYSLOG_HOST=off',
        // The image has no program that restarts a machine.
        'NIBS_SYSRQ=true',
      ],
      WorkingDir: '/',
    },
    layerCount: 2,
    async layOut(unpacked, [libraries = '', program = '']) {
      await layOutDirectories(libraries);
      await layOutLibraries([values.executable], unpacked, libraries);
      await layOutDirectories(program);
      // CaptainOS extracts the file by this name.
      await copyFile(values.executable, join(program, 'usr/bin/tink-agent'));
      await symlink('tink-agent', join(program, 'usr/bin/tink-worker'));
    },
  },
  values.output,
);
process.stdout.write(`${values.output}\n`);
