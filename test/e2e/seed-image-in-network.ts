/**
 * The actions of the blog post in the image that a site makes for itself, without a virtual
 * machine: as root of a mount namespace inside a network namespace that has br0. Their commands are
 * those that the tink server gives out, but `-s` is replaced by `-d DEVICE`, so that no disk of
 * this machine can be chosen.
 *
 * `node test/e2e/seed-image-in-network.ts <directory> <device> <releases> <signing key>`
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { execa } from 'execa';
import { readOciArchive } from '../sandbox/oci-archive.ts';
import { startProvisioner } from '../sandbox/provisioner.ts';
import { seedWorkflow } from '../sandbox/workflows/seed.ts';

const [directory = '', device = '', releases = '', signingKey = ''] = process.argv.slice(2);
const address = '192.168.1.1';
const root = join(directory, 'root');

const commands: (readonly string[])[] = [];
const seed = seedWorkflow({ directory: releases, signingKey });
await using _provisioner = await startProvisioner({
  ...{ root: resolve(import.meta.dirname, '../..'), directory, address, dialect: 'v0.1' },
  machine: { id: 'ce2e62ed-826f-4485-a39f-a82bb74338e2', mac: '08:00:27:00:00:01', address: '192.168.1.5' },
  workflow: {
    ...seed,
    async create(site) {
      const created = await seed.create(site);
      commands.push(...site.tink.commands(created.id));
      return created;
    },
  },
});
await unpackImage();
for (const command of commands) {
  const argv = command.flatMap((word) => (word === '-s' ? ['-d', device] : word));
  const ran = await execa('chroot', [root, ...argv], { all: true, env: { PATH: '/usr/local/bin:/usr/sbin:/usr/bin' } });
  process.stdout.write(`${ran.all}\n`);
}

/**
 * The image as the engine would lay it out, with the file systems and the directories of the task,
 * and the name server of DHCP.
 */
async function unpackImage(): Promise<void> {
  await mkdir(root);
  const { layers } = await readOciArchive(join(directory, 'flatcar-install.oci.tar'));
  for (const layer of layers) await execa('tar', ['--extract', '--gzip', '--directory', root], { input: layer });
  await writeFile(join(root, 'etc/resolv.conf'), `nameserver ${address}\n`);
  await mkdir(join(root, 'statedir'));
  for (const name of ['dev', 'proc', 'sys']) await execa('mount', ['--rbind', `/${name}`, join(root, name)]);
}
