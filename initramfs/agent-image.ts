/**
 * Builds the container image of the agent, which replaces that of tink-worker or tink-agent in
 * OSIE, HookOS and CaptainOS.
 *
 *     node initramfs/agent-image.ts [--arch x86_64|aarch64]
 *       [--output build/tink-worker.oci.tar] [--executable build/nibs-linux-x64]
 *
 * For another architecture than this machine's the output is `build/tink-worker-aarch64.oci.tar` or
 * `build/tink-worker-x86_64.oci.tar`.
 *
 * The result is an OCI archive;
 * `skopeo copy oci-archive:build/tink-worker.oci.tar docker://registry/tink-worker` pushes it to a
 * registry.
 */
import { copyFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { imageOptions, layOutDirectories, layOutLibraries, writeContainerImage } from './container-image.ts';
import { agentPackages } from './package-sets.ts';

const { values } = parseArgs({
  options: {
    arch: { type: 'string' },
    output: { type: 'string' },
    executable: { type: 'string' },
  },
});
const { architecture, executable, output } = imageOptions(values, 'tink-worker');

await writeContainerImage(
  {
    architecture,
    executable,
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
      await layOutLibraries([executable], unpacked, libraries);
      await layOutDirectories(program);
      // CaptainOS extracts the file by this name.
      await copyFile(executable, join(program, 'usr/bin/tink-agent'));
      await symlink('tink-agent', join(program, 'usr/bin/tink-worker'));
    },
  },
  output,
);
process.stdout.write(`${output}\n`);
