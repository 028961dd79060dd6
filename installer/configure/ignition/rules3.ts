import { posix } from 'node:path';
import type { Dialect } from './dialect.ts';
import { checkDisks, checkFilesystems, checkRaids } from './disks.ts';
import { checkLuks } from './luks.ts';
import { checkMode, checkOwner, cleanPath, whyNotCleanPath } from './path.ts';
import { checkUnique, each, type Place } from './place.ts';
import { checkProxy, checkRequiredResource, checkResource } from './resource.ts';
import type { Config3, File3, Ignition3, Link, Node, Passwd, Storage3 } from './schema3.ts';
import { checkSystemdUnits, pathsOfUnits } from './units.ts';

/** What must hold in version 3 beyond the kinds of the values. */
export function checkVersion3(config: Config3, dialect: Dialect, place: Place): void {
  checkIgnitionSection(config.ignition, dialect, place.at('ignition'));
  checkKernelArguments(config.kernelArguments, place.at('kernelArguments'));
  checkPasswd(config.passwd, place.at('passwd'));
  checkStorage(config.storage ?? {}, dialect, place.at('storage'));
  checkSystemdUnits(config.systemd?.units, place.at('systemd', 'units'));
  if (dialect.minor >= 4) checkAgainstUnits(config, place.at('storage'));
  if (dialect.minor >= 5) checkAgainstFiles(config.storage ?? {}, place.at('storage'));
}

function checkIgnitionSection(ignition: Ignition3, dialect: Dialect, place: Place): void {
  const { config, proxy, security } = ignition;
  // Only 3.0 took a config to merge, or a hash, without a source here.
  const checkMerged = dialect.minor >= 1 ? checkRequiredResource : checkResource;
  const referenceDialect = { ...dialect, hashNeedsSource: dialect.minor >= 1 };
  const merge = place.at('config', 'merge');
  each(config?.merge, merge, (resource, at) => checkMerged(resource, referenceDialect, at));
  checkUnique(config?.merge, merge, (resource) => resource.source ?? '');
  checkResource(config?.replace, referenceDialect, place.at('config', 'replace'));
  const authorities = place.at('security', 'tls', 'certificateAuthorities');
  each(security?.tls?.certificateAuthorities, authorities, (resource, at) =>
    checkRequiredResource(resource, dialect, at),
  );
  checkUnique(security?.tls?.certificateAuthorities, authorities, (resource) => resource.source ?? '');
  checkProxy(proxy, place.at('proxy'));
}

function checkKernelArguments(kernelArguments: Config3['kernelArguments'], place: Place): void {
  const seen = new Set<string>();
  checkUnique(kernelArguments?.shouldExist, place.at('shouldExist'), (argument) => argument, seen);
  checkUnique(kernelArguments?.shouldNotExist, place.at('shouldNotExist'), (argument) => argument, seen);
}

export function checkPasswd(passwd: Passwd | undefined, place: Place): void {
  const users = place.at('users');
  each(passwd?.users, users, (user, at) => {
    if ((user.name ?? '') === '') at.at('name').warn('the user has no name');
    checkUnique(user.groups, at.at('groups'), (group) => group);
    checkUnique(user.sshAuthorizedKeys, at.at('sshAuthorizedKeys'), (key) => key);
  });
  checkUnique(passwd?.users, users, (user) => user.name ?? '');
  const groups = place.at('groups');
  each(passwd?.groups, groups, (group, at) => {
    if ((group.name ?? '') === '') at.at('name').warn('the group has no name');
  });
  checkUnique(passwd?.groups, groups, (group) => group.name ?? '');
}

