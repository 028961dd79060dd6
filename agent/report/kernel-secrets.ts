import { readFile } from 'node:fs/promises';
import type { Redactor } from '../log/redact.ts';
import { parseKernelCommandLine } from '../settings/kernel-cmdline.ts';

/**
 * From now on all that looks like a secret on the kernel command line is masked, because a report
 * contains that line. The configuration does not have all of it: arguments of other programs, and
 * invalid values.
 *
 * @param path of the kernel command line. Default `/proc/cmdline`
 */
export async function learnKernelSecrets(redactor: Redactor, path = '/proc/cmdline'): Promise<void> {
  const parameters = [...parseKernelCommandLine(await readFile(path, 'utf8'))];
  await redactor.learnEnvironment(parameters.map(([name, value]) => `${name}=${value}`));
  for (const [name, value] of parameters) {
    if (/^(nibs_)?registries$/.test(name)) learnPasswords(String(value), redactor);
  }
}

/** Of `HOST=NAME:PASSWORD …`. */
function learnPasswords(accounts: string, redactor: Redactor): void {
  for (const [, password = ''] of accounts.matchAll(/=[^\s:]*:(\S+)/g)) redactor.learn(password);
}
