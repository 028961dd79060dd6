import { posix } from 'node:path';
import type { Dialect } from './dialect.ts';
import { checkDisks, checkFilesystems, checkRaids } from './disks.ts';
import { checkUnique, each, type JsonCursor } from './json-cursor.ts';
import { checkLuks } from './luks.ts';
import { checkMode, checkOwner, cleanPath, whyNotCleanPath } from './path.ts';
import { checkProxy, checkRequiredResource, checkResource } from './resource.ts';
import type { Config3, File3, Ignition3, Link, Node, Passwd, Storage3 } from './schema3.ts';
import { checkSystemdUnits, pathsOfUnits } from './units.ts';

/** Rules of version 3 beyond the types of the values. */
export function checkVersion3(config: Config3, dialect: Dialect, cursor: JsonCursor): void {
  checkIgnitionSection(config.ignition, dialect, cursor.at('ignition'));
  checkKernelArguments(config.kernelArguments, cursor.at('kernelArguments'));
  checkPasswd(config.passwd, cursor.at('passwd'));
  checkStorage(config.storage ?? {}, dialect, cursor.at('storage'));
  checkSystemdUnits(config.systemd?.units, cursor.at('systemd', 'units'));
  if (dialect.minor >= 4) checkAgainstUnits(config, cursor.at('storage'));
  if (dialect.minor >= 5) checkAgainstFiles(config.storage ?? {}, cursor.at('storage'));
}

function checkIgnitionSection(ignition: Ignition3, dialect: Dialect, cursor: JsonCursor): void {
  const { config, proxy, security } = ignition;
  // Only 3.0 accepted a config to merge, or a hash, without a source.
  const checkMerged = dialect.minor >= 1 ? checkRequiredResource : checkResource;
  const referenceDialect = { ...dialect, hashNeedsSource: dialect.minor >= 1 };
  const merge = cursor.at('config', 'merge');
  each(config?.merge, merge, (resource, at) => checkMerged(resource, referenceDialect, at));
  checkUnique(config?.merge, merge, (resource) => resource.source ?? '');
  checkResource(config?.replace, referenceDialect, cursor.at('config', 'replace'));
  const authorities = cursor.at('security', 'tls', 'certificateAuthorities');
  each(security?.tls?.certificateAuthorities, authorities, (resource, at) =>
    checkRequiredResource(resource, dialect, at),
  );
  checkUnique(security?.tls?.certificateAuthorities, authorities, (resource) => resource.source ?? '');
  checkProxy(proxy, cursor.at('proxy'));
}

function checkKernelArguments(kernelArguments: Config3['kernelArguments'], cursor: JsonCursor): void {
  const seen = new Set<string>();
  checkUnique(kernelArguments?.shouldExist, cursor.at('shouldExist'), (argument) => argument, seen);
  checkUnique(kernelArguments?.shouldNotExist, cursor.at('shouldNotExist'), (argument) => argument, seen);
}

export function checkPasswd(passwd: Passwd | undefined, cursor: JsonCursor): void {
  const users = cursor.at('users');
  each(passwd?.users, users, (user, at) => {
    if ((user.name ?? '') === '') at.at('name').warn('the user has no name');
    checkUnique(user.groups, at.at('groups'), (group) => group);
    checkUnique(user.sshAuthorizedKeys, at.at('sshAuthorizedKeys'), (key) => key);
  });
  checkUnique(passwd?.users, users, (user) => user.name ?? '');
  const groups = cursor.at('groups');
  each(passwd?.groups, groups, (group, at) => {
    if ((group.name ?? '') === '') at.at('name').warn('the group has no name');
  });
  checkUnique(passwd?.groups, groups, (group) => group.name ?? '');
}

function checkStorage(storage: Storage3, dialect: Dialect, cursor: JsonCursor): void {
  const { directories, disks, files, filesystems, links, luks, raid } = storage;
  checkDisks(disks, cursor.at('disks'));
  checkRaids(raid, cursor.at('raid'));
  checkLuks(luks, dialect, cursor.at('luks'));
  checkFilesystems(filesystems, dialect, cursor.at('filesystems'));
  checkAgainstDisks(storage, cursor.at('filesystems'));
  each(directories, cursor.at('directories'), (directory, at) => {
    checkNode(directory, at);
    checkMode(directory.mode, dialect.minor >= 4, at.at('mode'));
  });
  each(files, cursor.at('files'), (file, at) => checkFile(file, dialect, at));
  each(links, cursor.at('links'), (link, at) => checkLink(link, storage, dialect, at));
  checkNodes(storage, cursor);
}

