import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { busyboxImage } from '../busybox-image.ts';
import { internetAddress } from '../network.ts';
import { readOciArchive } from '../oci-archive.ts';
import { startRegistry } from '../registry.ts';
import { seedIgnition } from '../seed.ts';
import { waitdaemonImage } from '../waitdaemon.ts';
import { makeLoginKey } from './login-key.ts';
import { image2disk, writefile } from './standard/actions.ts';
import type { SandboxWorkflow } from './workflow.ts';

/** Where the images of actions are published. */
const publicRegistries = ['quay.io', 'ghcr.io'] as const;

/** Of the Hardware: the second disk of the demo's machine. */
const disk = '/dev/vdb';

/**
 * The standard template of current Tinkerbell's documentation: stream an image to the disk, write a
 * file to one of its partitions, restart. The restart is the action waitdaemon, which succeeds at
 * once and leaves a container behind that calls `reboot` ten seconds later.
 *
 * The actions are made anew from their documentation (github.com/tinkerbell/actions,
 * github.com/jacobweinstock/waitdaemon). In place of the Internet, the sandbox's DNS sends the
 * public registries' names to one of the sandbox, which the boot image trusts by
 * `nibs_registry_ca=`.
 *
 * @param writer what writes the image: the original's action, or that of `make images`, which also
 * gets the hash of the image
 */
export function standardWorkflow(writer: 'original' | 'ours'): SandboxWorkflow {
  return {
    actions: ['stream-image', 'write-config', 'reboot'],
    dialects: ['current', 'v0.9'],
    restartedBy: 'action',
    async create({ root, directory, address, machine, authority, tink, started }) {
      const registry = started.use(
        await startRegistry({
          address: internetAddress,
          port: 443,
          authority,
          names: publicRegistries,
          anonymous: true,
        }),
      );
      const ours = () => readOciArchive(join(root, 'build/image2disk.oci.tar'));
      await registry.push('tinkerbell/actions/image2disk', await (writer === 'ours' ? ours() : image2disk()));
      await registry.push('tinkerbell/actions/writefile', await writefile());
      await registry.push('jacobweinstock/waitdaemon', await waitdaemonImage());
      await registry.push('libpod/alpine', await busyboxImage());

      const image = join(directory, 'disk.raw.gz');
      await pipeline(
        createReadStream(join(root, 'build/os-image/disk.img')),
        createGzip({ level: 1 }),
        createWriteStream(image),
      );
      const key = await makeLoginKey(directory);
      const text = render(`http://${address}/disk.raw.gz`, seedIgnition(key.public));
      const hash = createHash('sha256')
        .update(await readFile(image))
        .digest('hex');
      const template =
        writer === 'ours' ? text.replace('COMPRESSED: true', `COMPRESSED: true\n          IMG_SHA256: ${hash}`) : text;
      const authorities = publicRegistries.map((name) => `${name}=http://${address}/workflow/ca.pem`);
      return {
        id: tink.createWorkflow(tink.createTemplate('standard', template), { device_1: machine.mac }),
        loginKeyPath: key.path,
        files: { '/disk.raw.gz': image },
        names: Object.fromEntries(publicRegistries.map((name) => [name, internetAddress])),
        kernelArguments: [`nibs_registry_ca=${authorities.join(',')}`],
      };
    },
  };
}

/**
 * What the controller makes of the template and a Hardware with that disk; the played server knows
 * no Hardware.
 */
function render(imageUrl: string, config: string): string {
  return template(imageUrl, config)
    .replaceAll('{{ index .Hardware.Disks 0 }}', disk)
    .replaceAll('{{ formatPartition ( index .Hardware.Disks 0 ) 6 }}', `${disk}6`);
}

function template(imageUrl: string, config: string): string {
  return `version: "0.1"
name: standard
global_timeout: 1800
tasks:
  - name: "os installation"
    worker: "{{.device_1}}"
    volumes:
      - /dev:/dev
      - /dev/console:/dev/console
      - /lib/firmware:/lib/firmware:ro
    actions:
      - name: "stream-image"
        image: quay.io/tinkerbell/actions/image2disk:latest
        timeout: 600
        environment:
          DEST_DISK: {{ index .Hardware.Disks 0 }}
          IMG_URL: "${imageUrl}"
          COMPRESSED: true
      - name: "write-config"
        image: quay.io/tinkerbell/actions/writefile:latest
        timeout: 90
        environment:
          DEST_DISK: {{ formatPartition ( index .Hardware.Disks 0 ) 6 }}
          FS_TYPE: btrfs
          DEST_PATH: /config.ign
          UID: 0
          GID: 0
          MODE: 0600
          DIRMODE: 0700
          CONTENTS: |
            ${config}
      - name: "reboot"
        image: ghcr.io/jacobweinstock/waitdaemon:latest
        timeout: 90
        pid: host
        command: ["reboot"]
        environment:
          IMAGE: quay.io/libpod/alpine:latest
          WAIT_SECONDS: 10
        volumes:
          - /var/run/docker.sock:/var/run/docker.sock
`;
}
