import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { busyboxImage } from './busybox-image.ts';
import type { Image } from './image.ts';

/** Of Debian's essential package perl-base. */
const perl = '/usr/bin/perl';

/**
 * The image of Tinkerbell's action waitdaemon, rebuilt from its documentation: see waitdaemon.pl,
 * its entry point, for what it does. The action needs the volume
 * `/var/run/docker.sock:/var/run/docker.sock` and, in its environment, IMAGE and perhaps
 * WAIT_SECONDS; its command is the one for IMAGE. About 7 MB unpacked.
 */
export async function waitdaemonImage(): Promise<Image> {
  const modules = (
    await execa(perl, ['-MSocket', '-e', 'print join("\n", values %INC, @DynaLoader::dl_shared_objects)'])
  ).stdout;
  const { stdout: libraries } = await execa('ldd', [perl]);
  const files = [perl, ...modules.split('\n'), ...[...libraries.matchAll(/(\/\S+) \(/g)].map(([, path = '']) => path)];
  const contents = await Promise.all(files.map(async (path) => [path.slice(1), await readFile(path)] as const));
  const program = await readFile(join(import.meta.dirname, 'waitdaemon.pl'), 'utf8');
  return await busyboxImage(
    { Entrypoint: ['/waitdaemon'], Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'] },
    { ...Object.fromEntries(contents), waitdaemon: program },
  );
}
