import type { Stats } from 'node:fs';
import { lstat, mkdir, readdir, stat, statfs } from 'node:fs/promises';
import { isAbsolute, join, posix } from 'node:path';
import { reasonOf } from '../../../../errors/reason.ts';
import { grantedCapabilities } from '../../capabilities.ts';
import type { BindMount, ContainerSpec } from '../../container-spec.ts';
import { ignoreMissing } from '../ignore-missing.ts';
import type { ContainerUser } from './container-user.ts';
import { SpecError } from './spec-error.ts';

/** The part of an image's `config` that a container depends on (OCI image-spec, config.md). */
export interface ImageConfig {
  readonly Entrypoint?: readonly string[] | null | undefined;
  readonly Cmd?: readonly string[] | null | undefined;
  readonly Env?: readonly string[] | null | undefined;
  readonly WorkingDir?: string | null | undefined;
  readonly User?: string | null | undefined;
  readonly StopSignal?: string | null | undefined;
}

export interface SpecInput {
  readonly id: string;
  readonly spec: ContainerSpec;
  readonly image: ImageConfig;
  readonly user: ContainerUser;
  readonly hostname: string;
  /** Path of the network namespace. `undefined`: the machine's own network. */
  readonly networkNamespace: string | undefined;
  /** Files of the machine that the container sees in /etc. */
  readonly files: { readonly resolvConf: string; readonly hosts: string; readonly hostname: string };
  /** Holds a directory for each named volume. */
  readonly volumesDirectory: string;
  /** containerd's, for the path of the control group. */
  readonly namespace: string;
}

interface SpecMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

/** Source and target are absolute, the options are those of the runtime specification. */
interface Bind {
  readonly source: string;
  readonly target: string;
  readonly options: readonly string[];
}

/**
 * Makes the runtime specification (OCI runtime-spec 1.0.2, config.md and config-linux.md) of a
 * container with all that this machine has: what `docker run --privileged` gives. The root file
 * system is `rootfs` in the bundle. Directories that are to be bound and do not exist are made.
 *
 * @throws {SpecError}
 */
export async function makeSpec(input: SpecInput) {
  const { spec, image, user, hostname } = input;
  const isCgroup2 = (await ignoreMissing(statfs('/sys/fs/cgroup')))?.type === cgroup2Magic;
  const binds = await bindsOf(spec, input.volumesDirectory);
  const isBound = (path: string) => binds.some(({ target }) => isWithin(target, path));
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: user.uid, gid: user.gid, additionalGids: [...user.additionalGids] },
      args: argumentsOf(spec, image),
      env: mergeEnvironment([defaultPath, `HOSTNAME=${hostname}`], image.Env ?? [], spec.environment),
      cwd: posix.resolve('/', image.WorkingDir ?? ''),
      capabilities: capabilitiesOf(await boundingSet()),
      noNewPrivileges: false,
      oomScoreAdj: 0,
    },
    root: { path: 'rootfs', readonly: false },
    hostname,
    mounts: [
      ...ownMounts.filter(({ destination }) => !isBound(destination)),
      ...outermostFirst([
        ...binds,
        ...filesOf(input).filter((file) => !binds.some(({ target }) => target === file.target)),
      ]),
    ],
    linux: {
      namespaces: namespacesOf(spec, input.networkNamespace, isCgroup2),
      cgroupsPath: `/${input.namespace}/${input.id}`,
      resources: { devices: [{ allow: true, access: 'rwm' }] },
      devices: (await devicesBelow('/dev')).filter(({ path }) => !isBound(path)),
      ...propagationOf(binds),
      maskedPaths: [],
      readonlyPaths: [],
    },
  };
}

/** linux/magic.h */
const cgroup2Magic = 0x63677270;

const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * With an entry point of the action alone, the image's CMD stays, as with tink-agent in containerd;
 * the Docker Engine drops it.
 */
function argumentsOf({ entrypoint, command }: ContainerSpec, image: ImageConfig): string[] {
  const parameters = command.length > 0 ? command : (image.Cmd ?? []);
  const all = [...(entrypoint ?? image.Entrypoint ?? []), ...parameters];
  const why = 'the image has neither ENTRYPOINT nor CMD, and the action has no command';
  if (all.length === 0) throw new SpecError({ what: 'run', target: 'a program', why });
  return all;
}

/**
 * As Docker: a later variable replaces an earlier one at its place, a name without `=` removes it.
 */
