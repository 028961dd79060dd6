import { execa } from 'execa';

/**
 * Logs in with a key and runs a command.
 * @returns what the command printed
 * @throws {Error} the server refuses the key, or the command fails
 */
export async function runBySsh({
  user,
  address,
  key,
  command,
}: {
  readonly user: string;
  readonly address: string;
  readonly key: string;
  readonly command: string;
}): Promise<string> {
  const options = [
    ...['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'IdentitiesOnly=yes', 'BatchMode=yes'],
    'ConnectTimeout=120',
  ].flatMap((option) => ['-o', option]);
  const { stdout } = await execa('ssh', [...options, '-i', key, `${user}@${address}`, command], { timeout: 240_000 });
  return stdout;
}
