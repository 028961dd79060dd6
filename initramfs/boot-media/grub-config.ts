import type { BootImage } from './boot-image.ts';
import { grubWords } from './grub-words.ts';
import { smeePlace } from './smee-place.ts';

/** Kernel arguments that are built into a medium. */
export interface BuiltInArguments {
  /** Of the site: every machine gets them. */
  readonly site: string;
  /** For a machine that gets no arguments of its own. */
  readonly otherwise: string;
}

/**
 * GRUB reads this one of a CD or a USB stick. smee replaces the long word: see {@link smeePlace}.
 */
export const diskConfig = `source $prefix/start.cfg
menuentry 'nibs boot image' {
  start ${smeePlace}
}
`;

/**
 * What {@link diskConfig} uses: it is a file of its own, so that smee's place is in the first
 * sector of that file.
 */
export function startConfig({ machine }: BootImage, { site, otherwise }: BuiltInArguments): string {
  return `# Waits for a key as long as a person needs to press one.
set timeout=2
# Arguments: those of this machine, or the long word if smee has not replaced it.
function start {
  if regexp ^${smeePlace.slice(0, 32)} "$1"; then
    shift
    linux /boot/vmlinuz-${machine} ${grubWords(site)} ${grubWords(otherwise)} "$@"
  else
    linux /boot/vmlinuz-${machine} ${grubWords(site)} "$@"
  fi
  initrd /boot/initramfs-${machine}
}
`;
}

/**
 * For GRUB in the EFI system partition of the medium: goes on with the configuration beside the
 * boot image, and not with that of another medium in the machine.
 * @param marker path of a file that only this medium has
 */
export function searchConfig(marker: string): string {
  return `search --no-floppy --set=root --file ${marker}
set prefix=($root)/boot/grub
source $prefix/grub.cfg
`;
}

/**
 * Network boot: the signed GRUB reads this file as /grub/grub.cfg of the server that it came from.
 * It reads what the server has for the machine: a file named as GRUB's manual names it, or the
 * `pxelinux.config` of the machine's Hardware, which smee serves by TFTP. Both are GRUB scripts.
 */
export function networkConfig({ machine }: BootImage, { site, otherwise }: BuiltInArguments): string {
  const byte = '([0-9a-fA-F]{2})';
  const groups = [1, 2, 3, 4, 5, 6];
  return `# Where kernel and initramfs are. A file for this machine may name another place, as
# (http,192.0.2.1:8080)/osie/current, and its kernel arguments in kernel_arguments.
set boot_files=$cmdpath
set kernel_arguments='${otherwise}'
if regexp ${groups.map((group) => `--set=${group}:mac${group}`).join(' ')} '^${groups.map(() => byte).join(':')}$' "$net_default_mac"; then
  set mac=${groups.map((group) => `$mac${group}`).join('-')}
  source ($root)/pxelinux.cfg/01-$mac
  source $prefix/grub.cfg-01-$mac
fi
for attempt in 1 2 3; do
  if linux $boot_files/vmlinuz-${machine} ${grubWords(site)} $kernel_arguments; then
    if initrd $boot_files/initramfs-${machine}; then
      boot
    fi
  fi
  echo "nibs: cannot start $boot_files/vmlinuz-${machine} (attempt $attempt of 3)"
  sleep 5
done
# The firmware tries its next boot device.
exit
`;
}
