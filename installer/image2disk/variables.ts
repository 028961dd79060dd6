/** The variables of `image2disk`, for the help and the documentation. */
export const variables: readonly (readonly [name: string, text: string])[] = [
  ['IMG_URL', 'URL of the image, or a path; several URLs of the same image are separated by spaces'],
  ['DEST_DISK', 'the disk; or "smallest"; or what it must be like, such as transport=nvme,size>=400GB'],
  ['COMPRESSED', 'whether the image is compressed: default false. The content decides; what contradicts it is logged'],
  ['RETRY_ENABLED', 'try again after a failure: default false. Broken downloads are resumed in any case'],
  ['RETRY_DURATION_MINUTES', 'how long to try again: default 10'],
  ['PROGRESS_INTERVAL_SECONDS', 'time between two lines of progress: default 3'],
  ['TEXT_LOGGING', 'lines of text on standard error in place of JSON on standard output: default false'],
  ['IMG_SHA256', 'hash of the image as it is transferred'],
  ['IMG_SHA512', 'hash of the image as it is transferred'],
  ['IMG_CHECKSUM_URL', 'URL of a file with the hash of the image, in the form of SHA256SUMS or SHA512SUMS'],
  ['IMG_SIG_URL', 'URL of a detached OpenPGP signature of the image'],
  ['IMG_SIG_KEY', 'public keys for it: a path, or the armoured text'],
  ['DEST_MIN_SIZE', 'only a disk larger than this, such as 20GB (without the path of a disk: 10GB)'],
  ['DEST_WAIT_SECONDS', 'wait so long for a disk that fits: default 30 in the container image, else 0'],
  ['DEST_NEVER', 'no disk like this, such as transport=usb or serial=S3Z*'],
  [
    'DEST_WIPE_MEMBERS',
    'own or foreign: take and erase members of arrays and pools, as flatcar-install --wipe-members',
  ],
  ['READ_BACK', 'read the disk back and compare it with what was written: default false'],
  ['GROW_GPT', 'move the backup of the partition table (GPT) to the end of the disk: default false'],
];
