import { runTool, ToolError } from '../../tools/run-tool.ts';

/**
 * Runs a command that may take the machine down, for as long as it takes.
 *
 * @returns why it failed: the last lines that it printed, or why it did not even start. Its
 *   parameters are left out: they are long, and may hold secrets
 * @throws the reason of `signal` when that is aborted
 */
export async function runCommand(
  program: string,
  parameters: readonly string[],
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    await runTool(program, parameters, { signal, timeoutSeconds: Number.POSITIVE_INFINITY });
    return undefined;
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    return [...error.why.split('\n').slice(-3), `(${program}: ${error.ending})`].join(' ');
  }
}
