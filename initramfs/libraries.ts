import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from '../tools/run-tool.ts';

const directories = ['lib64', 'lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu/systemd'];

/**
 * The shared libraries that programs need, and those that these need in turn, the loader included.
 * @param programs paths of ELF files, anywhere
 * @param root the tree of unpacked packages to find them in
 * @returns paths inside `root`, without a leading slash
 * @throws Error naming the library and who needs it when no unpacked package has it
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

/** What the ELF header of a file asks for: its interpreter and its NEEDED entries. */
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
