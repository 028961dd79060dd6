import type { Dialect } from './dialect.ts';
import { checkDisks, checkFormat, checkRaids } from './disks.ts';
import { each, type JsonCursor } from './json-cursor.ts';
import { checkMode, whyNotAbsolute } from './path.ts';
import { checkPasswd } from './rules3.ts';
import type { Config1 } from './schema1.ts';
import { checkNetworkdUnits, checkSystemdUnits } from './units.ts';

/** Rules of version 1 beyond the types of the values. */
export function checkVersion1(config: Config1, dialect: Dialect, cursor: JsonCursor): void {
  const { networkd, passwd, storage, systemd } = config;
  checkDisks(storage?.disks, cursor.at('storage', 'disks'));
  checkRaids(storage?.raid, cursor.at('storage', 'raid'));
  each(storage?.filesystems, cursor.at('storage', 'filesystems'), (filesystem, at) => {
    at.at('device').error(whyNotAbsolute(filesystem.device));
    checkFormat(filesystem.format ?? '', dialect, at.at('format'));
    each(filesystem.files, at.at('files'), (file, fileAt) => {
      fileAt.at('path').error(whyNotAbsolute(file.path));
      checkMode(file.mode, false, fileAt.at('mode'));
    });
  });
  checkSystemdUnits(systemd?.units, cursor.at('systemd', 'units'));
  checkNetworkdUnits(networkd?.units, cursor.at('networkd', 'units'));
  checkPasswd(passwd, cursor.at('passwd'));
}
