import { z } from 'zod';
import { flag, integer, list, since, text, texts } from './schema.ts';

/*
 * Ignition's configuration format 3.0 to 3.6: 3.6, in which every key has the version that introduced it.
 * Source: https://coreos.github.io/ignition/specs/ and config/v3_N/schema/ignition.json of https://github.com/coreos/ignition.
 */

const verification = z.object({ hash: text }).optional();
const httpHeaders = z.array(z.object({ name: text, value: text }));

/** Contents of files, and since 3.1 every other resource. */
const resource = z.object({
  compression: text,
  httpHeaders: since(1, httpHeaders),
  source: text,
  verification,
});

/** A config or certificate to fetch. In 3.0 it had fewer keys than the contents of a file. */
const reference = z.object({
  compression: since(1, z.string()),
  httpHeaders: since(1, httpHeaders),
  source: text,
  verification,
});

const ignition = z.object({
  config: z.object({ merge: list(reference), replace: reference.optional() }).optional(),
  proxy: since(1, z.object({ httpProxy: text, httpsProxy: text, noProxy: texts })),
  security: z.object({ tls: z.object({ certificateAuthorities: list(reference) }).optional() }).optional(),
  timeouts: z.object({ httpResponseHeaders: integer, httpTotal: integer }).optional(),
  version: text,
});

const passwdGroup = z.object({
  gid: integer,
  name: text,
  passwordHash: text,
  shouldExist: since(2, z.boolean()),
  system: flag,
});

const passwdUser = z.object({
  gecos: text,
  groups: texts,
  homeDir: text,
  name: text,
  noCreateHome: flag,
  noLogInit: flag,
  noUserGroup: flag,
  passwordHash: text,
  primaryGroup: text,
  shell: text,
  shouldExist: since(2, z.boolean()),
  sshAuthorizedKeys: texts,
  system: flag,
  uid: integer,
});

const owner = z.object({ id: integer, name: text }).optional();
const node = z.object({ group: owner, overwrite: flag, path: text, user: owner });
const directory = node.extend({ mode: integer });
const file = node.extend({ append: list(resource), contents: resource.optional(), mode: integer });
const link = node.extend({ hard: flag, target: text });

const partition = z.object({
  guid: text,
  label: text,
  number: integer,
  resize: since(2, z.boolean()),
  shouldExist: flag,
  sizeMiB: integer,
  startMiB: integer,
  typeGuid: text,
  wipePartitionEntry: flag,
});

const disk = z.object({ device: text, partitions: list(partition), wipeTable: flag });

const filesystem = z.object({
  device: text,
  format: text,
  label: text,
  mountOptions: since(1, z.array(z.string())),
  options: texts,
  path: text,
  uuid: text,
  wipeFilesystem: flag,
});

const raid = z.object({ devices: texts, level: text, name: text, options: texts, spares: integer });

const tang = z.object({ advertisement: since(4, z.string()), thumbprint: text, url: text });

const clevis = z.object({
  custom: z.object({ config: text, needsNetwork: flag, pin: text }).optional(),
  tang: list(tang),
  threshold: integer,
  tpm2: flag,
});

const luks = z.object({
  cex: since(5, z.object({ enabled: flag })),
  clevis: clevis.optional(),
  device: text,
  discard: since(4, z.boolean()),
  keyFile: resource.optional(),
  label: text,
  name: text,
  openOptions: since(4, z.array(z.string())),
  options: texts,
  uuid: text,
  wipeVolume: flag,
});

const unit = z.object({
  contents: text,
  dropins: list(z.object({ contents: text, name: text })),
  enabled: flag,
  mask: flag,
  name: text,
});

export const version3 = z.object({
  ignition,
  kernelArguments: since(3, z.object({ shouldExist: texts, shouldNotExist: texts })),
  passwd: z.object({ groups: list(passwdGroup), users: list(passwdUser) }).optional(),
  storage: z
    .object({
      directories: list(directory),
      disks: list(disk),
      files: list(file),
      filesystems: list(filesystem),
      links: list(link),
      luks: since(2, z.array(luks)),
      raid: list(raid),
    })
    .optional(),
  systemd: z.object({ units: list(unit) }).optional(),
});

export type Config3 = z.infer<typeof version3>;
export type Ignition3 = z.infer<typeof ignition>;
export type Storage3 = NonNullable<Config3['storage']>;
export type Resource = z.infer<typeof resource>;
export type Node = z.infer<typeof node>;
export type Disk = z.infer<typeof disk>;
export type Partition = z.infer<typeof partition>;
export type Filesystem3 = z.infer<typeof filesystem>;
export type Raid = z.infer<typeof raid>;
export type Luks = z.infer<typeof luks>;
export type File3 = z.infer<typeof file>;
export type Link = z.infer<typeof link>;
export type Passwd = NonNullable<Config3['passwd']>;
