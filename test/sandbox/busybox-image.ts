import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import { execa } from 'execa';
import { pack } from 'tar-stream';
import { type Image, type ImageConfiguration, makeImage } from './image.ts';

/** Where Debian's package busybox-static puts its program. */
const busybox = '/bin/busybox';

/**
 * A tiny image (1 MB): the machine's own busybox with a link for each of its programs, and whatever
 * `files` adds (path → content).
 */
export async function busyboxImage(
  configuration: ImageConfiguration = {},
  files: Readonly<Record<string, string | Buffer>> = {},
): Promise<Image> {
  const { stdout } = await execa(busybox, ['--list']);
  const programs = stdout.split('\n').filter((program) => program !== 'busybox');
  const archive = pack();
  const content = buffer(archive);
  for (const name of ['bin/', 'etc/', 'tmp/', 'root/', 'var/']) archive.entry({ name, type: 'directory', mode: 0o755 });
  archive.entry({ name: 'bin/busybox', mode: 0o755 }, await readFile(busybox));
  for (const name of programs) archive.entry({ name: `bin/${name}`, type: 'symlink', linkname: 'busybox' });
  archive.entry({ name: 'etc/passwd' }, 'root:x:0:0:root:/root:/bin/sh\n');
  archive.entry({ name: 'etc/group' }, 'root:x:0:\n');
  for (const [name, text] of Object.entries(files)) archive.entry({ name, mode: 0o755 }, text);
  archive.finalize();
  return makeImage([await content], { Cmd: ['/bin/sh'], Env: ['PATH=/bin'], ...configuration });
}