function checkNode(node: Node, cursor: JsonCursor): void {
  cursor.at('path').error(whyNotCleanPath(node.path));
  checkOwner(node.user, cursor.at('user'));
  checkOwner(node.group, cursor.at('group'));
}

function checkFile(file: File3, dialect: Dialect, cursor: JsonCursor): void {
  checkNode(file, cursor);
  checkMode(file.mode, dialect.minor >= 4, cursor.at('mode'));
  checkResource(file.contents, dialect, cursor.at('contents'));
  each(file.append, cursor.at('append'), (fragment, at) => checkResource(fragment, dialect, at));
  if (file.overwrite === true && file.contents?.source === undefined) {
    cursor.at('overwrite').error('there are no contents to overwrite the file with: contents.source is missing');
  }
}

function checkLink(link: Link, storage: Storage3, dialect: Dialect, cursor: JsonCursor): void {
  checkNode(link, cursor);
  const { hard = false, path = '', target = '' } = link;
  if (target === '' && dialect.minor >= 3) cursor.at('target').error('the link has no target');
  if (!hard) return;
  if (link.user !== undefined || link.group !== undefined) cursor.warn('a hard link has the owner of its target');
  const absolute = target.startsWith('/') ? cleanPath(target) : cleanPath(posix.join(path, target));
  if (storage.directories?.some((directory) => directory.path === absolute)) {
    cursor.error(`a hard link cannot point to a directory, as ${absolute} is`);
  }
}

/** Ignition 3.6 warns of these; they are errors of the author in every version. */
function checkAgainstDisks({ disks, filesystems }: Storage3, cursor: JsonCursor): void {
  each(filesystems, cursor, (filesystem, at) => {
    const disk = disks?.find(({ device }) => device === filesystem.device);
    if ((disk?.partitions ?? []).length > 0)
      at.at('device').warn('the file system overwrites the partitions of this disk');
    else if (disk?.wipeTable === true) at.at('device').warn('wipeTable of this disk wipes the file system too');
  });
}

/** Two entries must not have the same path, nor a path through a link of the same config. */
function checkNodes(storage: Storage3, cursor: JsonCursor): void {
  const seen = new Set<string>();
  const links = (storage.links ?? []).map((link) => `${link.path ?? ''}/`);
  for (const kind of ['directories', 'files', 'links'] as const) {
    const nodes: readonly Node[] | undefined = storage[kind];
    checkUnique(nodes, cursor.at(kind), (node) => node.path ?? '', seen);
    each(nodes, cursor.at(kind), ({ path = '' }, at) => {
      const link = links.find((prefix) => path.startsWith(prefix));
      if (link !== undefined) at.at('path').error(`${path} leads through the link ${link.slice(0, -1)} of this config`);
    });
  }
}

function checkAgainstUnits(config: Config3, cursor: JsonCursor): void {
  const paths = pathsOfUnits(config.systemd?.units);
  for (const kind of ['directories', 'files', 'links'] as const) {
    const nodes: readonly Node[] | undefined = config.storage?.[kind];
    each(nodes, cursor.at(kind), ({ path = '' }, at) => {
      if (paths.has(path)) at.at('path').error(`${path} is also written for a unit under systemd.units`);
    });
  }
}

function checkAgainstFiles(storage: Storage3, cursor: JsonCursor): void {
  const files = new Set((storage.files ?? []).map((file) => file.path));
  for (const kind of ['directories', 'files', 'links'] as const) {
    const nodes: readonly Node[] | undefined = storage[kind];
    each(nodes, cursor.at(kind), ({ path = '' }, at) => {
      const parent = posix.dirname(path);
      if (parent !== path && files.has(parent))
        at.at('path').error(`${parent} is a file of this config, not a directory`);
    });
  }
}
