import {
  checkOverlaps,
  whyNotFilesystemLabel,
  whyNotFormat,
  whyNotGuid,
  whyNotPartitionLabel,
  whyNotRaidLevel,
} from './disks.ts';
import { each, type JsonCursor } from './findings.ts';
import { checkOwner, whyNotAbsolute, whyNotMode } from './path.ts';
import { whyNotCompression, whyNotForHeaders, whyNotHash, whyNotSource } from './resource.ts';
import type {
  Config2,
  Contents2,
  Disk2,
  Filesystem2,
  NetworkdUnit2,
  Node2,
  Partition2,
  Reference2,
  Unit2,
  User2,
} from './schema2.ts';
import { whyNotDropinName, whyNotNetworkdName, whyNotUnitFile, whyNotUnitName } from './units.ts';
import { parseUrl } from './url.ts';

/**
 * Rules of version 2 beyond the types of the values: errors only, because its warnings are not
 * shown in Flatcar. Newer minor versions have all rules of the older ones.
 * Source: the functions `Validate` of config/v2_N/types of https://github.com/flatcar/ignition.
 */
export function checkVersion2(config: Config2, minor: number, cursor: JsonCursor): void {
  const { ignition, networkd, passwd, storage, systemd } = config;
  const references = cursor.at('ignition', 'config');
  each(ignition.config.append, references.at('append'), (reference, at) => checkReference(reference, minor, at));
  if (ignition.config.replace !== undefined) checkReference(ignition.config.replace, minor, references.at('replace'));
  const { certificateAuthorities } = ignition.security.tls;
  each(certificateAuthorities, cursor.at('ignition', 'security', 'tls', 'certificateAuthorities'), (reference, at) =>
    checkReference(reference, minor, at),
  );
  each(networkd.units, cursor.at('networkd', 'units'), checkNetworkdUnit);
  each(passwd.users, cursor.at('passwd', 'users'), checkUser);
  checkStorage(storage, minor, cursor.at('storage'));
  each(systemd.units, cursor.at('systemd', 'units'), checkUnit);
}

function schemes(minor: number): readonly string[] {
  const first = ['http', 'https', 'data', 'oem'];
  return minor >= 1 ? [...first, 'tftp', 's3'] : first;
}

function checkReference({ httpHeaders, source, verification }: Reference2, minor: number, cursor: JsonCursor): void {
  if (source !== '') cursor.at('source').error(whyNotSource(source, schemes(minor)));
  if (minor === 0 && parseUrl(source)?.hasUser === true)
    cursor.at('source').error('Ignition crashes on a URL with a user name in version 2.0.0 (use version 2.1.0)');
  if (verification.hash !== undefined)
    cursor.at('verification', 'hash').error(whyNotHash(verification.hash, ['sha512']));
  if (httpHeaders.length === 0) return;
  const at = cursor.at('httpHeaders');
  at.error(whyNotForHeaders(source));
  const names = new Set<string>();
  each(httpHeaders, at, ({ name }, headerAt) => {
    if (name === '') headerAt.at('name').error('the header has no name');
    if (names.has(name)) headerAt.error(`a second header ${name}`);
    names.add(name);
  });
}

function checkContents(contents: Contents2, minor: number, cursor: JsonCursor): void {
  checkReference(contents, minor, cursor);
  cursor.at('compression').error(whyNotCompression(contents.compression));
}

function checkNetworkdUnit({ contents, dropins, name }: NetworkdUnit2, cursor: JsonCursor): void {
  cursor.at('name').error(whyNotNetworkdName(name));
  cursor.at('contents').error(whyNotUnitFile(contents));
  each(dropins, cursor.at('dropins'), checkDropin);
}

function checkUnit({ contents, dropins, name }: Unit2, cursor: JsonCursor): void {
  cursor.at('name').error(whyNotUnitName(name));
  cursor.at('contents').error(whyNotUnitFile(contents));
  each(dropins, cursor.at('dropins'), checkDropin);
}

function checkDropin(
  { contents, name }: { readonly contents: string; readonly name: string },
  cursor: JsonCursor,
): void {
  cursor.at('name').error(whyNotDropinName(name));
  cursor.at('contents').error(whyNotUnitFile(contents));
}

/** `create` is older than the keys beside it and excludes them. */
function checkUser(user: User2, cursor: JsonCursor): void {
  if (user.create === undefined) return;
  const beside = [
    ...(['gecos', 'homeDir', 'primaryGroup', 'shell'] as const).filter((key) => user[key] !== ''),
    ...(['noCreateHome', 'noLogInit', 'noUserGroup', 'system'] as const).filter((key) => user[key]),
    ...(user.groups.length > 0 ? ['groups'] : []),
    ...(user.uid === undefined ? [] : ['uid']),
  ];
  if (beside.length > 0) cursor.at('create').error(`it excludes ${beside.join(', ')} beside it`);
}

