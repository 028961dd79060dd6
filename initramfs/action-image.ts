/**
 * Builds the container image of the actions: our executable, busybox, and the tools that the
 * executable calls.
 *
 *     node initramfs/action-image.ts [--arch x86_64|aarch64] [--name image2disk]
 *       [--output build/flatcar-install.oci.tar] [--executable build/nibs-linux-x64]
 *       [--mirror URL] [--ca FILE] [--key FILE]
 *
 * `--name image2disk` makes the image of that action: the same layers, and the program runs without
 * a command.
 *
 * For another architecture than this machine's the output is
 * `build/flatcar-install-aarch64.oci.tar` or `build/flatcar-install-x86_64.oci.tar`. A site may add
 * its mirrors, certificate authority and signing key. The same inputs give the same bytes.
 *
 * The result is an OCI archive;
 * `skopeo copy oci-archive:build/flatcar-install.oci.tar docker://registry/flatcar-install` pushes
 * it to a registry.
 */
import { copyFile, mkdir, symlink } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { busyboxCommands, fetchBuildTools } from './build-tools.ts';
import { imageOptions, layOutDirectories, layOutLibraries, writeContainerImage } from './container-image.ts';
import { findProgram, installerTools } from './installer-tools.ts';
import { actionPackages } from './package-sets.ts';
import { layOutSite, readSiteSource, type SiteLayout } from './site.ts';

const root = resolve(import.meta.dirname, '..');

const links = ['flatcar-install', 'image2disk', 'oci2disk', 'qemuimg2disk', 'tink-agent', 'tink-worker'];

const { values } = parseArgs({
  options: {
    arch: { type: 'string' },
    name: { type: 'string', default: 'flatcar-install' },
    output: { type: 'string' },
    executable: { type: 'string' },
    mirror: { type: 'string', multiple: true, default: [] },
    ca: { type: 'string' },
    key: { type: 'string' },
  },
});
/** Templates give `flatcar-install` as a command, in a shell or not; `image2disk` has none. */
const commands: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'flatcar-install': { Cmd: ['sh'] },
  image2disk: { Entrypoint: ['/usr/local/bin/image2disk'] },
};
const { name } = values;
const command = commands[name];
if (command === undefined) throw new Error(`--name must be ${Object.keys(commands).join(' or ')}`);
const { architecture, executable, output } = imageOptions(values, name);
const site = await readSite();
await writeContainerImage(
  {
    architecture,
    executable,
    packages: actionPackages,
    reference: `${name}:latest`,
    config: { Env: ['PATH=/usr/local/bin:/usr/sbin:/usr/bin'], ...command, WorkingDir: '/' },
    // The files of the site are a separate layer: the large layers below it are the same for all
    // sites.
    layerCount: site.size > 0 ? 3 : 2,
    async layOut(unpacked, [tools = '', ofExecutable = '', ofSite = '']) {
      await layOutTools(unpacked, tools);
      await layOutExecutable(ofExecutable);
      if (site.size > 0) await layOutSite(site, ofSite);
    },
  },
  output,
);
process.stdout.write(`${[output, ...site.keys()].join(' with /')}\n`);

/** Wrong arguments end the build before anything is fetched. */
async function readSite(): Promise<SiteLayout> {
  try {
    return await readSiteSource({ mirrors: values.mirror, authorities: values.ca, key: values.key });
  } catch (error) {
    process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  }
}

/** Lays out shell, tools and libraries. */
async function layOutTools(unpacked: string, tree: string): Promise<void> {
  await layOutDirectories(tree);
  const found = installerTools.map((program) => findProgram(unpacked, program));
  for (const path of found) await copyFile(path, join(tree, 'usr/bin', basename(path)));
  await layOutBusybox(join(unpacked, 'bin/busybox'), tree);
  await layOutLibraries([...found, executable], unpacked, tree);
}

/** Busybox under those of its names that no other tool has. */
async function layOutBusybox(busybox: string, tree: string): Promise<void> {
  await copyFile(busybox, join(tree, 'usr/bin/busybox'));
  const commands = await busyboxCommands(await fetchBuildTools(join(root, 'build/cache')));
  const names = commands.filter((name) => !installerTools.includes(name));
  for (const name of names) await symlink('busybox', join(tree, 'usr/bin', name));
}

/** The executable under its names, and their manual pages. */
async function layOutExecutable(tree: string): Promise<void> {
  const directory = join(tree, 'usr/local/bin');
  await mkdir(directory, { recursive: true });
  await copyFile(executable, join(directory, 'nibs'));
  for (const name of links) await symlink('nibs', join(directory, name));
  // The udev of the machine may still be finding its disks.
  const settings = join(tree, 'etc/flatcar-install');
  await mkdir(settings, { recursive: true });
  await copyFile(join(root, 'initramfs/files/system/etc/flatcar-install/wait-seconds'), join(settings, 'wait-seconds'));
  const manualPages = join(tree, 'usr/share/man/man8');
  await mkdir(manualPages, { recursive: true });
  for (const page of ['flatcar-install.8', 'image2disk/image2disk.8'])
    await copyFile(join(root, 'installer', page), join(manualPages, basename(page)));
}
