import {
  boolean,
  int,
  keyedStruct,
  list,
  listWithDuplicates,
  pointer,
  since,
  string,
  struct,
  type Value,
} from './go-types.ts';

/*
 * Ignition's configuration format 3.0 to 3.7-experimental: the newest one, in which every field has
 * the version that introduced it.
 * Source: https://coreos.github.io/ignition/specs/ and config/v3_N/schema/ignition.json of
 * https://github.com/coreos/ignition.
 */

const text = pointer(string);
const flag = pointer(boolean);
const number = pointer(int);

const verification = struct({ hash: text });
const httpHeaders = list(struct({ name: string, value: text }));

const resource = struct(
  {
    compression: text,
    httpHeaders: since(1, httpHeaders),
    source: text,
    verification,
  },
  'source',
);

/** A config or certificate to fetch. In 3.0 it had fewer keys than the contents of a file. */
const reference = struct(
  {
    compression: since(1, text),
    httpHeaders: since(1, httpHeaders),
    source: text,
    verification,
  },
  'source',
);

const ignition = struct({
  config: struct({ merge: list(reference), replace: reference }),
  proxy: since(1, struct({ httpProxy: text, httpsProxy: text, noProxy: list(string) })),
  security: struct({ tls: struct({ certificateAuthorities: list(reference) }) }),
  timeouts: struct({ httpResponseHeaders: number, httpTotal: number }),
  version: string,
});

const passwdGroup = struct({
  gid: number,
  name: string,
  passwordHash: text,
  shouldExist: since(2, flag),
  system: flag,
});

const passwdUser = struct({
  gecos: text,
  groups: list(string),
  homeDir: text,
  name: string,
  noCreateHome: flag,
  noLogInit: flag,
  noUserGroup: flag,
  passwordHash: text,
  primaryGroup: text,
  sshAuthorizedKeys: list(string),
  shell: text,
  shouldExist: since(2, flag),
  system: flag,
  uid: number,
});

const owner = struct({ id: number, name: text });
const node = { group: owner, overwrite: flag, path: string, user: owner };
const directory = struct({ ...node, mode: number }, 'path');
const file = struct({ ...node, append: listWithDuplicates(resource), contents: resource, mode: number }, 'path');
const link = struct({ ...node, hard: flag, target: pointer(string, 3) }, 'path');

const partition = keyedStruct(
  {
    guid: text,
    label: text,
    number: int,
    resize: since(2, flag),
    shouldExist: flag,
    sizeMiB: number,
    startMiB: number,
    typeGuid: text,
    wipePartitionEntry: flag,
  },
  ({ number, label }) => (number === 0n ? (label === undefined ? '' : `label ${label}`) : `number ${number}`),
);

const disk = struct({ device: string, partitions: list(partition), wipeTable: flag }, 'device');

const raid = struct({
  devices: list(string),
  level: pointer(string, 3),
  name: string,
  options: listWithDuplicates(string),
  spares: number,
});

const filesystem = struct(
  {
    device: string,
    format: text,
    label: text,
    mountOptions: since(1, listWithDuplicates(string)),
    options: listWithDuplicates(string),
    path: text,
    uuid: text,
    wipeFilesystem: flag,
  },
  'device',
);

const clevis = struct({
  custom: pointer(struct({ config: pointer(string, 3), needsNetwork: flag, pin: pointer(string, 3) }), 0, 3),
  tang: list(struct({ advertisement: since(4, text), thumbprint: text, url: string }, 'url')),
  threshold: number,
  tpm2: flag,
});

const luks = struct({
  cex: since(5, struct({ enabled: flag })),
  clevis: pointer(clevis, 0, 3),
  device: text,
  discard: since(4, flag),
  keyFile: resource,
  label: text,
  name: string,
  openOptions: since(4, list(string)),
  options: listWithDuplicates(string),
  uuid: text,
  wipeVolume: flag,
});

const unit = struct({
  contents: text,
  dropins: list(struct({ contents: text, name: string })),
  enabled: flag,
  mask: flag,
  name: string,
});

export const config3 = struct({
  ignition,
  kernelArguments: since(
    3,
    struct({ shouldExist: list(string, 'argument'), shouldNotExist: list(string, 'argument') }),
  ),
  passwd: struct({ groups: list(passwdGroup), users: list(passwdUser) }),
  storage: struct({
    directories: list(directory, 'node'),
    disks: list(disk),
    files: list(file, 'node'),
    filesystems: list(filesystem),
    links: list(link, 'node'),
    luks: since(2, list(luks)),
    raid: list(raid),
  }),
  systemd: struct({ units: list(unit) }),
});

export type Config3 = Value<typeof config3>;
export type Ignition3 = Value<typeof ignition>;
export type Storage3 = Config3['storage'];
export type Resource = Value<typeof resource>;
export type File3 = Value<typeof file>;
export type Directory3 = Value<typeof directory>;
export type Link3 = Value<typeof link>;
export type Disk3 = Value<typeof disk>;
export type Partition3 = Value<typeof partition>;
export type Raid3 = Value<typeof raid>;
export type Filesystem3 = Value<typeof filesystem>;
export type Luks = Value<typeof luks>;
export type Passwd3 = Config3['passwd'];
export type Unit3 = Value<typeof unit>;