function checkStorage(storage: Storage3, dialect: Dialect, place: Place): void {
  const { directories, disks, files, filesystems, links, luks, raid } = storage;
  checkDisks(disks, place.at('disks'));
  checkRaids(raid, place.at('raid'));
  checkLuks(luks, dialect, place.at('luks'));
  checkFilesystems(filesystems, dialect, place.at('filesystems'));
  checkAgainstDisks(storage, place.at('filesystems'));
  each(directories, place.at('directories'), (directory, at) => {
    checkNode(directory, at);
    checkMode(directory.mode, dialect.minor >= 4, at.at('mode'));
  });
  each(files, place.at('files'), (file, at) => checkFile(file, dialect, at));
  each(links, place.at('links'), (link, at) => checkLink(link, storage, dialect, at));
  checkNodes(storage, place);
}

function checkNode(node: Node, place: Place): void {
  place.at('path').error(whyNotCleanPath(node.path));
  checkOwner(node.user, place.at('user'));
  checkOwner(node.group, place.at('group'));
}

function checkFile(file: File3, dialect: Dialect, place: Place): void {
  checkNode(file, place);
  checkMode(file.mode, dialect.minor >= 4, place.at('mode'));
  checkResource(file.contents, dialect, place.at('contents'));
  each(file.append, place.at('append'), (fragment, at) => checkResource(fragment, dialect, at));
  if (file.overwrite === true && file.contents?.source === undefined) {
    place.at('overwrite').error('there are no contents to overwrite the file with: contents.source is missing');
  }
}

function checkLink(link: Link, storage: Storage3, dialect: Dialect, place: Place): void {
  checkNode(link, place);
  const { hard = false, path = '', target = '' } = link;
  if (target === '' && dialect.minor >= 3) place.at('target').error('the link has no target');
  if (!hard) return;
  if (link.user !== undefined || link.group !== undefined) place.warn('a hard link has the owner of its target');
  const absolute = target.startsWith('/') ? cleanPath(target) : cleanPath(posix.join(path, target));
  if (storage.directories?.some((directory) => directory.path === absolute)) {
    place.error(`a hard link cannot point to a directory, as ${absolute} is`);
  }
}

/** Ignition 3.6 warns of these; they are mistakes in every version. */
function checkAgainstDisks({ disks, filesystems }: Storage3, place: Place): void {
  each(filesystems, place, (filesystem, at) => {
    const disk = disks?.find(({ device }) => device === filesystem.device);
    if ((disk?.partitions ?? []).length > 0)
      at.at('device').warn('the file system overwrites the partitions of this disk');
    else if (disk?.wipeTable === true) at.at('device').warn('wipeTable of this disk wipes the file system too');
  });
}

/** Nothing may be twice at one path, nor be reached through a link of the same config. */
function checkNodes(storage: Storage3, place: Place): void {
  const seen = new Set<string>();
  const links = (storage.links ?? []).map((link) => `${link.path ?? ''}/`);
  for (const kind of ['directories', 'files', 'links'] as const) {
    const nodes: readonly Node[] | undefined = storage[kind];
    checkUnique(nodes, place.at(kind), (node) => node.path ?? '', seen);
    each(nodes, place.at(kind), ({ path = '' }, at) => {
      const link = links.find((prefix) => path.startsWith(prefix));
      if (link !== undefined) at.at('path').error(`${path} leads through the link ${link.slice(0, -1)} of this config`);
    });
  }
}

function checkAgainstUnits(config: Config3, place: Place): void {
  const paths = pathsOfUnits(config.systemd?.units);
  for (const kind of ['directories', 'files', 'links'] as const) {
    const nodes: readonly Node[] | undefined = config.storage?.[kind];
    each(nodes, place.at(kind), ({ path = '' }, at) => {
      if (paths.has(path)) at.at('path').error(`${path} is also written for a unit under systemd.units`);
    });
  }
}

function checkAgainstFiles(storage: Storage3, place: Place): void {
  const files = new Set((storage.files ?? []).map((file) => file.path));
  for (const kind of ['directories', 'files', 'links'] as const) {
    const nodes: readonly Node[] | undefined = storage[kind];
    each(nodes, place.at(kind), ({ path = '' }, at) => {
      const parent = posix.dirname(path);
      if (parent !== path && files.has(parent))
        at.at('path').error(`${parent} is a file of this config, not a directory`);
    });
  }
}
