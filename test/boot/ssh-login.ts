import { mkdir, mkdtempDisposable, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeLoginKey } from '../sandbox/workflows/login-key.ts';
import { packSite } from './second-initramfs.ts';
import { machineAddress, machineArguments, startSite } from './site.ts';
import { runBySsh } from './ssh.ts';
import { makeDisk, type Scene, startBootImage, whileItRuns } from './story.ts';

/** A driver that no device asks for and the image does not have. */
const module = 'wireguard';

/** Downloads its packages. */
export async function fetchSshServer(): Promise<void> {
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'nibs-ssh-'));
  await packSite({ hasSshServer: true }, scratch.path);
}

/** The key of the site logs in as root, another one does not. The module is loaded by its name. */
export async function logInBySsh(scene: Scene): Promise<void> {
  const { directory } = scene;
  const key = await makeLoginKey(directory);
  await mkdir(join(directory, 'other'));
  const other = await makeLoginKey(join(directory, 'other'));
  await using site = await startSite(directory, { http: {} });
  const disk = await makeDisk(directory, scene.row.disk, 64 * 1024 * 1024);
  await using machine = await startBootImage(scene, {
    kernelArguments: [machineArguments, `modules=${module}`],
    secondInitramfs: await packSite(
      { modules: [module], authorizedKeys: `${key.path}.pub`, hasSshServer: true },
      directory,
    ),
    disks: [disk],
  });
  const login = { user: 'root', address: machineAddress };
  await whileItRuns(machine, scene, async (signal) => {
    await machine.console.waitForLine(/nibs: SSH server on port 22, host key SHA256:/, { signal });
    await machine.console.waitForLine(/nibs: network up/, { signal });
    await machine.console.waitForLine(/nibs: drivers loaded/, { signal });
    const found = await runBySsh({ ...login, key: key.path, command: `id -un; grep -c '^${module} ' /proc/modules` });
    if (found !== 'root\n1') throw new Error(`logged in, and found ${found}`);
    await runBySsh({ ...login, key: other.path, command: 'true' }).then(
      () => Promise.reject(new Error('another key logged in')),
      (error: unknown) => {
        if (!/Permission denied/.test(String(error))) throw error;
      },
    );
    await site.waitForPoll(signal);
  });
  await machine[Symbol.asyncDispose]();
  await rm(disk.path);
}
