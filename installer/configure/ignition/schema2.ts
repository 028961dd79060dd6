import {
  boolean,
  int,
  intSince,
  list,
  listWithDuplicates,
  parsedString,
  pointer,
  since,
  string,
  struct,
  type Value,
} from './go-types.ts';
import { parseSemanticVersion } from './semver.ts';
import { parseUrl } from './url.ts';

/*
 * Ignition's configuration format 2.0 to 2.4: 2.4, in which every field has the version that
 * introduced it. Version 2 has no rules about duplicates: those of version 3, to which it is
 * translated, hold.
 * Source: config/v2_N/types of https://github.com/flatcar/ignition at v0.36.
 */

const text = pointer(string);

/*
 * Version 2.0 parses these while it decodes them: an error of theirs is one of the format, and a
 * URL is written again in its normal form.
 */
const url = parsedString(1, (address = '') => {
  const parsed = parseUrl(address);
  if (parsed === undefined) return { why: 'it is not a valid URL' };
  return { text: parsed.scheme + address.slice(parsed.scheme.length).replace(/#$/, '') };
});
const hash = parsedString(1, (text = '') =>
  text.includes('-') ? { text } : { why: 'it is not a hash in the form sha512-0123...' },
);
const semanticVersion = parsedString(1, (text) =>
  text !== undefined && (text === '' || parseSemanticVersion(text) !== undefined)
    ? { text }
    : { why: 'it is not a version' },
);

const verification = struct({ hash: pointer(hash) });
const httpHeaders = since(4, list(struct({ name: string, value: string })));
const reference = struct({ httpHeaders, source: url, verification }, 'source');
const contents = struct({ compression: string, httpHeaders, source: url, verification }, 'source');

const ignition = struct({
  config: struct({ append: list(reference), replace: pointer(reference) }),
  proxy: since(4, struct({ httpProxy: string, httpsProxy: string, noProxy: list(string) })),
  security: since(2, struct({ tls: struct({ certificateAuthorities: list(reference) }) })),
  timeouts: since(1, struct({ httpResponseHeaders: pointer(int), httpTotal: pointer(int) })),
  version: semanticVersion,
});

const networkdUnit = struct({
  contents: string,
  dropins: since(2, list(struct({ contents: string, name: string }))),
  name: string,
});

const account = {
  gecos: string,
  groups: list(string),
  homeDir: string,
  noCreateHome: boolean,
  noLogInit: boolean,
  noUserGroup: boolean,
  primaryGroup: string,
  shell: string,
  system: boolean,
  uid: pointer(intSince(1)),
};

const user = struct({
  create: pointer(struct(account)),
  gecos: since(1, string),
  groups: since(1, list(string)),
  homeDir: since(1, string),
  name: string,
  noCreateHome: since(1, boolean),
  noLogInit: since(1, boolean),
  noUserGroup: since(1, boolean),
  passwordHash: text,
  primaryGroup: since(1, string),
  shell: since(1, string),
  sshAuthorizedKeys: list(string),
  system: since(1, boolean),
  uid: since(1, pointer(int)),
});

const group = struct({ gid: pointer(intSince(1)), name: string, passwordHash: string, system: boolean });

/** In 2.0 the owner is always given, as root. */
const owner = struct({ id: pointer(int, 1), name: since(1, string) });
const node = { filesystem: string, group: owner, overwrite: since(2, pointer(boolean)), path: string, user: owner };

const partition = struct({
  guid: since(1, string),
  label: text,
  number: int,
  shouldExist: since(3, pointer(boolean)),
  /** In sectors, as `start`. */
  size: pointer(int),
  sizeMiB: since(3, pointer(int)),
  start: pointer(int),
  startMiB: since(3, pointer(int)),
  typeGuid: string,
  wipePartitionEntry: since(3, boolean),
});

const filesystem = struct({
  mount: pointer(
    struct({
      create: pointer(struct({ force: boolean, options: list(string) })),
      device: string,
      format: string,
      label: since(1, text),
      options: since(1, list(string)),
      uuid: since(1, text),
      wipeFilesystem: since(1, boolean),
    }),
  ),
  name: string,
  path: text,
});

const unit = struct({
  contents: string,
  dropins: list(struct({ contents: string, name: string })),
  enable: boolean,
  enabled: since(1, pointer(boolean)),
  mask: boolean,
  name: string,
});

export const config2 = struct({
  ignition,
  networkd: struct({ units: list(networkdUnit) }),
  passwd: struct({ groups: list(group), users: list(user) }),
  storage: struct({
    directories: since(1, list(struct({ ...node, mode: pointer(int) }, 'path'))),
    disks: list(struct({ device: string, partitions: list(partition), wipeTable: boolean }, 'device')),
    files: list(struct({ ...node, append: since(2, boolean), contents, mode: pointer(int) }, 'path')),
    filesystems: list(filesystem),
    links: since(1, list(struct({ ...node, hard: boolean, target: string }, 'path'))),
    raid: list(
      struct({
        devices: list(string),
        level: string,
        name: string,
        options: since(2, listWithDuplicates(string)),
        spares: int,
      }),
    ),
  }),
  systemd: struct({ units: list(unit) }),
});

export type Config2 = Value<typeof config2>;
export type Reference2 = Value<typeof reference>;
export type Contents2 = Value<typeof contents>;
export type Filesystem2 = Value<typeof filesystem>;
export type Partition2 = Value<typeof partition>;
export type User2 = Value<typeof user>;
export type Unit2 = Value<typeof unit>;
export type NetworkdUnit2 = Value<typeof networkdUnit>;
export type Disk2 = Config2['storage']['disks'][number];
export type Node2 = Pick<Config2['storage']['files'][number], 'filesystem' | 'group' | 'overwrite' | 'path' | 'user'>;
export type File2 = Config2['storage']['files'][number];
