import { boolean, int, list, pointer, string, struct, uint, uint32, type Value } from './go-types.ts';

/*
 * Ignition's first configuration format, which has no `ignition.version`.
 * Source: config/v1/types of https://github.com/flatcar/ignition at v0.36.
 */

export const group0 = struct({ gid: pointer(uint), name: string, passwordHash: string, system: boolean });

/** Users of version 1 and 2.0. */
export const user0 = struct({
  create: pointer(
    struct({
      gecos: string,
      groups: list(string),
      homeDir: string,
      noCreateHome: boolean,
      noLogInit: boolean,
      noUserGroup: boolean,
      primaryGroup: string,
      shell: string,
      system: boolean,
      uid: pointer(uint),
    }),
  ),
  name: string,
  passwordHash: string,
  sshAuthorizedKeys: list(string),
});

const filesystem = struct(
  {
    create: pointer(struct({ force: boolean, options: list(string) })),
    device: string,
    files: list(struct({ contents: string, gid: int, mode: uint32, path: string, uid: int }, 'path')),
    format: string,
  },
  'device',
);

export const config1 = struct({
  ignitionVersion: int,
  networkd: struct({ units: list(struct({ contents: string, name: string })) }),
  passwd: struct({ groups: list(group0), users: list(user0) }),
  storage: struct({
    disks: list(
      struct(
        {
          device: string,
          partitions: list(struct({ label: string, number: int, size: uint, start: uint, typeGuid: string })),
          wipeTable: boolean,
        },
        'device',
      ),
    ),
    filesystems: list(filesystem),
    raid: list(struct({ devices: list(string), level: string, name: string, spares: int })),
  }),
  systemd: struct({
    units: list(
      struct({
        contents: string,
        dropins: list(struct({ contents: string, name: string })),
        enable: boolean,
        mask: boolean,
        name: string,
      }),
    ),
  }),
});

export type Config1 = Value<typeof config1>;
