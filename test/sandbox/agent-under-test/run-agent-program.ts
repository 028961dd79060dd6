import { execa } from 'execa';
import { agentCommand, agentEnvironment } from './agent-command.ts';

/**
 * Runs `tink-agent` to its end, for command lines that end by themselves.
 *
 * @returns its exit code, and its output without the line break at the end
 */
export async function runAgentProgram(
  flags: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<{ readonly exitCode: number | undefined; readonly stdout: string; readonly stderr: string }> {
  const [program, ...parameters] = agentCommand('tink-agent');
  const env = agentEnvironment(program, environment);
  const result = await execa(program, [...parameters, ...flags], { env, extendEnv: false, reject: false });
  const { exitCode, stdout, stderr } = result;
  return { exitCode, stdout, stderr };
}
