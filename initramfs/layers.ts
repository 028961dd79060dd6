import { readdir, readFile } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import type { Architecture } from '../debian/architecture.ts';
import { type BuildTools, busyboxCommands } from './build-tools.ts';
import type { Firmware } from './firmware.ts';
import { findProgram, installerTools } from './installer-tools.ts';
import { findLibraries } from './libraries.ts';
import { moduleList, selectModules, stageModules } from './modules.ts';
import type { Engine } from './package-sets.ts';
import { Tree } from './tree.ts';

/** Contents of the image. */
export interface Sources {
  readonly architecture: Architecture;
  /** Directory of the unpacked packages. */
  readonly packages: string;
  /** What index the kernel modules. */
  readonly tools: BuildTools;
  /** The kernel's version, as in lib/modules/<version>. */
  readonly kernelVersion: string;
  readonly firmware: Firmware;
  readonly engine: Engine;
  /** The agent's and installer's executable. */
  readonly executable: string;
  /** An empty directory for intermediate files. */
  readonly scratch: string;
  /** Seconds since 1970: no file of the image is newer. */
  readonly timeSeconds: number;
}

const files = join(import.meta.dirname, 'files');
/** Programs of the engine. Both unpack layers of images with pigz, faster than by themselves. */
const programsOfEngine: Readonly<Record<Engine, readonly string[]>> = {
  docker: [
    ...['usr/sbin/dockerd', 'usr/bin/containerd', 'usr/bin/containerd-shim-runc-v2', 'usr/sbin/runc', 'usr/bin/pigz'],
  ],
  podman: ['usr/bin/podman', 'usr/bin/crun', 'usr/bin/conmon', 'usr/bin/pigz'],
};
/** Besides busybox: modules, NTP, the console of kernel messages, kexec. */
const tools = ['bin/kmod', 'usr/sbin/rdate', 'usr/bin/setlogcons', 'sbin/kexec'];
/** The device manager (udev) and the network manager (systemd-networkd). */
const managers = ['usr/bin/udevadm', 'usr/lib/systemd/systemd-networkd'];
/** What udev calls to identify disks. */
const managerParts = ['ata_id', 'scsi_id', 'cdrom_id'].map((name) => `usr/lib/udev/${name}`);
/**
 * Of udev's rules those for drivers and disks. Left out are those that rename network cards
 * (`interface=eth1` of HookOS names them as the kernel does) and those for desktops.
 */
const deviceRules = [
  ...['50-firmware', '50-udev-default', '60-block', '60-cdrom_id', '60-persistent-storage'],
  ...['60-persistent-storage-tape', '80-drivers'],
];
/** The names of the executable. */
const programs = ['tink-agent', 'tink-worker', 'flatcar-install', 'nibs-report'];

/**
 * The first files of the machine, unpacked into memory by the kernel: only what mounts the other
 * layers.
 */
export async function earlyTree(sources: Sources): Promise<Tree> {
  const tree = new Tree();
  await tree.copy(join(files, 'early/init'), 'init');
  await addBusybox(tree, sources);
  const needed = ['drivers/block/loop', 'fs/squashfs/squashfs', 'fs/overlayfs/overlay'];
  await addModules(tree, sources, needed, 'early');
  for (const directory of ['proc', 'sys', 'dev', 'layers', 'memory', 'root']) tree.directory(directory);
  return tree;
}

/** The system: drivers, tools, scripts, and the libraries of everything in the image. */
export async function systemTree(sources: Sources): Promise<Tree> {
  const tree = new Tree();
  for (const directory of ['proc', 'sys', 'dev', 'run', 'root', 'mnt', 'worker', 'statedir']) tree.directory(directory);
  for (const directory of ['var/log', 'var/tmp', 'var/lib/docker', 'var/lib/nibs', 'etc/docker'])
    tree.directory(directory);
  tree.directory('tmp', 0o1777);
  for (const link of ['sbin', 'usr/bin', 'usr/sbin']) tree.link(link, link.includes('/') ? '../bin' : 'bin');
  tree.link('usr/lib', '../lib');
  tree.link('var/run', '../run');
  await tree.copy(join(files, 'system'), '.');
  await addBusybox(tree, sources);
  await addTools(tree, sources);
  await addManagers(tree, sources);
  await addLibraries(tree, sources);
  await addModules(tree, sources, moduleList(sources.architecture), 'system');
  await addFirmware(tree, sources);
  await addCertificates(tree, sources);
  tree.file('etc/nibs-earliest-time', `${sources.timeSeconds}\n`);
  return tree;
}

