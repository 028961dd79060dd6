import { access } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { architectures } from '../debian/architecture.ts';
import { runTool } from '../tools/run-tool.ts';

/** Of all architectures: packages have only those of their own. */
const directories = architectures.flatMap(({ gnu, loader }) => [dirname(loader), `lib/${gnu}`, `lib/${gnu}/systemd`]);

/**
 * The shared libraries that programs need, and those that these need, including the loader.
 * @param programs paths of ELF files, anywhere
 * @param root directory of the unpacked packages
 * @returns paths inside `root`, without a leading slash
 * @throws {Error} no package has a library; the message names it and the program
 */
export async function findLibraries(programs: readonly string[], root: string): Promise<string[]> {
  const found = new Map<string, string>();
  const toRead = [...programs];
  for (let program = toRead.pop(); program !== undefined; program = toRead.pop()) {
    for (const name of await neededBy(program)) {
      if (found.has(name)) continue;
      const path = await locate(name, root);
      if (path === undefined) {
        throw new Error(`${program} needs ${name}, which no package of the image has (add its package to the list)`);
      }
      found.set(name, path);
      toRead.push(join(root, path));
    }
  }
  return [...found.values()].sort();
}

/** The interpreter and the NEEDED entries of an ELF file. */
async function neededBy(path: string): Promise<string[]> {
  const { stdout } = await runTool('readelf', ['--wide', '--program-headers', '--dynamic', path]);
  const interpreter = stdout.match(/interpreter: .*\/([^\]/]+)\]/)?.[1];
  const needed = [...stdout.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map((match) => match[1] ?? '');
  return interpreter === undefined ? needed : [...needed, interpreter];
}

async function locate(name: string, root: string): Promise<string | undefined> {
  for (const directory of directories) {
    const path = join(directory, name);
    try {
      await access(join(root, path));
      return path;
    } catch {
      // Not in this one: try the next.
    }
  }
  return undefined;
}
