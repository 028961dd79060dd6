import { posix } from 'node:path';
import type { Dialect } from './dialect.ts';
import { checkDisks, checkFilesystemLabel, checkFormat, checkRaids } from './disks.ts';
import { checkMode, checkOwner, whyNotAbsolute } from './path.ts';
import { checkUnique, each, type Place } from './place.ts';
import { checkProxy, checkRequiredResource, checkResource } from './resource.ts';
import { checkPasswd } from './rules3.ts';
import type { Config2, Filesystem2, Ignition2, Node2, Partition2, Storage2, User2 } from './schema2.ts';
import { checkNetworkdUnits, checkSystemdUnits } from './units.ts';

/**
 * What must hold in version 2 beyond the kinds of the values: its own rules, and those of version 3 as far as they concern what Flatcar
 * translates to version 3 at first boot.
 */
export function checkVersion2(config: Config2, dialect: Dialect, place: Place): void {
  checkIgnitionSection(config.ignition, dialect, place.at('ignition'));
  checkNetworkdUnits(config.networkd?.units, place.at('networkd', 'units'));
  checkPasswd(config.passwd, place.at('passwd'));
  each(config.passwd?.users, place.at('passwd', 'users'), checkUser);
  checkStorage(config.storage ?? {}, dialect, place.at('storage'));
  checkSystemdUnits(
    config.systemd?.units?.map((unit) => ({ ...unit, enabled: unit.enabled ?? unit.enable })),
    place.at('systemd', 'units'),
  );
}

function checkIgnitionSection(ignition: Ignition2, dialect: Dialect, place: Place): void {
  const { config, proxy, security } = ignition;
  each(config?.append, place.at('config', 'append'), (reference, at) => checkRequiredResource(reference, dialect, at));
  checkResource(config?.replace, dialect, place.at('config', 'replace'));
  const authorities = place.at('security', 'tls', 'certificateAuthorities');
  each(security?.tls?.certificateAuthorities, authorities, (reference, at) =>
    checkRequiredResource(reference, dialect, at),
  );
  checkProxy(proxy, place.at('proxy'));
}

/** `create` came before its keys were allowed beside it, and excludes them. */
function checkUser(user: User2, place: Place): void {
  if (user.create === undefined) return;
  const { create, name, passwordHash, sshAuthorizedKeys, ...beside } = user;
  const both = Object.keys(beside);
  if (both.length > 0) place.at('create').error(`it excludes ${both.join(', ')} beside it`);
}

function checkStorage(storage: Storage2, dialect: Dialect, place: Place): void {
  const { directories, disks, files, filesystems, links, raid } = storage;
  checkDisks(disks, place.at('disks'));
  each(disks, place.at('disks'), (disk, at) => {
    const partitions = disk.partitions ?? [];
    each(partitions, at.at('partitions'), checkSectors);
    if (partitions.some(isInMiB) && partitions.some(isInSectors)) {
      at.at('partitions').error('sizes in MiB and in sectors cannot be mixed on one disk');
    }
  });
  checkRaids(raid, place.at('raid'));
  each(filesystems, place.at('filesystems'), (filesystem, at) => checkFilesystem(filesystem, dialect, at));
  each(directories, place.at('directories'), (directory, at) => {
    checkNode(directory, at);
    checkMode(directory.mode, false, at.at('mode'));
  });
  each(files, place.at('files'), (file, at) => {
    checkNode(file, at);
    checkMode(file.mode, false, at.at('mode'));
    checkResource(file.contents, dialect, at.at('contents'));
    if (file.append === true && file.overwrite === true)
      at.at('append').error('append and overwrite exclude each other');
  });
  each(links, place.at('links'), (link, at) => {
    checkNode(link, at);
    if ((link.target ?? '') === '') at.at('target').error('the link has no target');
  });
  checkNodes(storage, place);
}

function isInMiB({ sizeMiB, startMiB }: Partition2): boolean {
  return sizeMiB !== undefined || startMiB !== undefined;
}

function isInSectors({ size = 0, start = 0 }: Partition2): boolean {
  return size !== 0 || start !== 0;
}

function checkSectors(partition: Partition2, place: Place): void {
  if (!isInSectors(partition)) return;
  place.warn(
    'size and start in sectors are not translated by newer versions of Flatcar (use sizeMiB and startMiB of 2.3.0)',
  );
}

function checkFilesystem(filesystem: Filesystem2, dialect: Dialect, place: Place): void {
  const { mount, name, path } = filesystem;
  if (mount === undefined && path === undefined) place.error('it needs mount or path');
  if (mount !== undefined && path !== undefined) place.error('it has both mount and path, of which one is right');
  if (path !== undefined) {
    place.at('path').error(whyNotAbsolute(path));
    // Version 3, to which this is translated, knows only file systems on a device, and the root.
    if (name !== 'root') place.at('path').warn('newer versions of Flatcar accept path for the file system root only');
  }
  if (mount === undefined) return;
  const at = place.at('mount');
  at.at('device').error(whyNotAbsolute(mount.device));
  checkFormat(mount.format ?? '', dialect, at.at('format'));
  checkFilesystemLabel(mount.label, mount.format ?? '', at.at('label'));
  if (mount.create === undefined) return;
  if (mount.wipeFilesystem === true || (mount.options ?? []).length > 0) {
    at.at('create').error('it excludes wipeFilesystem and options beside it');
  }
  if (mount.create.force !== true)
    at.at('create', 'force').error('Flatcar can translate create only with force set to true');
}

function checkNode(node: Node2, place: Place): void {
  if ((node.filesystem ?? '') === '') place.at('filesystem').error('it is missing: usually it is root');
  place.at('path').error(whyNotAbsolute(node.path));
  checkOwner(node.user, place.at('user'));
  checkOwner(node.group, place.at('group'));
}

/** Nothing may be twice at one path of a file system, nor be reached through a link of the same config: Flatcar could not translate it. */
function checkNodes(storage: Storage2, place: Place): void {
  const pathOf = ({ filesystem = '', path = '' }: Node2) => `${filesystem}:${posix.join('/', path).replace(/\/$/, '')}`;
  const seen = new Set<string>();
  const links = (storage.links ?? []).map((link) => `${pathOf(link)}/`);
  for (const kind of ['directories', 'files', 'links'] as const) {
    const nodes: readonly Node2[] | undefined = storage[kind];
    checkUnique(nodes, place.at(kind), pathOf, seen);
    each(nodes, place.at(kind), (node, at) => {
      const link = links.find((prefix) => pathOf(node).startsWith(prefix));
      if (link !== undefined)
        at.at('path').error(`${node.path} leads through the link ${link.slice(0, -1)} of this config`);
    });
  }
}
