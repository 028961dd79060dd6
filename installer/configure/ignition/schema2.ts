import { z } from 'zod';
import { boolean, integer, list, since, string, strings } from './schema.ts';

/*
 * Ignition's configuration format 2.0 to 2.4: 2.4, in which every key has the version that
 * introduced it.
 * Source: doc/configuration-v2_N.md in the spec2x branch of https://github.com/coreos/ignition.
 */

const verification = z.object({ hash: string }).optional();
const httpHeaders = z.array(z.object({ name: string, value: string }));
const reference = z.object({ httpHeaders: since(4, httpHeaders), source: string, verification });

const ignition = z.object({
  config: z.object({ append: list(reference), replace: reference.optional() }).optional(),
  proxy: since(4, z.object({ httpProxy: string, httpsProxy: string, noProxy: strings })),
  security: since(2, z.object({ tls: z.object({ certificateAuthorities: list(reference) }).optional() })),
  timeouts: since(1, z.object({ httpResponseHeaders: integer, httpTotal: integer })),
  version: string,
});

const account = z.object({
  gecos: string,
  groups: strings,
  homeDir: string,
  noCreateHome: boolean,
  noLogInit: boolean,
  noUserGroup: boolean,
  primaryGroup: string,
  shell: string,
  system: boolean,
  uid: integer,
});

const passwdUser = z.object({
  create: account.optional(),
  gecos: since(1, z.string()),
  groups: since(1, z.array(z.string())),
  homeDir: since(1, z.string()),
  name: string,
  noCreateHome: since(1, z.boolean()),
  noLogInit: since(1, z.boolean()),
  noUserGroup: since(1, z.boolean()),
  passwordHash: string,
  primaryGroup: since(1, z.string()),
  shell: since(1, z.string()),
  sshAuthorizedKeys: strings,
  system: since(1, z.boolean()),
  uid: since(1, z.int({ error: 'expected a whole number' })),
});

const owner = z.object({ id: integer, name: since(1, z.string()) }).optional();
const node = z.object({
  filesystem: string,
  group: owner,
  overwrite: since(2, z.boolean()),
  path: string,
  user: owner,
});
const directory = node.extend({ mode: integer });
const contents = z.object({ compression: string, httpHeaders: since(4, httpHeaders), source: string, verification });
const file = node.extend({ append: since(2, z.boolean()), contents: contents.optional(), mode: integer });
const link = node.extend({ hard: boolean, target: string });

const partition = z.object({
  guid: since(1, z.string()),
  label: string,
  number: integer,
  shouldExist: since(3, z.boolean()),
  /** In sectors, as `start`. */
  size: integer,
  sizeMiB: since(3, z.int({ error: 'expected a whole number' })),
  start: integer,
  startMiB: since(3, z.int({ error: 'expected a whole number' })),
  typeGuid: string,
  wipePartitionEntry: since(3, z.boolean()),
});

const filesystem = z.object({
  mount: z
    .object({
      create: z.object({ force: boolean, options: strings }).optional(),
      device: string,
      format: string,
      label: since(1, z.string()),
      options: since(1, z.array(z.string())),
      uuid: since(1, z.string()),
      wipeFilesystem: since(1, z.boolean()),
    })
    .optional(),
  name: string,
  path: string,
});

const raid = z.object({
  devices: strings,
  level: string,
  name: string,
  options: since(2, z.array(z.string())),
  spares: integer,
});
const dropin = z.object({ contents: string, name: string });
const networkdUnit = z.object({ contents: string, dropins: since(2, z.array(dropin)), name: string });
const unit = z.object({
  contents: string,
  dropins: list(dropin),
  enable: boolean,
  enabled: since(1, z.boolean()),
  mask: boolean,
  name: string,
});

export const version2 = z.object({
  ignition,
  networkd: z.object({ units: list(networkdUnit) }).optional(),
  passwd: z
    .object({
      groups: list(z.object({ gid: integer, name: string, passwordHash: string, system: boolean })),
      users: list(passwdUser),
    })
    .optional(),
  storage: z
    .object({
      directories: since(1, z.array(directory)),
      disks: list(z.object({ device: string, partitions: list(partition), wipeTable: boolean })),
      files: list(file),
      filesystems: list(filesystem),
      links: since(1, z.array(link)),
      raid: list(raid),
    })
    .optional(),
  systemd: z.object({ units: list(unit) }).optional(),
});

export type Config2 = z.infer<typeof version2>;
export type Ignition2 = z.infer<typeof ignition>;
export type Storage2 = NonNullable<Config2['storage']>;
export type Filesystem2 = z.infer<typeof filesystem>;
export type Node2 = z.infer<typeof node>;
export type Partition2 = z.infer<typeof partition>;
export type User2 = z.infer<typeof passwdUser>;
