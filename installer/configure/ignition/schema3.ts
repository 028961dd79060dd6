import { z } from 'zod';
import { boolean, integer, list, since, string, strings } from './schema.ts';

/*
 * Ignition's configuration format 3.0 to 3.6: 3.6, in which every key has the version that
 * introduced it.
 * Source: https://coreos.github.io/ignition/specs/ and config/v3_N/schema/ignition.json of
 * https://github.com/coreos/ignition.
 */

const verification = z.object({ hash: string }).optional();
const httpHeaders = z.array(z.object({ name: string, value: string }));

/** Contents of files, and since 3.1 every other resource. */
const resource = z.object({
  compression: string,
  httpHeaders: since(1, httpHeaders),
  source: string,
  verification,
});

/** A config or certificate to fetch. In 3.0 it had fewer keys than the contents of a file. */
const reference = z.object({
  compression: since(1, z.string()),
  httpHeaders: since(1, httpHeaders),
  source: string,
  verification,
});

const ignition = z.object({
  config: z.object({ merge: list(reference), replace: reference.optional() }).optional(),
  proxy: since(1, z.object({ httpProxy: string, httpsProxy: string, noProxy: strings })),
  security: z.object({ tls: z.object({ certificateAuthorities: list(reference) }).optional() }).optional(),
  timeouts: z.object({ httpResponseHeaders: integer, httpTotal: integer }).optional(),
  version: string,
});

const passwdGroup = z.object({
  gid: integer,
  name: string,
  passwordHash: string,
  shouldExist: since(2, z.boolean()),
  system: boolean,
});

const passwdUser = z.object({
  gecos: string,
  groups: strings,
  homeDir: string,
  name: string,
  noCreateHome: boolean,
  noLogInit: boolean,
  noUserGroup: boolean,
  passwordHash: string,
  primaryGroup: string,
  shell: string,
  shouldExist: since(2, z.boolean()),
  sshAuthorizedKeys: strings,
  system: boolean,
  uid: integer,
});

const owner = z.object({ id: integer, name: string }).optional();
const node = z.object({ group: owner, overwrite: boolean, path: string, user: owner });
const directory = node.extend({ mode: integer });
const file = node.extend({ append: list(resource), contents: resource.optional(), mode: integer });
const link = node.extend({ hard: boolean, target: string });

const partition = z.object({
  guid: string,
  label: string,
  number: integer,
  resize: since(2, z.boolean()),
  shouldExist: boolean,
  sizeMiB: integer,
  startMiB: integer,
  typeGuid: string,
  wipePartitionEntry: boolean,
});

const disk = z.object({ device: string, partitions: list(partition), wipeTable: boolean });

const filesystem = z.object({
  device: string,
  format: string,
  label: string,
  mountOptions: since(1, z.array(z.string())),
  options: strings,
  path: string,
  uuid: string,
  wipeFilesystem: boolean,
});

const raid = z.object({ devices: strings, level: string, name: string, options: strings, spares: integer });

const tang = z.object({ advertisement: since(4, z.string()), thumbprint: string, url: string });

const clevis = z.object({
  custom: z.object({ config: string, needsNetwork: boolean, pin: string }).optional(),
  tang: list(tang),
  threshold: integer,
  tpm2: boolean,
});

const luks = z.object({
  cex: since(5, z.object({ enabled: boolean })),
  clevis: clevis.optional(),
  device: string,
  discard: since(4, z.boolean()),
  keyFile: resource.optional(),
  label: string,
  name: string,
  openOptions: since(4, z.array(z.string())),
  options: strings,
  uuid: string,
  wipeVolume: boolean,
});

const unit = z.object({
  contents: string,
  dropins: list(z.object({ contents: string, name: string })),
  enabled: boolean,
  mask: boolean,
  name: string,
});

export const version3 = z.object({
  ignition,
  kernelArguments: since(3, z.object({ shouldExist: strings, shouldNotExist: strings })),
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
