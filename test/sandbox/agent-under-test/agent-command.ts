import { join } from 'node:path';

/** How to start the agent from its sources. */
export function agentCommand(name: 'tink-agent' | 'tink-worker'): [program: string, ...parameters: string[]] {
  return [process.execPath, join(import.meta.dirname, '../../../executable/main.ts'), name];
}

/**
 * The environment of an agent's process: nothing of this one but the search path and the directory in
 * which Node keeps compiled code. Of the kernel's command line nothing, unless `environment` names a
 * file.
 */
export function agentEnvironment(environment: Readonly<Record<string, string>> = {}): Record<string, string> {
  const { PATH = '', NODE_COMPILE_CACHE: cache } = process.env;
  return { PATH, ...(cache && { NODE_COMPILE_CACHE: cache }), NIBS_KERNEL_COMMAND_LINE: '/dev/null', ...environment };
}
