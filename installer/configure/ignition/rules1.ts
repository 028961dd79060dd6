import { zeroOf } from './decode.ts';
import { whyNotFormat } from './disks.ts';
import { each, type JsonCursor } from './findings.ts';
import { whyNotAbsolute, whyNotMode } from './path.ts';
import type { Config1 } from './schema1.ts';
import { type Config2, config2, type Filesystem2 } from './schema2.ts';

/** Rules of version 1 that version 2, to which it is translated, does not have. */
export function checkVersion1({ storage }: Config1, cursor: JsonCursor): void {
  each(storage.filesystems, cursor.at('storage', 'filesystems'), ({ create, device, files, format }, at) => {
    at.at('device').error(whyNotAbsolute(device));
    at.at('format').error(whyNotFormat(format, ['ext4', 'btrfs', 'xfs']));
    if (create?.force === false)
      at.at('create', 'force').error('Flatcar can translate create only with force set to true');
    each(files, at.at('files'), (file, fileAt) => {
      fileAt.at('path').error(whyNotAbsolute(file.path));
      fileAt.at('mode').error(whyNotMode(file.mode));
    });
  });
}

/**
 * Translates a config of version 1 to 2.0. The contents of files are left out: any text is good.
 * Source: config/v2_0/translate.go of https://github.com/flatcar/ignition.
 */
export function translateVersion1(config: Config1): Config2 {
  const zero = zeroOf(config2, 0) as Config2;
  const { networkd, passwd, storage, systemd } = config;
  const users = passwd.users.map((user) => ({ ...emptyUser, ...user }));
  const nameOf = (index: number) => `_translate-filesystem-${index}`;
  return {
    ...zero,
    ignition: { ...zero.ignition, version: '2.0.0' },
    networkd: { units: networkd.units.map((unit) => ({ ...unit, dropins: [] })) },
    passwd: { groups: passwd.groups, users },
    storage: {
      ...zero.storage,
      disks: storage.disks.map((disk) => ({
        ...disk,
        partitions: disk.partitions.map((partition) => ({ ...emptyPartition, ...partition })),
      })),
      files: storage.filesystems.flatMap(({ files }, index) =>
        files.map(({ path, mode }) => ({ ...emptyFile, filesystem: nameOf(index), path, mode })),
      ),
      filesystems: storage.filesystems.map(
        ({ create, device, format }, index): Filesystem2 => ({
          name: nameOf(index),
          path: undefined,
          mount: { ...emptyMount, create, device, format },
        }),
      ),
      raid: storage.raid.map((raid) => ({ ...raid, options: [] })),
    },
    systemd: { units: systemd.units.map((unit) => ({ ...unit, enabled: undefined })) },
  };
}

const emptyUser = {
  ...{ gecos: '', homeDir: '', primaryGroup: '', shell: '', groups: [], uid: undefined },
  ...{ noCreateHome: false, noLogInit: false, noUserGroup: false, system: false },
};

const emptyPartition = {
  ...{ guid: '', shouldExist: undefined, sizeMiB: undefined, startMiB: undefined, wipePartitionEntry: false },
};

const owner = { id: 0n, name: '' };
const emptyFile = {
  ...{ append: false, group: owner, overwrite: undefined, user: owner },
  contents: { compression: '', httpHeaders: [], source: '', verification: { hash: undefined } },
};

const emptyMount = { label: undefined, options: [], uuid: undefined, wipeFilesystem: false };
