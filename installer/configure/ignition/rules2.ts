import { posix } from 'node:path';
import type { Dialect } from './dialect.ts';
import { checkDisks, checkFilesystemLabel, checkFormat, checkRaids } from './disks.ts';
import { checkUnique, each, type JsonCursor } from './json-cursor.ts';
import { checkMode, checkOwner, whyNotAbsolute } from './path.ts';
import { checkProxy, checkRequiredResource, checkResource } from './resource.ts';
import { checkPasswd } from './rules3.ts';
import type { Config2, Filesystem2, Ignition2, Node2, Partition2, Storage2, User2 } from './schema2.ts';
import { checkNetworkdUnits, checkSystemdUnits } from './units.ts';

/**
 * Rules of version 2 beyond the types of the values: its own, and those of version 3 for what
 * Flatcar translates to version 3 at first boot.
 */
export function checkVersion2(config: Config2, dialect: Dialect, cursor: JsonCursor): void {
  checkIgnitionSection(config.ignition, dialect, cursor.at('ignition'));
  checkNetworkdUnits(config.networkd?.units, cursor.at('networkd', 'units'));
  checkPasswd(config.passwd, cursor.at('passwd'));
  each(config.passwd?.users, cursor.at('passwd', 'users'), checkUser);
  checkStorage(config.storage ?? {}, dialect, cursor.at('storage'));
  checkSystemdUnits(
    config.systemd?.units?.map((unit) => ({ ...unit, enabled: unit.enabled ?? unit.enable })),
    cursor.at('systemd', 'units'),
  );
}

function checkIgnitionSection(ignition: Ignition2, dialect: Dialect, cursor: JsonCursor): void {
  const { config, proxy, security } = ignition;
  each(config?.append, cursor.at('config', 'append'), (reference, at) => checkRequiredResource(reference, dialect, at));
  checkResource(config?.replace, dialect, cursor.at('config', 'replace'));
  const authorities = cursor.at('security', 'tls', 'certificateAuthorities');
  each(security?.tls?.certificateAuthorities, authorities, (reference, at) =>
    checkRequiredResource(reference, dialect, at),
  );
  checkProxy(proxy, cursor.at('proxy'));
}

/** `create` is older than these keys and excludes them. */
function checkUser(user: User2, cursor: JsonCursor): void {
  if (user.create === undefined) return;
  const { create, name, passwordHash, sshAuthorizedKeys, ...beside } = user;
  const both = Object.keys(beside);
  if (both.length > 0) cursor.at('create').error(`it excludes ${both.join(', ')} beside it`);
}

function checkStorage(storage: Storage2, dialect: Dialect, cursor: JsonCursor): void {
  const { directories, disks, files, filesystems, links, raid } = storage;
  checkDisks(disks, cursor.at('disks'));
  each(disks, cursor.at('disks'), (disk, at) => {
    const partitions = disk.partitions ?? [];
    each(partitions, at.at('partitions'), checkSectors);
    if (partitions.some(isInMiB) && partitions.some(isInSectors)) {
      at.at('partitions').error('sizes in MiB and in sectors cannot be mixed on one disk');
    }
  });
  checkRaids(raid, cursor.at('raid'));
  each(filesystems, cursor.at('filesystems'), (filesystem, at) => checkFilesystem(filesystem, dialect, at));
  each(directories, cursor.at('directories'), (directory, at) => {
    checkNode(directory, at);
    checkMode(directory.mode, false, at.at('mode'));
  });
  each(files, cursor.at('files'), (file, at) => {
    checkNode(file, at);
    checkMode(file.mode, false, at.at('mode'));
    checkResource(file.contents, dialect, at.at('contents'));
    if (file.append === true && file.overwrite === true)
      at.at('append').error('append and overwrite exclude each other');
  });
  each(links, cursor.at('links'), (link, at) => {
    checkNode(link, at);
    if ((link.target ?? '') === '') at.at('target').error('the link has no target');
  });
  checkNodes(storage, cursor);
}

function isInMiB({ sizeMiB, startMiB }: Partition2): boolean {
  return sizeMiB !== undefined || startMiB !== undefined;
}

function isInSectors({ size = 0, start = 0 }: Partition2): boolean {
  return size !== 0 || start !== 0;
}

function checkSectors(partition: Partition2, cursor: JsonCursor): void {
  if (!isInSectors(partition)) return;
  cursor.warn(
    'size and start in sectors are not translated by newer versions of Flatcar (use sizeMiB and startMiB of 2.3.0)',
  );
}

function checkFilesystem(filesystem: Filesystem2, dialect: Dialect, cursor: JsonCursor): void {
  const { mount, name, path } = filesystem;
  if (mount === undefined && path === undefined) cursor.error('it needs mount or path');
  if (mount !== undefined && path !== undefined) cursor.error('it has both mount and path, but only one is allowed');
  if (path !== undefined) {
    cursor.at('path').error(whyNotAbsolute(path));
    // Version 3, to which this is translated, has only file systems on a device, and the root.
    if (name !== 'root') cursor.at('path').warn('newer versions of Flatcar accept path for the file system root only');
  }
  if (mount === undefined) return;
  const at = cursor.at('mount');
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

function checkNode(node: Node2, cursor: JsonCursor): void {
  if ((node.filesystem ?? '') === '') cursor.at('filesystem').error('it is missing: usually it is root');
  cursor.at('path').error(whyNotAbsolute(node.path));
  checkOwner(node.user, cursor.at('user'));
  checkOwner(node.group, cursor.at('group'));
}

/**
 * Flatcar cannot translate two entries with the same path in a file system, nor a path through a
 * link of the same config.
 */
function checkNodes(storage: Storage2, cursor: JsonCursor): void {
  const pathOf = ({ filesystem = '', path = '' }: Node2) => `${filesystem}:${posix.join('/', path).replace(/\/$/, '')}`;
  const seen = new Set<string>();
  const links = (storage.links ?? []).map((link) => `${pathOf(link)}/`);
  for (const kind of ['directories', 'files', 'links'] as const) {
    const nodes: readonly Node2[] | undefined = storage[kind];
    checkUnique(nodes, cursor.at(kind), pathOf, seen);
    each(nodes, cursor.at(kind), (node, at) => {
      const link = links.find((prefix) => pathOf(node).startsWith(prefix));
      if (link !== undefined)
        at.at('path').error(`${node.path} leads through the link ${link.slice(0, -1)} of this config`);
    });
  }
}