function mergeEnvironment(...lists: readonly (readonly string[])[]): string[] {
  const variables = new Map<string, string>();
  for (const variable of lists.flat()) {
    const [name = ''] = variable.split('=', 1);
    if (name === '')
      throw new SpecError({ what: 'set', target: `the environment variable ${variable}`, why: 'it has no name' });
    if (variable.includes('=')) variables.set(name, variable);
    else variables.delete(name);
  }
  return [...variables.values()];
}

/**
 * A container cannot have more than the agent: the kernel refuses what is not in the bounding set
 * (capabilities(7)).
 */
async function boundingSet(): Promise<string[]> {
  return (await grantedCapabilities()).map((name) => `CAP_${name}`);
}

/**
 * As Docker: nothing is inheritable (CVE-2022-24769). A user other than root keeps none in effect,
 * by execve(2).
 */
function capabilitiesOf(bounding: readonly string[]) {
  return { bounding, effective: bounding, permitted: bounding };
}

function namespacesOf({ pidMode = '' }: ContainerSpec, networkNamespace: string | undefined, isCgroup2: boolean) {
  if (pidMode !== '' && pidMode !== 'host') {
    const why = 'with containerd there is only "host"';
    throw new SpecError({ what: 'use', target: `the PID mode ${JSON.stringify(pidMode)}`, why });
  }
  return [
    ...[{ type: 'mount' }, { type: 'ipc' }, { type: 'uts' }],
    ...(pidMode === 'host' ? [] : [{ type: 'pid' }]),
    ...(networkNamespace === undefined ? [] : [{ type: 'network', path: networkNamespace }]),
    // With version 1 a privileged container sees all groups of the machine.
    ...(isCgroup2 ? [{ type: 'cgroup' }] : []),
  ];
}

