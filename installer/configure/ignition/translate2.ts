import { zeroOf } from './decode.ts';
import { each, type JsonCursor, type JsonPath, shorten } from './findings.ts';
import type { Value } from './go-types.ts';
import { mergeConfigs } from './merge.ts';
import { findLinkOnTheWay, joinPath } from './path.ts';
import type { Config2, File2, Filesystem2, NetworkdUnit2, Node2, Reference2, Unit2, User2 } from './schema2.ts';
import {
  type Config3,
  config3,
  type Directory3,
  type File3,
  type Filesystem3,
  type Resource,
  type Unit3,
} from './schema3.ts';

/** The version to which Flatcar translates. */
export const translatedMinor = 1;

/** Where Flatcar mounts the file systems of a config, by their names. */
type MountPoints = ReadonlyMap<string, string>;

/**
 * Translates a config of version 2 to 3.1, as Flatcar does at first boot.
 * Source: config/v24tov31 in Flatcar's patches to Ignition.
 * @param config that has passed the rules of version 2
 * @param repeatsLastReference a bug of releases of Ignition that were built as Go before 1.22
 */
export function translateVersion2(config: Config2, repeatsLastReference: boolean): Config3 {
  const { ignition, networkd, passwd, storage, systemd } = config;
  const mounts = mountPoints(storage.filesystems);
  const references = (list: readonly Reference2[]) =>
    list.map((reference) => translateReference(reference, repeatsLastReference ? list.at(-1) : reference));
  const { proxy, timeouts } = ignition;
  return {
    ...(zeroOf(config3, translatedMinor) as Config3),
    ignition: {
      config: {
        merge: references(ignition.config.append),
        replace: ignition.config.replace === undefined ? noResource() : translateReference(ignition.config.replace),
      },
      proxy: {
        httpProxy: proxy.httpProxy || undefined,
        httpsProxy: proxy.httpsProxy || undefined,
        noProxy: proxy.noProxy,
      },
      security: { tls: { certificateAuthorities: references(ignition.security.tls.certificateAuthorities) } },
      timeouts,
      version: `3.${translatedMinor}.0`,
    },
    passwd: {
      groups: passwd.groups.map((group) => ({ ...group, shouldExist: undefined })),
      users: passwd.users.map(translateUser),
    },
    storage: {
      directories: storage.directories.map((node) => ({ ...translateNode(node, mounts), mode: node.mode })),
      disks: storage.disks.map((disk) => ({
        ...disk,
        partitions: disk.partitions.map((partition) => ({ ...partition, resize: undefined })),
      })),
      files: [
        ...storage.files.map((file) => translateFile(file, mounts)),
        ...networkd.units.flatMap(translateNetworkdUnit),
      ],
      filesystems: storage.filesystems
        .filter(({ name }) => name !== 'root')
        .map((filesystem) => translateFilesystem(filesystem, mounts)),
      links: storage.links.map(({ hard, target, ...node }) => ({ ...translateNode(node, mounts), hard, target })),
      luks: [],
      raid: storage.raid,
    },
    systemd: { units: translateUnits(systemd.units) },
  };
}

/** What cannot be translated although it is a good config of version 2; and what is not meant. */
export function checkTranslation({ storage, systemd }: Config2, cursor: JsonCursor): void {
  const mounts = mountPoints(storage.filesystems);
  const pathOf = (node: Node2) => joinPath('/', mounts.get(node.filesystem) ?? '', node.path);
  const links = new Set(storage.links.map(pathOf));
  const seen = new Set<string>();
  for (const kind of ['files', 'directories', 'links'] as const) {
    const nodes: readonly Node2[] = storage[kind];
    each(nodes, cursor.at('storage', kind), (node, at) => {
      const path = pathOf(node);
      if (seen.has(path)) at.at('path').error(`a second entry for ${path}`);
      seen.add(path);
      const link = links.has('/') && path !== '/' ? '/' : findLinkOnTheWay(path, links);
      if (link !== undefined) at.at('path').error(`${path} leads through the link ${link} of this config`);
      if (!mounts.has(node.filesystem)) {
        at.at('filesystem').advise(
          `there is no file system ${shorten(node.filesystem)}: Flatcar takes it as root, so that the path is ${path}`,
        );
      }
    });
  }
  each(systemd.units, cursor.at('systemd', 'units'), ({ dropins }, at) => {
    const names = new Set<string>();
    each(dropins, at.at('dropins'), ({ name }, dropinAt) => {
      if (names.has(name)) dropinAt.error(`a second entry for ${name}`);
      names.add(name);
    });
  });
}

/**
 * The path in version 2 of what is at a path in its translation; of the nearest thing around it.
 */
