/**
 * Makes the container image of the agent, which takes the place of tink-worker's and tink-agent's where OSIE, HookOS or CaptainOS stay.
 *
 * `node initramfs/agent-image.ts [--output build/tink-worker.oci.tar] [--executable build/nibs-linux-x64]`
 *
 * The result is an OCI archive; `skopeo copy oci-archive:build/tink-worker.oci.tar docker://registry/tink-worker` puts it into a registry.
 */
import { copyFile, symlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { builtExecutable, layOutDirectories, layOutLibraries, writeContainerImage } from './container-image.ts';

const { values } = parseArgs({
  options: {
    output: { type: 'string', default: resolve(import.meta.dirname, '../build/tink-worker.oci.tar') },
    executable: { type: 'string', default: builtExecutable },
  },
});

await writeContainerImage(
  {
    packages: ['libc6', 'libgcc-s1'],
    reference: 'tink-worker:latest',
    config: {
      Entrypoint: ['/usr/bin/tink-worker'],
      Env: [
        'PATH=/usr/bin:/usr/sbin',
        // All three systems mount this directory; what lies elsewhere is gone with the container, and with it what the journal knows.
        'NIBS_STATE_DIRECTORY=/worker/.nibs',
        // The kernel command line names the server, but the engines of these systems forward what containers print.
        'NIBS_SYSLOG_HOST=off',
        // There is no program in here that restarts a machine.
        'NIBS_SYSRQ=true',
      ],
      WorkingDir: '/',
    },
    layerCount: 2,
    async layOut(unpacked, [libraries = '', program = '']) {
      await layOutDirectories(libraries);
      await layOutLibraries([values.executable], unpacked, libraries);
      await layOutDirectories(program);
      // The file itself has the name by which CaptainOS takes it out of the layer.
      await copyFile(values.executable, join(program, 'usr/bin/tink-agent'));
      await symlink('tink-agent', join(program, 'usr/bin/tink-worker'));
    },
  },
  values.output,
);
process.stdout.write(`${values.output}\n`);
