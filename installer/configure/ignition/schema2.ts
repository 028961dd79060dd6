import { z } from 'zod';
import { flag, integer, list, since, text, texts } from './schema.ts';

/*
 * Ignition's configuration format 2.0 to 2.4: 2.4, in which every key has the version that introduced it.
 * Source: doc/configuration-v2_N.md in the spec2x branch of https://github.com/coreos/ignition.
 */

const verification = z.object({ hash: text }).optional();
const httpHeaders = z.array(z.object({ name: text, value: text }));
const reference = z.object({ httpHeaders: since(4, httpHeaders), source: text, verification });

const ignition = z.object({
  config: z.object({ append: list(reference), replace: reference.optional() }).optional(),
  proxy: since(4, z.object({ httpProxy: text, httpsProxy: text, noProxy: texts })),
  security: since(2, z.object({ tls: z.object({ certificateAuthorities: list(reference) }).optional() })),
  timeouts: since(1, z.object({ httpResponseHeaders: integer, httpTotal: integer })),
  version: text,
});

const account = z.object({
  gecos: text,
  groups: texts,
  homeDir: text,
  noCreateHome: flag,
  noLogInit: flag,
  noUserGroup: flag,
  primaryGroup: text,
  shell: text,
  system: flag,
  uid: integer,
});

const passwdUser = z.object({
  create: account.optional(),
  gecos: since(1, z.string()),
  groups: since(1, z.array(z.string())),
  homeDir: since(1, z.string()),
  name: text,
  noCreateHome: since(1, z.boolean()),
  noLogInit: since(1, z.boolean()),
  noUserGroup: since(1, z.boolean()),
  passwordHash: text,
  primaryGroup: since(1, z.string()),
  shell: since(1, z.string()),
  sshAuthorizedKeys: texts,
  system: since(1, z.boolean()),
  uid: since(1, z.int({ error: 'expected a whole number' })),
});

const owner = z.object({ id: integer, name: since(1, z.string()) }).optional();
const node = z.object({
  filesystem: text,
  group: owner,
  overwrite: since(2, z.boolean()),
  path: text,
  user: owner,
});
const directory = node.extend({ mode: integer });
const contents = z.object({ compression: text, httpHeaders: since(4, httpHeaders), source: text, verification });
const file = node.extend({ append: since(2, z.boolean()), contents: contents.optional(), mode: integer });
const link = node.extend({ hard: flag, target: text });

const partition = z.object({
  guid: since(1, z.string()),
  label: text,
  number: integer,
  shouldExist: since(3, z.boolean()),
  /** In sectors, as `start`. */
  size: integer,
  sizeMiB: since(3, z.int({ error: 'expected a whole number' })),
  start: integer,
  startMiB: since(3, z.int({ error: 'expected a whole number' })),
  typeGuid: text,
  wipePartitionEntry: since(3, z.boolean()),
});

const filesystem = z.object({
  mount: z
    .object({
      create: z.object({ force: flag, options: texts }).optional(),
      device: text,
      format: text,
      label: since(1, z.string()),
      options: since(1, z.array(z.string())),
      uuid: since(1, z.string()),
      wipeFilesystem: since(1, z.boolean()),
    })
    .optional(),
  name: text,
  path: text,
});

const raid = z.object({
  devices: texts,
  level: text,
  name: text,
  options: since(2, z.array(z.string())),
  spares: integer,
});
const dropin = z.object({ contents: text, name: text });
const networkdUnit = z.object({ contents: text, dropins: since(2, z.array(dropin)), name: text });
const unit = z.object({
  contents: text,
  dropins: list(dropin),
  enable: flag,
  enabled: since(1, z.boolean()),
  mask: flag,
  name: text,
});

export const version2 = z.object({
  ignition,
  networkd: z.object({ units: list(networkdUnit) }).optional(),
  passwd: z
    .object({
      groups: list(z.object({ gid: integer, name: text, passwordHash: text, system: flag })),
      users: list(passwdUser),
    })
    .optional(),
  storage: z
    .object({
      directories: since(1, z.array(directory)),
      disks: list(z.object({ device: text, partitions: list(partition), wipeTable: flag })),
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
