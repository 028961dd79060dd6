import type { Dialect } from './dialect.ts';
import { checkDisks, checkFormat, checkRaids } from './disks.ts';
import { checkMode, whyNotAbsolute } from './path.ts';
import { each, type Place } from './place.ts';
import { checkPasswd } from './rules3.ts';
import type { Config1 } from './schema1.ts';
import { checkNetworkdUnits, checkSystemdUnits } from './units.ts';

/** What must hold in version 1 beyond the kinds of the values. */
export function checkVersion1(config: Config1, dialect: Dialect, place: Place): void {
  const { networkd, passwd, storage, systemd } = config;
  checkDisks(storage?.disks, place.at('storage', 'disks'));
  checkRaids(storage?.raid, place.at('storage', 'raid'));
  each(storage?.filesystems, place.at('storage', 'filesystems'), (filesystem, at) => {
    at.at('device').error(whyNotAbsolute(filesystem.device));
    checkFormat(filesystem.format ?? '', dialect, at.at('format'));
    each(filesystem.files, at.at('files'), (file, fileAt) => {
      fileAt.at('path').error(whyNotAbsolute(file.path));
      checkMode(file.mode, false, fileAt.at('mode'));
    });
  });
  checkSystemdUnits(systemd?.units, place.at('systemd', 'units'));
  checkNetworkdUnits(networkd?.units, place.at('networkd', 'units'));
  checkPasswd(passwd, place.at('passwd'));
}
