import { readFile } from 'node:fs/promises';
import type { BootImage } from './boot-image.ts';
import { addSections, imageBytes } from './pe-sections.ts';

/**
 * A unified kernel image: one UEFI program with kernel, initramfs and kernel arguments
 * (https://uapi-group.org/specifications/specs/unified_kernel_image/). systemd's stub starts the
 * kernel. Without Secure Boot the arguments that a boot loader gives replace those of the image.
 *
 * @param stub path of systemd's stub
 */
export async function makeUki(image: BootImage, kernelArguments: string, stub: string): Promise<Buffer> {
  const kernel = await readFile(image.kernel);
  return addSections(await readFile(stub), [
    { name: '.osrel', content: Buffer.from(osRelease(image)) },
    { name: '.cmdline', content: Buffer.from(kernelArguments) },
    { name: '.uname', content: Buffer.from(image.kernelVersion) },
    { name: '.initrd', content: await readFile(image.initramfs) },
    // Last, and with the memory that it needs when it runs where it is.
    { name: '.linux', content: kernel, memoryBytes: imageBytes(kernel) },
  ]);
}

/** What boot managers show and sort by (os-release(5)). */
function osRelease({ kernelVersion, timeSeconds }: BootImage): string {
  const version = new Date(timeSeconds * 1000).toISOString().slice(0, 10);
  const name = `nibs boot image of ${version} with Linux ${kernelVersion}`;
  return `ID=nibs\nNAME=nibs\nPRETTY_NAME="${name}"\nVERSION_ID=${version}\n`;
}
