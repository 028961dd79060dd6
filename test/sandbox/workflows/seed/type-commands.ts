import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

export interface ShellOptions {
  /** Where the commands are typed; takes the files that they make, and `shell.log`. */
  readonly directory: string;
  /** Is `/home/vagrant` for them. */
  readonly home: string;
  /** Comes first in PATH. */
  readonly programs: string;
}

/**
 * The commands as the post has them; their indentation, which the text of the post has lost, is
 * made up.
 */
export const commandsPath = join(import.meta.dirname, 'commands.sh');

const placeholder = 'TEMPLATE_ID="aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"\n';

/**
 * Types the post's commands into a shell, as a person does. Only where the post says "Note the
 * resulting ID and use it", the id that was printed takes the place of the one in the text.
 * @returns the id of the workflow
 */
export async function typeCommands(options: ShellOptions): Promise<string> {
  const [before, after, ...others] = (await readFile(commandsPath, 'utf8')).split(placeholder);
  if (before === undefined || after === undefined || others.length > 0) {
    throw new Error(`${commandsPath} must have the line ${placeholder.trim()} once`);
  }
  await mkdir(join(options.home, '.ssh'), { recursive: true });
  const shell = startShell(options);
  const complaints = text(shell.stderr);
  let output = '';
  shell.stdin.write(before);
  for await (const chunk of shell.stdout.setEncoding('utf8')) {
    output += chunk;
    const templateId = idOf('Template', output);
    if (templateId !== undefined && !shell.stdin.writableEnded) {
      shell.stdin.end(`TEMPLATE_ID="${templateId}"\n${after}`);
    }
  }
  if (shell.exitCode === null) await once(shell, 'exit');
  const log = output + (await complaints);
  await writeFile(join(options.directory, 'shell.log'), log);
  const workflowId = idOf('Workflow', output);
  if (shell.exitCode === 0 && workflowId !== undefined) return workflowId;
  throw new Error(`the commands of the post ended with ${shell.exitCode}:\n${log}`);
}

function idOf(kind: string, output: string): string | undefined {
  return new RegExp(`^Created ${kind}: +(\\S+)\\n`, 'm').exec(output)?.[1];
}

/**
 * Not bash: that of Debian 12 (5.2.15) loses the `;` in the post's
 * `$(cat << EOF | base64 -w0; echo`, which earlier and later ones read as it is.
 *
 * In a mount namespace of its own, where `/home` has `vagrant` besides what it has on this machine.
 */
function startShell({ directory, home, programs }: ShellOptions) {
  const prepare = `
    old=$(mktemp -d)
    mount --rbind /home "$old"
    mount -t tmpfs tmpfs /home
    for entry in "$old"/*/; do
      name=$(basename "$entry")
      [ -d "$entry" ] && [ "$name" != vagrant ] && mkdir "/home/$name" && mount --rbind "$entry" "/home/$name"
    done
    umount --lazy "$old"
    rmdir "$old"
    mkdir /home/vagrant
    mount --bind "$1" /home/vagrant
    cd "$2"
    exec dash -e`;
  const shell = spawn('unshare', ['--mount', 'sh', '-c', prepare, 'sh', home, directory], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, HOME: '/home/vagrant', PATH: `${programs}:${process.env['PATH']}` },
  });
  shell.stdin.on('error', () => {}); // it ended early: its exit code says so
  return shell;
}
