import { join } from 'node:path';
import { nodeOptions } from '../../../executable/node-options.ts';

/** How to start the agent from its sources, with the executable's options of Node. */
export function agentCommand(name: 'tink-agent' | 'tink-worker'): [program: string, ...parameters: string[]] {
  return [process.execPath, ...nodeOptions, join(import.meta.dirname, '../../../executable/main.ts'), name];
}

/**
 * The environment of an agent's process: of this one only the search path and, for what Node itself
 * runs, the directory of compiled code and what `make coverage` adds; no kernel command line but
 * that of `environment`.
 */
export function agentEnvironment(
  program: string,
  environment: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const { PATH = '', NODE_COMPILE_CACHE, NODE_OPTIONS } = process.env;
  const ofNode = { ...(NODE_COMPILE_CACHE && { NODE_COMPILE_CACHE }), ...(NODE_OPTIONS && { NODE_OPTIONS }) };
  return {
    ...{ PATH, NIBS_KERNEL_COMMAND_LINE: '/dev/null' },
    ...(program === process.execPath && ofNode),
    ...environment,
  };
}
