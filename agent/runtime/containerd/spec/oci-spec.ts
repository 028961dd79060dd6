import type { Stats } from 'node:fs';
import { lstat, mkdir, readdir, stat, statfs } from 'node:fs/promises';
import { isAbsolute, join, posix } from 'node:path';
import type { ContainerCreateOptions, HostConfig } from 'dockerode';
import { grantedCapabilities } from '../../capabilities.ts';
import { unlessGone } from '../unless-gone.ts';
import type { ContainerUser } from './container-user.ts';
import { SpecError } from './spec-error.ts';

/** What counts here of the `config` of an image (OCI image-spec, config.md). */
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
  readonly settings: ContainerCreateOptions;
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
 * Writes the runtime specification (OCI runtime-spec 1.0.2, config.md and config-linux.md) of a container that may do everything which this machine can: what
 * `docker run --privileged` gives. The root file system is `rootfs` in the bundle. Directories that are to be bound, and are not there, are made.
 *
 * @throws {SpecError}
 */
export async function makeSpec(input: SpecInput) {
  const { settings, image, user, hostname } = input;
  const host = settings.HostConfig ?? {};
  const isCgroup2 = (await unlessGone(statfs('/sys/fs/cgroup')))?.type === cgroup2Magic;
  const binds = await bindsOf(host, input.volumesDirectory);
  const isBound = (path: string) => binds.some(({ target }) => isWithin(target, path));
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: user.uid, gid: user.gid, additionalGids: [...user.additionalGids] },
      args: argumentsOf(settings, image),
      env: mergeEnvironment([defaultPath, `HOSTNAME=${hostname}`], image.Env ?? [], settings.Env ?? []),
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
      namespaces: namespacesOf(host, input.networkNamespace, isCgroup2),
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

/** With an entry point of the action alone, the image's CMD stays, as with tink-agent in containerd; the Docker Engine drops it. */
function argumentsOf({ Cmd: command = [], Entrypoint }: ContainerCreateOptions, image: ImageConfig): string[] {
  const parameters = command.length > 0 ? command : (image.Cmd ?? []);
  const program = typeof Entrypoint === 'string' ? [Entrypoint] : Entrypoint;
  const all = [...(program ?? image.Entrypoint ?? []), ...parameters];
  if (all.length === 0)
    throw new SpecError('no program to run: the image has neither ENTRYPOINT nor CMD, and the action has no command');
  return all;
}

/** As Docker: a later variable replaces an earlier one at its place, a name without `=` takes it away. */
function mergeEnvironment(...lists: readonly (readonly string[])[]): string[] {
  const variables = new Map<string, string>();
  for (const variable of lists.flat()) {
    const [name = ''] = variable.split('=', 1);
    if (name === '') throw new SpecError(`invalid environment variable: ${variable}`);
    if (variable.includes('=')) variables.set(name, variable);
    else variables.delete(name);
  }
  return [...variables.values()];
}

/** No container can have more than its agent: the kernel refuses to give what is not in the bounding set (capabilities(7)). */
async function boundingSet(): Promise<string[]> {
  return (await grantedCapabilities()).map((name) => `CAP_${name}`);
}

/** As Docker: nothing is inheritable (CVE-2022-24769). Who is not root keeps none in effect, by execve(2). */
function capabilitiesOf(bounding: readonly string[]) {
  return { bounding, effective: bounding, permitted: bounding };
}

function namespacesOf({ PidMode: pidMode = '' }: HostConfig, networkNamespace: string | undefined, isCgroup2: boolean) {
  if (pidMode !== '' && pidMode !== 'host')
    throw new SpecError(`unknown PID mode ${JSON.stringify(pidMode)}: with containerd there is only "host"`);
  return [
    ...[{ type: 'mount' }, { type: 'ipc' }, { type: 'uts' }],
    ...(pidMode === 'host' ? [] : [{ type: 'pid' }]),
    ...(networkNamespace === undefined ? [] : [{ type: 'network', path: networkNamespace }]),
    // With version 1 a privileged container sees all of the machine's groups.
    ...(isCgroup2 ? [{ type: 'cgroup' }] : []),
  ];
}

