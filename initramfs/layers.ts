import { readdir, readFile } from 'node:fs/promises';
import { basename, join, posix, relative } from 'node:path';
import type { Architecture } from '../debian/architecture.ts';
import { type BuildTools, busyboxCommands } from './build-tools.ts';
import type { Firmware } from './firmware.ts';
import { findProgram, installerTools } from './installer-tools.ts';
import { findLibraries } from './libraries.ts';
import { earlyModules, frequentModules, moduleList, selectModules, stageModules } from './modules.ts';
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
/** Besides busybox: modules, NTP, the console of kernel messages. */
const tools = ['bin/kmod', 'usr/sbin/rdate', 'usr/bin/setlogcons'];
/** Tools that no machine needs before its first action. */
const laterTools = ['sbin/kexec'];
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
const programs = ['tink-agent', 'tink-worker', 'flatcar-install', 'image2disk', 'nibs-report'];

/**
 * The first files of the machine, unpacked into memory by the kernel: only what mounts the other
 * layers.
 */
export async function earlyTree(sources: Sources): Promise<Tree> {
  const tree = new Tree();
  await tree.copy(join(files, 'early/init'), 'init');
  await tree.copy(join(sources.packages, 'bin/busybox'), 'bin/busybox');
  await addBusyboxLinks(tree, sources);
  await tree.copy(await stagedModules(sources, earlyModules, 'early'), modulesDirectory(sources));
  for (const directory of ['proc', 'sys', 'dev', 'layers', 'memory', 'root']) tree.directory(directory);
  return tree;
}

/** What the machine needs until the agent has asked the server for the first time. */
export interface System {
  /** Scripts, tools, managers with their libraries, frequent drivers and the index of all. */
  readonly system: Tree;
  /** The other drivers, and the firmware: a machine reads few of them. */
  readonly drivers: Tree;
}

export async function systemTrees(sources: Sources): Promise<System> {
  const tree = new Tree();
  for (const directory of ['proc', 'sys', 'dev', 'run', 'root', 'mnt', 'worker', 'statedir']) tree.directory(directory);
  for (const directory of ['var/log', 'var/tmp', 'var/lib/docker', 'var/lib/nibs', 'etc/docker'])
    tree.directory(directory);
  tree.directory('tmp', 0o1777);
  for (const link of ['sbin', 'usr/bin', 'usr/sbin']) tree.link(link, link.includes('/') ? '../bin' : 'bin');
  tree.link('usr/lib', '../lib');
  tree.link('var/run', '../run');
  await tree.copy(join(files, 'system'), '.');
  await addBusyboxLinks(tree, sources);
  await addPrograms(tree, sources, tools);
  for (const name of ['modprobe', 'lsmod', 'insmod', 'rmmod', 'modinfo']) tree.link(`bin/${name}`, 'kmod');
  await addManagers(tree, sources);
  await addLibraries(tree, sources, await librariesOfSystem(sources));
  await addCertificates(tree, sources);
  tree.file('etc/nibs-earliest-time', `${sources.timeSeconds}\n`);
  const drivers = await addModules(tree, sources);
  await addFirmware(drivers, sources);
  return { system: tree, drivers };
}

/**
 * What an action needs, and not the agent before: the container engine, and the tools of an
 * installation without a server, which actions have in their image.
 */
export async function engineTree(sources: Sources): Promise<Tree> {
  const tree = new Tree();
  await addPrograms(tree, sources, [...laterTools, ...toolsOfInstaller(sources)]);
  const ofSystem = new Set(await librariesOfSystem(sources));
  await addLibraries(
    tree,
    sources,
    (await librariesOfImage(sources)).filter((path) => !ofSystem.has(path)),
  );
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

/** busybox itself is that of the first files, which /init keeps. */
async function addBusyboxLinks(tree: Tree, sources: Sources): Promise<void> {
  for (const name of await busyboxCommands(sources.tools))
    if (!tree.has(`bin/${name}`)) tree.link(`bin/${name}`, 'busybox');
}

async function addPrograms(tree: Tree, { packages }: Sources, paths: readonly string[]): Promise<void> {
  for (const path of paths) await tree.copy(join(packages, path), `bin/${basename(path)}`);
}

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

async function addLibraries(tree: Tree, { packages }: Sources, paths: readonly string[]): Promise<void> {
  for (const path of paths) tree.file(path, await readFile(join(packages, path)), 0o755);
}

async function librariesOfSystem({ packages, architecture, executable }: Sources): Promise<string[]> {
  const programs = [...tools, ...managerPrograms(architecture)].map((path) => join(packages, path));
  return await findLibraries([...programs, executable], packages);
}

/**
 * The libraries that the image has beside those of the executable, as paths in the unpacked
 * packages.
 */
export async function librariesOfImage(system: ProgramSources): Promise<string[]> {
  const { packages, engine, architecture } = system;
  const paths = [
    ...programsOfEngine[engine],
    ...tools,
    ...laterTools,
    ...toolsOfInstaller(system),
    ...managerPrograms(architecture),
  ];
  return await findLibraries(
    paths.map((path) => join(packages, path)),
    packages,
  );
}

type ProgramSources = Pick<Sources, 'packages' | 'engine' | 'architecture'>;

/**
 * Adds the frequent modules and the index of all to the system.
 * @returns the others
 */
async function addModules(system: Tree, sources: Sources): Promise<Tree> {
  const list = moduleList(sources.architecture);
  const all = new Tree();
  await all.copy(await stagedModules(sources, list, 'system'), modulesDirectory(sources));
  const from = modulesIn(sources);
  const early = new Set(await selectModules(from, earlyModules));
  const frequent = new Set(await selectModules(from, frequentModules));
  const others = new Tree();
  for (const [path, entry] of all.entries) {
    if (entry.kind !== 'file') continue;
    const module = posix.relative(modulesDirectory(sources), path);
    if (unreadIndexes.has(module)) continue;
    // They are loaded already.
    if (early.has(module) || early.has(`${module}.xz`)) continue;
    const isFrequent = !module.startsWith('kernel/') || frequent.has(module) || frequent.has(`${module}.xz`);
    (isFrequent ? system : others).file(path, entry.content, entry.mode);
  }
  return others;
}

/**
 * Files of the index that no program of the machine reads: kmod takes their other form, which ends
 * with `.bin`, and busybox, whose shell prefers its own modprobe, takes modules.dep and
 * modules.alias.
 */
const unreadIndexes = new Set(['modules.order', 'modules.symbols']);

function modulesIn({ packages, kernelVersion }: Sources): string {
  return join(packages, 'lib/modules', kernelVersion);
}

function modulesDirectory({ kernelVersion }: Sources): string {
  return `lib/modules/${kernelVersion}`;
}

async function stagedModules(sources: Sources, list: readonly string[], name: string): Promise<string> {
  const { kernelVersion, scratch, tools } = sources;
  const from = modulesIn(sources);
  return await stageModules(from, await selectModules(from, list), join(scratch, name), kernelVersion, tools);
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