export function originOf(path: JsonPath, { networkd, storage, systemd }: Config2): JsonPath {
  const [section, list, index, ...rest] = path;
  if (section === 'ignition' && list === 'config' && index === 'merge') return [section, list, 'append', ...rest];
  if (section === 'storage' && list === 'files' && Number(index) >= storage.files.length)
    return networkd.units.length > 0 ? ['networkd', 'units'] : [section, list];
  if (section === 'storage' && list === 'filesystems' && index !== undefined) {
    const translated = [...storage.filesystems.keys()].filter((at) => storage.filesystems[at]?.name !== 'root');
    const origin = translated[Number(index)];
    return origin === undefined ? [section, list] : [section, list, origin, 'mount', ...rest];
  }
  if (section === 'systemd' && list === 'units' && index !== undefined) {
    const names = [...new Set(systemd.units.map(({ name }) => name))];
    const origin = systemd.units.findLastIndex(({ name }) => name === names[Number(index)]);
    return origin < 0 ? [section, list] : [section, list, origin, ...rest];
  }
  return path;
}

function mountPoints(filesystems: readonly Filesystem2[]): MountPoints {
  const mounts = new Map([['root', '/']]);
  for (const { name } of filesystems) {
    // Ignition generates a name for a file system without one, which no entry can refer to.
    if (name !== '' && !mounts.has(name)) mounts.set(name, name === 'oem' ? '/oem' : `/tmp/${name}-ign${mounts.size}`);
  }
  return mounts;
}

function noResource(): Resource {
  return { compression: undefined, httpHeaders: [], source: undefined, verification: { hash: undefined } };
}

/** @param last that of which the source is taken */
function translateReference(reference: Reference2, last: Reference2 = reference): Resource {
  return {
    compression: undefined,
    httpHeaders: translateHeaders(reference.httpHeaders),
    source: last.source,
    verification: reference.verification,
  };
}

function translateHeaders(headers: Reference2['httpHeaders']): Resource['httpHeaders'] {
  return headers.map(({ name, value }) => ({ name, value: value || undefined }));
}

function translateUser(user: User2): Config3['passwd']['users'][number] {
  const { create, ...beside } = user;
  return { ...beside, ...create, shouldExist: undefined };
}

function translateNode(node: Node2, mounts: MountPoints): Omit<Directory3, 'mode'> {
  return {
    path: joinPath(mounts.get(node.filesystem) ?? '', node.path),
    user: { id: node.user.id, name: node.user.name || undefined },
    group: { id: node.group.id, name: node.group.name || undefined },
    overwrite: node.overwrite,
  };
}

/** Files of version 2 overwrite others by default. */
function translateFile(file: File2, mounts: MountPoints): File3 {
  const { append, contents, mode } = file;
  const resource: Resource = { ...translateReference(contents), compression: contents.compression || undefined };
  return {
    ...translateNode(file, mounts),
    overwrite: append ? false : (file.overwrite ?? true),
    append: append ? [resource] : [],
    contents: append ? noResource() : resource,
    mode,
  };
}

function translateNetworkdUnit({ contents, dropins, name }: NetworkdUnit2): File3[] {
  const written = (path: string): File3 => ({
    ...(zeroFile() satisfies File3),
    path: joinPath('/etc/systemd/network', path),
    overwrite: true,
    contents: { ...noResource(), source: 'data:,' },
  });
  return [...(contents === '' ? [] : [written(name)]), ...dropins.map((dropin) => written(`${name}.d/${dropin.name}`))];
}

function zeroFile(): File3 {
  const owner = { id: undefined, name: undefined };
  return {
    append: [],
    contents: noResource(),
    group: owner,
    mode: undefined,
    overwrite: undefined,
    path: '',
    user: owner,
  };
}

function translateFilesystem({ name, mount }: Filesystem2, mounts: MountPoints): Filesystem3 {
  const force = mount?.create?.force ?? mount?.wipeFilesystem ?? false;
  // The OEM partition of Flatcar became btrfs.
  const format = name.toLowerCase() === 'oem' && !force ? 'btrfs' : (mount?.format ?? '');
  return {
    device: mount?.device ?? '',
    format: format || undefined,
    label: mount?.label,
    mountOptions: [],
    options: [...(mount?.options ?? []), ...(mount?.create?.options ?? [])],
    path: mounts.get(name),
    uuid: mount?.uuid,
    wipeFilesystem: force || undefined,
  };
}

/** Units with the same name are merged. */
function translateUnits(units: readonly Unit2[]): Unit3[] {
  const merged = new Map<string, Unit3>();
  for (const { contents, dropins, enable, enabled, mask, name } of units) {
    const unit: Unit3 = {
      contents: contents || undefined,
      dropins: dropins.map((dropin) => ({ name: dropin.name, contents: dropin.contents || undefined })),
      enabled: enabled ?? (enable || undefined),
      mask: mask || undefined,
      name,
    };
    const previous = merged.get(name);
    merged.set(name, previous === undefined ? unit : mergeUnits(previous, unit));
  }
  return [...merged.values()];
}

function mergeUnits(one: Unit3, other: Unit3): Unit3 {
  const zero = zeroOf(config3, translatedMinor) as Value<typeof config3>;
  const wrap = (unit: Unit3): Config3 => ({ ...zero, systemd: { units: [unit] } });
  return mergeConfigs(config3, wrap(one), wrap(other)).systemd.units[0] ?? other;
}
