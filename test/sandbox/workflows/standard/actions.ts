/**
 * Actions of Tinkerbell (github.com/tinkerbell/actions), made anew from their documentation with
 * busybox: settings come in the environment, and what is not set has the documented default.
 */
import { busyboxImage } from '../../busybox-image.ts';
import type { Image } from '../../image.ts';

/**
 * Streams the image at IMG_URL to DEST_DISK, decompressed by the end of its name where COMPRESSED
 * is true, and has the kernel read its partition table.
 */
export function image2disk(): Promise<Image> {
  return action(`
case "\${COMPRESSED:-false} $IMG_URL" in
  "true "*.gz) decompress=zcat ;;
  "true "*.bz2 | "true "*.bzip2) decompress=bzcat ;;
  "true "*.xz) decompress=xzcat ;;
  "true "*) echo "unknown compression: $IMG_URL" && exit 1 ;;
  *) decompress=cat ;;
esac
echo "streaming $IMG_URL to $DEST_DISK"
wget -q -O - "$IMG_URL" | $decompress | dd of="$DEST_DISK" bs=1M conv=notrunc,fsync
blockdev --rereadpt "$DEST_DISK"
`);
}

/**
 * Writes CONTENTS to the file DEST_PATH of the file system (FS_TYPE) on DEST_DISK; UID, GID and
 * MODE are the file's, DIRMODE that of missing directories.
 */
export function writefile(): Promise<Image> {
  return action(`
mkdir -p /mnt
mount -t "$FS_TYPE" "$DEST_DISK" /mnt
directory="/mnt$(dirname "$DEST_PATH")"
[ -d "$directory" ] || { mkdir -p "$directory" && chmod "\${DIRMODE:-0755}" "$directory"; }
printf %s "$CONTENTS" >"/mnt$DEST_PATH"
chown "\${UID:-0}:\${GID:-0}" "/mnt$DEST_PATH"
chmod "\${MODE:-0600}" "/mnt$DEST_PATH"
umount /mnt
echo "wrote $DEST_PATH on $DEST_DISK"
`);
}

function action(script: string): Promise<Image> {
  const program = `#!/bin/sh\nset -e -o pipefail\n${script.trimStart()}`;
  return busyboxImage({ Entrypoint: ['/bin/action'] }, { 'bin/action': program });
}
