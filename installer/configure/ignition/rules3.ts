import { posix } from 'node:path';
import type { Dialect } from './dialect.ts';
import { checkDisks, checkFilesystems, checkRaids } from './disks.ts';
import { each, type JsonCursor } from './findings.ts';
import { checkLuks } from './luks.ts';
import { checkMode, checkOwner, cleanPath, findLinkOnTheWay, whyNotCleanPath } from './path.ts';
import { checkProxy, checkReference, checkResource, requireSource } from './resource.ts';
import type { Config3, Directory3, File3, Ignition3, Link3, Storage3 } from './schema3.ts';
import { checkSystemdUnits, pathsOfUnits } from './units.ts';

/**
 * Rules of version 3 beyond the types of the values and the duplicates.
 * Source: the functions `Validate` of config/v3_N/types of https://github.com/coreos/ignition.
 */
export function checkVersion3(config: Config3, dialect: Dialect, cursor: JsonCursor): void {
  const { comparesSections } = dialect.ignition;
  checkIgnitionSection(config.ignition, dialect, cursor.at('ignition'));
  checkStorage(config.storage, dialect, cursor.at('storage'));
  checkSystemdUnits(config.systemd.units, comparesSections, cursor.at('systemd', 'units'));
  if (!comparesSections) return;
  checkAgainstUnits(config, cursor.at('storage'));
  checkAgainstDisks(config.storage, cursor.at('storage', 'filesystems'));
}

function checkIgnitionSection({ config, proxy, security }: Ignition3, dialect: Dialect, cursor: JsonCursor): void {
  const { certificateAuthorities } = security.tls;
  const check = dialect.minor >= 1 ? checkResource : checkReference;
  each(config.merge, cursor.at('config', 'merge'), (resource, at) => {
    check(resource, dialect, at);
    if (dialect.minor >= 1) requireSource(resource, at);
  });
  check(config.replace, dialect, cursor.at('config', 'replace'));
  each(certificateAuthorities, cursor.at('security', 'tls', 'certificateAuthorities'), (resource, at) => {
    check(resource, dialect, at);
    requireSource(resource, at);
  });
  checkProxy(proxy, cursor.at('proxy'));
}

function checkStorage(storage: Storage3, dialect: Dialect, cursor: JsonCursor): void {
  const { directories, disks, files, filesystems, links, luks, raid } = storage;
  checkDisks(disks, cursor.at('disks'));
  checkRaids(raid, cursor.at('raid'));
  checkLuks(luks, dialect, cursor.at('luks'));
  checkFilesystems(filesystems, dialect, cursor.at('filesystems'));
  each(directories, cursor.at('directories'), (directory, at) => {
    checkNode(directory, at);
    checkMode(directory.mode, dialect, at.at('mode'));
  });
  each(files, cursor.at('files'), (file, at) => checkFile(file, dialect, at));
  const paths = new Set(directories.map(({ path }) => path));
  each(links, cursor.at('links'), (link, at) => checkLink(link, paths, dialect, at));
  checkPathsThroughLinks(storage, cursor);
}

type Node = Pick<Directory3, 'group' | 'path' | 'user'>;

function checkNode(node: Node, cursor: JsonCursor): void {
  cursor.at('path').error(whyNotCleanPath(node.path));
  checkOwner(node.user, cursor.at('user'));
  checkOwner(node.group, cursor.at('group'));
}

function checkFile(file: File3, dialect: Dialect, cursor: JsonCursor): void {
  checkNode(file, cursor);
  checkMode(file.mode, dialect, cursor.at('mode'));
  checkResource(file.contents, dialect, cursor.at('contents'));
  each(file.append, cursor.at('append'), (fragment, at) => checkResource(fragment, dialect, at));
  if (file.overwrite === true && file.contents.source === undefined) {
    cursor.at('overwrite').error('there are no contents to overwrite the file with: contents.source is missing');
  }
}

function checkLink(link: Link3, directories: ReadonlySet<string>, dialect: Dialect, cursor: JsonCursor): void {
  checkNode(link, cursor);
  const { group, hard, path, target = '', user } = link;
  if (target === '' && dialect.minor >= 3) cursor.at('target').error('the link has no target');
  if (hard !== true || (target === '' && dialect.minor >= 3)) return;
  const owned = [user.id, user.name, group.id, group.name].some((value) => value !== undefined);
  if (owned && dialect.ignition.comparesSections) cursor.warn('a hard link has the owner of its target');
  const absolute = target.startsWith('/') ? cleanPath(target) : cleanPath(posix.join(path, target));
  if (directories.has(absolute)) {
    cursor.error(`a hard link cannot point to a directory, as ${absolute} is`);
  }
}

function checkAgainstDisks({ disks, filesystems }: Storage3, cursor: JsonCursor): void {
  const byDevice = new Map(disks.map((disk) => [disk.device, disk]));
  each(filesystems, cursor, (filesystem, at) => {
    const disk = byDevice.get(filesystem.device);
    if (disk === undefined) return;
    if (disk.partitions.length > 0) at.at('device').warn('the file system overwrites the partitions of this disk');
    else if (disk.wipeTable === true && filesystem.wipeFilesystem !== true)
      at.at('device').warn('wipeTable of this disk wipes the file system too');
  });
}

/** No path may lead through a link of the same config. */
function checkPathsThroughLinks(storage: Storage3, cursor: JsonCursor): void {
  const links = new Set(storage.links.map(({ path }) => path));
  for (const kind of ['directories', 'files', 'links'] as const) {
    const nodes: readonly Node[] = storage[kind];
    each(nodes, cursor.at(kind), ({ path }, at) => {
      const link = findLinkOnTheWay(path, links);
      if (link !== undefined) at.at('path').error(`${path} leads through the link ${link} of this config`);
    });
  }
}

function checkAgainstUnits({ storage, systemd }: Config3, cursor: JsonCursor): void {
  const paths = pathsOfUnits(systemd.units);
  for (const kind of ['directories', 'files', 'links'] as const) {
    const nodes: readonly Node[] = storage[kind];
    each(nodes, cursor.at(kind), ({ path }, at) => {
      if (paths.has(path)) at.at('path').error(`${path} is also written for a unit under systemd.units`);
    });
  }
}