/** Mounts of every container (runtime-spec, config-linux.md, "Default Filesystems"). */
const ownMounts: readonly SpecMount[] = [
  { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
  {
    ...{ destination: '/dev', type: 'tmpfs', source: 'tmpfs' },
    options: ['nosuid', 'strictatime', 'mode=755', 'size=64m'],
  },
  {
    ...{ destination: '/dev/pts', type: 'devpts', source: 'devpts' },
    options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
  },
  {
    ...{ destination: '/dev/shm', type: 'tmpfs', source: 'shm' },
    options: ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=64m'],
  },
  { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
  { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'rw'] },
  { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['nosuid', 'noexec', 'nodev', 'rw'] },
];

function filesOf({ files }: SpecInput): Bind[] {
  const options = ['rbind', 'rprivate', 'rw'];
  return [
    { source: files.resolvConf, target: '/etc/resolv.conf', options },
    { source: files.hosts, target: '/etc/hosts', options },
    { source: files.hostname, target: '/etc/hostname', options },
  ];
}

/** One at /a must not hide another at /a/b. */
function outermostFirst(binds: readonly Bind[]): SpecMount[] {
  const depth = (path: string) => path.split('/').length;
  return binds
    .toSorted((one, other) => depth(one.target) - depth(other.target))
    .map(({ source, target, options }) => ({ destination: target, type: 'bind', source, options }));
}

/**
 * Mounts reach the machine from the container, or the container from the machine, only when the
 * root of all allows it too (mount_namespaces(7)).
 */
function propagationOf(binds: readonly Bind[]): { readonly rootfsPropagation?: string } {
  const has = (...propagation: string[]) => binds.some(({ options }) => options.some((o) => propagation.includes(o)));
  if (has('shared', 'rshared')) return { rootfsPropagation: 'rshared' };
  return has('slave', 'rslave') ? { rootfsPropagation: 'rslave' } : {};
}

/** Volumes and mounts. Their sources exist afterwards. */
async function bindsOf({ volumes, mounts }: ContainerSpec, volumesDirectory: string): Promise<Bind[]> {
  const binds: Bind[] = [];
  for (const text of volumes) binds.push(await bindOfVolume(text, volumesDirectory));
  for (const mount of mounts) binds.push(await bindOfMount(mount));
  const twice = binds.find(({ target }, index) => binds.findIndex((other) => other.target === target) < index);
  if (twice !== undefined)
    throw new SpecError({ what: 'bind', target: twice.source, why: `${twice.target} is bound already` });
  return binds;
}

/** A source that does not exist is made. */
async function bindOfVolume(text: string, volumesDirectory: string): Promise<Bind> {
  const refuse = (why: string, cause?: unknown) =>
    new SpecError({ what: 'bind', target: JSON.stringify(text), why, cause });
  const [source = '', target = '', modes = '', ...rest] = text.split(':');
  if (target === '' || rest.length > 0) throw refuse('it is not of the form source:target[:options]');
  const bind = {
    source: sourceOf(source, volumesDirectory, refuse),
    target: targetOf(target, refuse),
    options: optionsOf(modes, refuse),
  };
  await makeDirectory(bind.source).catch((error: unknown) => {
    throw refuse(reasonOf(error), error);
  });
  return bind;
}

type Refuse = (why: string) => SpecError;

function sourceOf(source: string, volumesDirectory: string, refuse: Refuse): string {
  if (isAbsolute(source)) return posix.resolve(source);
  if (/^[a-zA-Z0-9][\w.-]+$/.test(source)) return join(volumesDirectory, source);
  throw refuse(`${JSON.stringify(source)} is neither an absolute path nor the name of a volume`);
}

function targetOf(target: string, refuse: Refuse): string {
  const path = posix.resolve('/', target);
  if (!isAbsolute(target) || path === '/') throw refuse('its target must be an absolute path, and not /');
  return path;
}

/**
 * Each group allows one. The last has no meaning here: SELinux labels, copying into volumes, caches
 * of virtual machines.
 */
const bindModes = {
  access: ['ro', 'rw'],
  propagation: ['rprivate', 'private', 'rshared', 'shared', 'rslave', 'slave'],
  ignored: ['z', 'Z', 'nocopy', 'cached', 'consistent', 'delegated'],
} as const;

function optionsOf(modes: string, refuse: Refuse): string[] {
  const given = modes === '' ? [] : modes.split(',');
  const known: readonly string[] = Object.values(bindModes).flat();
  const unknown = given.find((mode) => !known.includes(mode));
  if (unknown !== undefined) throw refuse(`unknown option ${JSON.stringify(unknown)}`);
  const one = (group: readonly string[], otherwise: string) => {
    const [first = otherwise, second] = given.filter((mode) => group.includes(mode));
    if (second !== undefined) throw refuse(`options ${first} and ${second} exclude each other`);
    return first;
  };
  return ['rbind', one(bindModes.propagation, 'rprivate'), one(bindModes.access, 'rw')];
}

async function bindOfMount({ source, target }: BindMount): Promise<Bind> {
  const refuse = (why: string, cause?: unknown) =>
    new SpecError({ what: 'mount', target: `${source} at ${target}`, why, cause });
  const isThere = await exists(source).catch((error: unknown) => {
    throw refuse(reasonOf(error), error);
  });
  if (!isThere) throw refuse(`there is no ${source}`);
  return { source: posix.resolve(source), target: targetOf(target, refuse), options: ['rbind', 'rprivate', 'rw'] };
}

async function makeDirectory(path: string): Promise<void> {
  if (!(await exists(path))) await mkdir(path, { recursive: true, mode: 0o755 });
}

async function exists(path: string): Promise<boolean> {
  return (await ignoreMissing(stat(path))) !== undefined;
}

function isWithin(directory: string, path: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}

/**
 * What a container has in /dev by itself: made by the runtime (config-linux.md, "Default Devices"),
 * or mounted.
 */
const ownDevices = ['null', 'zero', 'full', 'random', 'urandom', 'tty', 'console', 'ptmx', 'pts', 'shm', 'mqueue'].map(
  (name) => `/dev/${name}`,
);

interface Device {
  readonly type: 'b' | 'c';
  readonly path: string;
  readonly major: number;
  readonly minor: number;
  /** Permissions, without the bits of the type. */
  readonly fileMode: number;
  readonly uid: number;
  readonly gid: number;
}

/** All block and character devices below a directory. One that goes away meanwhile is left out. */
async function devicesBelow(directory: string): Promise<Device[]> {
  const devices: Device[] = [];
  for (const name of (await ignoreMissing(readdir(directory))) ?? []) {
    const path = join(directory, name);
    const status = ownDevices.includes(path) ? undefined : await ignoreMissing(lstat(path));
    if (status?.isDirectory()) devices.push(...(await devicesBelow(path)));
    if (status?.isBlockDevice() || status?.isCharacterDevice()) devices.push(deviceOf(path, status));
  }
  return devices;
}

/** The number is in the layout of linux/kdev_t.h, new_encode_dev(). */
function deviceOf(path: string, status: Stats): Device {
  const { mode, rdev, uid, gid } = status;
  return {
    ...{ path, uid, gid, fileMode: mode & 0o7777 },
    type: status.isBlockDevice() ? 'b' : 'c',
    major: (rdev >>> 8) & 0xfff,
    minor: (rdev & 0xff) | ((rdev >>> 12) & 0xfff00),
  };
}
