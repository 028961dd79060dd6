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
