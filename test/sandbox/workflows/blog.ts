import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readOciArchive } from '../oci-archive.ts';
import { seedHardware, seedIgnition, seedTemplate } from '../seed.ts';
import { onKubernetes, SERVER_DIALECTS } from '../tink-server/server.ts';
import { makeLoginKey } from './login-key.ts';
import { registryArguments } from './registry-arguments.ts';
import type { SandboxWorkflow } from './workflow.ts';

/**
 * The workflow of the blog post "Provisioning Flatcar Container Linux with Tinkerbell" for a site
 * whose mirror is named in the template (`-b`) and signs with a key of its own (`-k`), which a
 * third action puts beside the Ignition config.
 * @param finish how the agent restarts the machine
 */
export function blogWorkflow(finish: 'reboot' | 'kexec'): SandboxWorkflow {
  return {
    actions: ['dump-ignition', 'dump-signing-key', 'flatcar-install'],
    dialects: SERVER_DIALECTS,
    restartedBy: 'agent',
    async create({ root, directory, address, machine, registry, tink }) {
      await registry.push('flatcar-install', await readOciArchive(join(root, 'build/flatcar-install.oci.tar')));
      const key = await makeLoginKey(directory);
      const signingKey = await readFile(join(root, 'build/os-image/signing-key.asc'), 'utf8');
      const yaml = seedTemplate(seedIgnition(key.public), signingKey, `http://${address}/mirror`);
      // Current agents take images as they are named.
      const text = tink.dialect === 'current' ? yaml.replaceAll('image: ', `image: ${address}/`) : yaml;
      if (!onKubernetes(tink.dialect)) tink.pushHardware(seedHardware(machine, address));
      return {
        id: tink.createWorkflow(tink.createTemplate('flatcar-install', text), { machine1: machine.mac }),
        loginKeyPath: key.path,
        files: { '/mirror/': join(root, 'build/os-image/mirror') },
        names: {},
        kernelArguments: [...registryArguments(address, registry), ...finishArguments[finish]],
      };
    },
  };
}

/**
 * The kernel of the installed system and its command line are what the system's own boot loader
 * uses (test/sandbox/os-image/files/esp/grub/grub.cfg).
 */
const finishArguments = {
  reboot: ['nibs_finish=reboot'],
  kexec: [
    ...['nibs_finish=kexec', 'nibs_kexec_device=LABEL=EFI-SYSTEM'],
    ...['nibs_kexec_kernel=/vmlinuz', 'nibs_kexec_initramfs=/initramfs'],
    'nibs_kexec_cmdline="root=LABEL=ROOT ignition.platform.id=metal ignition.firstboot console=tty0 console=ttyS0,115200 quiet"',
  ],
};