function checkStorage(storage: Config2['storage'], minor: number, cursor: JsonCursor): void {
  const { directories, disks, files, filesystems, links, raid } = storage;
  each(disks, cursor.at('disks'), (disk, at) => checkDisk(disk, minor, at));
  each(raid, cursor.at('raid'), ({ devices, level, spares }, at) => {
    at.at('level').error(whyNotRaidLevel(level, spares));
    each(devices, at.at('devices'), (device, deviceAt) => deviceAt.error(whyNotAbsolute(device)));
  });
  each(filesystems, cursor.at('filesystems'), (filesystem, at) => checkFilesystem(filesystem, minor, at));
  each(directories, cursor.at('directories'), (directory, at) => {
    checkNode(directory, at);
    at.at('mode').error(whyNotMode(directory.mode));
  });
  each(files, cursor.at('files'), (file, at) => {
    checkNode(file, at);
    at.at('mode').error(whyNotMode(file.mode));
    checkContents(file.contents, minor, at.at('contents'));
    if (file.append && file.overwrite === true) at.at('append').error('append and overwrite exclude each other');
  });
  each(links, cursor.at('links'), checkNode);
}

function checkDisk({ device, partitions }: Disk2, minor: number, cursor: JsonCursor): void {
  cursor.at('device').error(whyNotAbsolute(device));
  const at = cursor.at('partitions');
  if (minor < 3 && partitions.length > 0)
    at.error('Flatcar cannot translate partitions of this version (write them with sizeMiB and startMiB of 2.3.0)');
  each(partitions, at, checkPartition);
  checkOverlaps(partitions, at);
  const numbers = new Set<bigint>();
  each(partitions, at, ({ number }, partitionAt) => {
    if (number !== 0n && numbers.has(number))
      partitionAt.at('number').error(`a second partition has the number ${number}`);
    numbers.add(number);
  });
  if (partitions.some(({ number }) => number === 0n) && partitions.some(({ shouldExist }) => shouldExist === false))
    at.error('where a partition should not exist, every partition needs a number');
}

/** In sectors are the only sizes before 2.3, where zero is the same as nothing. */
function checkPartition(partition: Partition2, cursor: JsonCursor): void {
  const { guid, label, shouldExist, size, start, typeGuid } = partition;
  for (const key of ['size', 'start'] as const) {
    if (partition[key] !== undefined)
      cursor.at(key).error(`${key} is in sectors, which Flatcar cannot translate (use ${key}MiB of version 2.3.0)`);
  }
  const described = [label, typeGuid || undefined, guid || undefined, start, size];
  if (shouldExist === false && described.some((value) => value !== undefined))
    cursor.error('a partition that should not exist can have a number only');
  if (label !== undefined) cursor.at('label').error(whyNotPartitionLabel(label));
  cursor.at('guid').error(whyNotGuid(guid));
  cursor.at('typeGuid').error(whyNotGuid(typeGuid));
}

function checkFilesystem({ mount, path }: Filesystem2, minor: number, cursor: JsonCursor): void {
  if (mount === undefined) {
    cursor.error(
      path === undefined
        ? 'it needs mount'
        : 'Flatcar cannot translate a file system with path and without mount: its Ignition crashes on it (leave it out: root always exists)',
    );
    return;
  }
  if (path !== undefined) cursor.error('it has both mount and path, but only one is allowed');
  const at = cursor.at('mount');
  const formats = ['ext4', 'btrfs', 'xfs'];
  at.at('device').error(whyNotAbsolute(mount.device));
  at.at('format').error(whyNotFormat(mount.format, minor >= 1 ? [...formats, 'swap', 'vfat'] : formats));
  at.at('label').error(whyNotFilesystemLabel(mount.label, mount.format));
  if (mount.create === undefined) return;
  if (mount.wipeFilesystem || mount.options.length > 0)
    at.at('create').error('it excludes wipeFilesystem and options beside it');
  if (!mount.create.force) at.at('create', 'force').error('Flatcar can translate create only with force set to true');
}

function checkNode(node: Node2, cursor: JsonCursor): void {
  if (node.filesystem === '') cursor.at('filesystem').error('it is missing: usually it is root');
  cursor.at('path').error(whyNotAbsolute(node.path));
  checkOwner(node.user, cursor.at('user'));
  checkOwner(node.group, cursor.at('group'));
}
