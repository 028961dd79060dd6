/**
 * Kernel arguments as words of a GRUB script. GRUB itself quotes those with spaces for the kernel.
 *
 * @throws {Error} they contain what GRUB would change on the way to the kernel
 */
export function grubWords(kernelArguments: string): string {
  const changed = kernelArguments.match(/['\\\n]/);
  if (changed !== null)
    throw new Error(`kernel arguments for GRUB cannot contain ${JSON.stringify(changed[0])}: ${kernelArguments}`);
  // As the kernel does: spaces between double quotes do not separate.
  const words = kernelArguments.match(/(?:"[^"]*"?|[^\s"])+/g) ?? [];
  return words.map((word) => `'${word.replaceAll('"', '')}'`).join(' ');
}
