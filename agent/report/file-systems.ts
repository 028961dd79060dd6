/**
 * The mounted file systems with their size and free space, one a line, as the program df lists
 * them. df waits as long as a file server does not answer: to be called in a process that may be
 * killed.
 * @throws {Error} there is no df
 */
export async function describeFileSystems(): Promise<string> {
  const { getDiskInfo } = await import('node-disk-info');
  const found = await getDiskInfo();
  // In KiB.
  const line = ({ mounted, filesystem, blocks, available }: (typeof found)[number]) =>
    `${mounted} (${filesystem}): ${available} of ${blocks} KiB free\n`;
  return found.map(line).join('');
}
