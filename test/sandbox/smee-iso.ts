import { smeePlace } from '../../initramfs/boot-media/smee-place.ts';

/**
 * What smee does to an ISO image while it serves it (tinkerbell, smee/internal/iso): it looks for
 * its place in each part of the answer that it reads, up to 32 KiB, and replaces the first one by
 * the arguments and spaces. Reproduced: a part that has the place only in half passes unchanged,
 * and arguments that are too long overwrite what follows. Not reproduced: the proxy, and what it
 * reads about the machine.
 *
 * @param partBytes of each read; a BMC that reads by sectors makes smee read 2,048 bytes
 */
export function serveAsSmee(image: Buffer, kernelArguments: string, partBytes = 32 * 1024): Buffer {
  const served = Buffer.from(image);
  for (let offset = 0; offset < served.length; offset += partBytes) {
    const part = served.subarray(offset, offset + partBytes);
    const place = part.indexOf(smeePlace);
    if (place < 0) continue;
    part.fill(' ', place, place + smeePlace.length);
    part.write(kernelArguments, place);
  }
  return served;
}