/** What every container has (runtime-spec, config-linux.md, "Default Filesystems"). */
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

/** Mounts reach the machine from the container, or the container from the machine, only when the root of all allows it too (mount_namespaces(7)). */
function propagationOf(binds: readonly Bind[]): { readonly rootfsPropagation?: string } {
  const has = (...propagation: string[]) => binds.some(({ options }) => options.some((o) => propagation.includes(o)));
  if (has('shared', 'rshared')) return { rootfsPropagation: 'rshared' };
  return has('slave', 'rslave') ? { rootfsPropagation: 'rslave' } : {};
}

/** Binds and mounts of the settings. Their sources are there afterwards. */
async function bindsOf({ Binds, Mounts }: HostConfig, volumesDirectory: string): Promise<Bind[]> {
  const binds: Bind[] = [];
  for (const text of Binds ?? []) binds.push(await madeBind(text, volumesDirectory));
  for (const mount of Mounts ?? []) binds.push(await boundMount(mount));
  const twice = binds.find(({ target }, index) => binds.findIndex((other) => other.target === target) < index);
  if (twice !== undefined) throw new SpecError(`cannot bind ${twice.source}: ${twice.target} is bound already`);
  return binds;
}

/** The syntax of the Docker API: `source:target[:option,…]`. What is not there is made. */
async function madeBind(text: string, volumesDirectory: string): Promise<Bind> {
  const refuse = (reason: string, cause?: unknown) =>
    new SpecError(`cannot bind ${JSON.stringify(text)}: ${reason}`, { cause });
  const [source = '', target = '', modes = '', ...rest] = text.split(':');
  if (target === '' || rest.length > 0) throw refuse('it is not of the form source:target[:options]');
  const bind = {
    source: sourceOf(source, volumesDirectory, refuse),
    target: targetOf(target, refuse),
    options: optionsOf(modes, refuse),
  };
  await makeDirectory(bind.source).catch((error: Error) => {
    throw refuse(error.message, error);
  });
  return bind;
}

type Refuse = (reason: string) => SpecError;

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

/** Each group allows one. The last is without a meaning here: SELinux labels, copying into volumes, caches of virtual machines. */
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

/** As Docker: of a mount, unlike a bind, the source must be there. */
async function boundMount(mount: NonNullable<HostConfig['Mounts']>[number]): Promise<Bind> {
  const { Type: type, Source: source, Target: target, ReadOnly: readOnly } = mount;
  const refuse = (reason: string, cause?: unknown) =>
    new SpecError(`cannot mount ${source} at ${target}: ${reason}`, { cause });
  if (type !== 'bind') throw refuse(`unknown type ${JSON.stringify(type)}: with containerd there is only "bind"`);
  if (!isAbsolute(source)) throw refuse('its source must be an absolute path');
  const isThere = await exists(source).catch((error: Error) => {
    throw refuse(error.message, error);
  });
  if (!isThere) throw refuse(`there is no ${source}`);
  const propagation = mount.BindOptions?.Propagation ?? 'rprivate';
  return {
    ...{ source: posix.resolve(source), target: targetOf(target, refuse) },
    options: ['rbind', propagation, readOnly ? 'ro' : 'rw'],
  };
}

async function makeDirectory(path: string): Promise<void> {
  if (!(await exists(path))) await mkdir(path, { recursive: true, mode: 0o755 });
}

async function exists(path: string): Promise<boolean> {
  return (await unlessGone(stat(path))) !== undefined;
}

function isWithin(directory: string, path: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}

/** What a container has in /dev by itself: made by the runtime (config-linux.md, "Default Devices"), or mounted. */
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
  for (const name of (await unlessGone(readdir(directory))) ?? []) {
    const path = join(directory, name);
    const status = ownDevices.includes(path) ? undefined : await unlessGone(lstat(path));
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
