/**
 * Part `actions`: a workflow of many actions, each a container. The last ones must cost the agent
 * no more than the first ones.
 */
import { readFileSync } from 'node:fs';
import { memoryBytesOf } from '../../bench/process.ts';
import type { ServerDialect } from '../../sandbox/tink-server/server.ts';
import { regressionOf } from '../regression.ts';
import { type EngineKind, startProgram, untilOver } from './program.ts';
import { reportsViolation } from './reports.ts';

export interface ActionsOptions {
  readonly engine: EngineKind;
  readonly dialect: ServerDialect;
  readonly actions: number;
}

/** How a figure of each action changes with its number. */
interface Trend {
  readonly mean: number;
  readonly first: number;
  readonly last: number;
  /** From one action to the next, and twice its standard error. */
  readonly slope: number;
  readonly uncertainty: number;
}

export interface ActionsResult {
  /** From the start of an action to the next one's, by the clock of the server. */
  readonly seconds: Trend;
  /** Of the agent, in that time. */
  readonly cpuSeconds: Trend;
  readonly maxRssBytes: number;
  readonly violations: readonly string[];
}

/** What is compiled and loaded once is no trend. */
const warmUp = 0.1;

export async function runActions({ engine, dialect, actions }: ActionsOptions): Promise<ActionsResult> {
  const lines: string[] = [];
  const read = (stdout: NodeJS.ReadableStream) => void stdout.on('data', (chunk) => keepLast(lines, String(chunk)));
  await using program = await startProgram({ engine, dialect, read });
  const { server, agent } = program;
  const names = Array.from({ length: actions }, (_, index) => `action-${index + 1}`);
  const starts: { readonly atSeconds: number; readonly cpuSeconds: number }[] = [];
  using _ = server.subscribe(({ progress }) => {
    if (progress === 'RUNNING')
      starts.push({ atSeconds: performance.now() / 1000, cpuSeconds: cpuSecondsNow(agent.process.pid) });
  });
  const workflow = program.createWorkflow(names.map((name) => ({ name, script: `echo ${name}` })));
  const events = await untilOver(program, workflow, names.length * 2);
  const wrong = reportsViolation(events, names);
  const violations = wrong === undefined ? [] : [`${wrong}; ${events.at(-1)?.message}; the agent: ${lines.join('')}`];
  if (agent.process.exitCode !== null) violations.push(`the agent ended with ${agent.process.exitCode}`);
  const costs = starts.slice(1).map(({ atSeconds, cpuSeconds }, index) => ({
    seconds: atSeconds - (starts[index]?.atSeconds ?? 0),
    cpuSeconds: cpuSeconds - (starts[index]?.cpuSeconds ?? 0),
  }));
  const seconds = trendOf(costs.map((cost) => cost.seconds));
  const cpuSeconds = trendOf(costs.map((cost) => cost.cpuSeconds));
  // By the CPU time: the seconds are those of the machine, and of the engine.
  if ((cpuSeconds.slope - cpuSeconds.uncertainty) * actions > cpuSeconds.mean / 2)
    violations.push('the last action costs half as much again as the first one');
  const maxRssBytes = agent.process.exitCode === null ? await memoryBytesOf(agent.process, 'VmHWM') : 0;
  return { seconds, cpuSeconds, maxRssBytes, violations };
}

function trendOf(values: readonly number[]): Trend {
  const kept = values.slice(Math.floor(values.length * warmUp));
  const tenth = Math.max(1, Math.floor(kept.length / 10));
  const mean = (some: readonly number[]) => some.reduce((sum, value) => sum + value, 0) / some.length;
  const { slope, error } = regressionOf(kept.map((value, index) => [index, value]));
  return {
    ...{ mean: mean(kept), first: mean(kept.slice(0, tenth)), last: mean(kept.slice(-tenth)) },
    ...{ slope, uncertainty: 2 * error },
  };
}

/**
 * CPU time of a process; at once, as its next action would count otherwise (proc_pid_stat(5)).
 */
function cpuSecondsNow(pid: number | undefined): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function keepLast(lines: string[], text: string): void {
  lines.push(text);
  if (lines.length > 20) lines.shift();
}
