import type { SourceReader } from './source-reader.ts';

/**
 * Reads what follows an image to its end, so that a signature check sees it, and warns of it. The
 * original does not look at it either.
 */
export async function skipTrailing(
  reader: SourceReader,
  format: string,
  onWarning: ((message: string) => void) | undefined,
): Promise<void> {
  let ignored = 0;
  for (let chunk = await reader.next(); chunk !== undefined; chunk = await reader.next()) ignored += chunk.length;
  if (ignored > 0) onWarning?.(trailingWarning(ignored, format));
}

export function trailingWarning(bytes: number, format: string): string {
  return `the image is followed by ${bytes} bytes that are not ${format}; they are ignored`;
}
