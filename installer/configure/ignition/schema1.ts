import { z } from 'zod';
import { flag, integer, list, text, texts } from './schema.ts';

/*
 * The format before the key `ignition` existed.
 * Source: doc/configuration.md of https://github.com/coreos/ignition at v0.4.0.
 */

const disk = z.object({
  device: text,
  partitions: list(z.object({ label: text, number: integer, size: integer, start: integer, typeGuid: text })),
  wipeTable: flag,
});

const filesystem = z.object({
  create: z.object({ force: flag, options: texts }).optional(),
  device: text,
  files: list(z.object({ contents: text, gid: integer, mode: integer, path: text, uid: integer })),
  format: text,
});

const user = z.object({
  create: z
    .object({
      gecos: text,
      groups: texts,
      homeDir: text,
      noCreateHome: flag,
      noLogInit: flag,
      noUserGroup: flag,
      primaryGroup: text,
      shell: text,
      uid: integer,
    })
    .optional(),
  name: text,
  passwordHash: text,
  sshAuthorizedKeys: texts,
});

const unit = z.object({
  contents: text,
  dropins: list(z.object({ contents: text, name: text })),
  enable: flag,
  mask: flag,
  name: text,
});

export const version1 = z.object({
  ignitionVersion: integer,
  networkd: z.object({ units: list(z.object({ contents: text, name: text })) }).optional(),
  passwd: z
    .object({
      groups: list(z.object({ gid: integer, name: text, passwordHash: text, system: flag })),
      users: list(user),
    })
    .optional(),
  storage: z
    .object({
      disks: list(disk),
      filesystems: list(filesystem),
      raid: list(z.object({ devices: texts, level: text, name: text, spares: integer })),
    })
    .optional(),
  systemd: z.object({ units: list(unit) }).optional(),
});

export type Config1 = z.infer<typeof version1>;