/** The container engine. */
export async function engineTree(sources: Sources): Promise<Tree> {
  const tree = new Tree();
  await tree.copy(join(files, `engine-${sources.engine}`), '.');
  for (const path of programsOfEngine[sources.engine])
    await tree.copy(join(sources.packages, path), `bin/${basename(path)}`);
  tree.link('bin/unpigz', 'pigz');
  // Podman does not start without its program for networks of containers, which there are none of.
  if (sources.engine === 'podman') tree.link('lib/podman/netavark', '../../bin/false');
  // For a person in a shell: its commands are those of Docker's CLI.
  if (sources.engine === 'podman') tree.link('bin/docker', 'podman');
  return tree;
}

/** Our executable under its names. */
export async function executableTree(sources: Sources): Promise<Tree> {
  const tree = new Tree();
  tree.file('bin/nibs', await readFile(sources.executable), 0o755);
  for (const name of programs) tree.link(`bin/${name}`, 'nibs');
  return tree;
}

async function addBusybox(tree: Tree, sources: Sources): Promise<void> {
  await tree.copy(join(sources.packages, 'bin/busybox'), 'bin/busybox');
  for (const name of await busyboxCommands(sources.tools))
    if (!tree.has(`bin/${name}`)) tree.link(`bin/${name}`, 'busybox');
}

async function addTools(tree: Tree, sources: Sources): Promise<void> {
  for (const path of [...tools, ...toolsOfInstaller(sources)]) {
    await tree.copy(join(sources.packages, path), `bin/${basename(path)}`);
  }
  for (const name of ['modprobe', 'lsmod', 'insmod', 'rmmod', 'modinfo']) tree.link(`bin/${name}`, 'kmod');
}

/** For an installation without a server; actions have them in their image. */
function toolsOfInstaller({ packages }: Pick<Sources, 'packages'>): string[] {
  return installerTools.map((name) => relative(packages, findProgram(packages, name)));
}

/** The device manager and the network manager; their libraries are not included. */
export async function addManagers(
  tree: Tree,
  { packages, architecture }: Pick<Sources, 'packages' | 'architecture'>,
): Promise<void> {
  for (const path of managerPrograms(architecture)) {
    tree.file(path.replace(/^usr\//, ''), await readFile(join(packages, path)), 0o755);
  }
  tree.link('lib/systemd/systemd-udevd', '../../bin/udevadm');
  for (const name of deviceRules) {
    const path = `lib/udev/rules.d/${name}.rules`;
    await tree.copy(join(packages, 'usr', path), path);
  }
}

/**
 * The programs that {@link addManagers} adds, and the library with which udev loads drivers, as
 * paths in the unpacked packages.
 */
export function managerPrograms({ gnu }: Architecture): string[] {
  return [...managers, ...managerParts, `usr/lib/${gnu}/libkmod.so.2`];
}

async function addLibraries(tree: Tree, sources: Sources): Promise<void> {
  const programs = [...programsWithLibraries(sources), sources.executable];
  for (const path of await findLibraries(programs, sources.packages))
    tree.file(path, await readFile(join(sources.packages, path)), 0o755);
}

/**
 * The libraries that the image has beside those of the executable, as paths in the unpacked
 * packages.
 */
export async function librariesOfImage(system: ProgramSources): Promise<string[]> {
  return await findLibraries(programsWithLibraries(system), system.packages);
}

type ProgramSources = Pick<Sources, 'packages' | 'engine' | 'architecture'>;

function programsWithLibraries({ packages, engine, architecture }: ProgramSources): string[] {
  const paths = [
    ...programsOfEngine[engine],
    ...tools,
    ...toolsOfInstaller({ packages }),
    ...managerPrograms(architecture),
  ];
  return paths.map((path) => join(packages, path));
}

async function addModules(tree: Tree, sources: Sources, list: readonly string[], name: string): Promise<void> {
  const from = join(sources.packages, 'lib/modules', sources.kernelVersion);
  const modules = await selectModules(from, list);
  const staged = await stageModules(from, modules, join(sources.scratch, name), sources.kernelVersion, sources.tools);
  await tree.copy(staged, `lib/modules/${sources.kernelVersion}`);
}

/** With the licences, which ask to be passed on with it. */
async function addFirmware(tree: Tree, { firmware }: Sources): Promise<void> {
  for (const [name, path] of firmware.files) tree.file(`lib/firmware/${name}`, await readFile(path));
  for (const [name, text] of firmware.licences) tree.file(`usr/share/doc/${name}/copyright`, text);
}

/** The authorities that Debian trusts, in one file, at the path that programs in Go and C read. */
async function addCertificates(tree: Tree, sources: Sources): Promise<void> {
  const directory = join(sources.packages, 'usr/share/ca-certificates/mozilla');
  const names = (await readdir(directory)).sort();
  const certificates = await Promise.all(names.map((name) => readFile(join(directory, name), 'utf8')));
  tree.file('etc/ssl/certs/ca-certificates.crt', certificates.join(''));
}
