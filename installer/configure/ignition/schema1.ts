import { z } from 'zod';
import { boolean, integer, list, string, strings } from './schema.ts';

/*
 * The format before the key `ignition` existed.
 * Source: doc/configuration.md of https://github.com/coreos/ignition at v0.4.0.
 */

const disk = z.object({
  device: string,
  partitions: list(z.object({ label: string, number: integer, size: integer, start: integer, typeGuid: string })),
  wipeTable: boolean,
});

const filesystem = z.object({
  create: z.object({ force: boolean, options: strings }).optional(),
  device: string,
  files: list(z.object({ contents: string, gid: integer, mode: integer, path: string, uid: integer })),
  format: string,
});

const user = z.object({
  create: z
    .object({
      gecos: string,
      groups: strings,
      homeDir: string,
      noCreateHome: boolean,
      noLogInit: boolean,
      noUserGroup: boolean,
      primaryGroup: string,
      shell: string,
      uid: integer,
    })
    .optional(),
  name: string,
  passwordHash: string,
  sshAuthorizedKeys: strings,
});

const unit = z.object({
  contents: string,
  dropins: list(z.object({ contents: string, name: string })),
  enable: boolean,
  mask: boolean,
  name: string,
});

export const version1 = z.object({
  ignitionVersion: integer,
  networkd: z.object({ units: list(z.object({ contents: string, name: string })) }).optional(),
  passwd: z
    .object({
      groups: list(z.object({ gid: integer, name: string, passwordHash: string, system: boolean })),
      users: list(user),
    })
    .optional(),
  storage: z
    .object({
      disks: list(disk),
      filesystems: list(filesystem),
      raid: list(z.object({ devices: strings, level: string, name: string, spares: integer })),
    })
    .optional(),
  systemd: z.object({ units: list(unit) }).optional(),
});

export type Config1 = z.infer<typeof version1>;
