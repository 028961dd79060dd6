const units = ['B', 'KB', 'MB', 'GB', 'TB', 'PB', 'EB'];

/**
 * An amount of bytes as tink-agent writes it: `512B`, `4KB`, `16GB`; units of 1024, rounded up.
 * Empty for none.
 */
export function humanSize(bytes: number): string {
  if (!(bytes > 0)) return '';
  const unit = Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1);
  return `${Math.ceil(bytes / 1024 ** unit)}${units[unit]}`;
}
