/** The agent as a program, with one action that prints much. */
import { writeFile } from 'node:fs/promises';
import { cpuSecondsOf, memoryBytesOf } from '../../bench/process.ts';
import { type Flood, FloodLog } from './flood-log.ts';
import { type EngineKind, startProgram, untilOver } from './program.ts';
import { reportsViolation } from './reports.ts';

export interface FloodResult {
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** Resident memory before the output. */
  readonly beforeBytes: number;
  /** The most until half of the output was read, and until its end. */
  readonly halfwayBytes: number;
  readonly peakBytes: number;
  readonly violations: readonly string[];
}

/**
 * By so much the memory may grow, whatever the amount of output: the buffers between engine and log
 * have limits of some MiB, V8's young generation has 3 x 4 MiB (executable/node-options.ts), the
 * rest is compiled code and garbage that was not collected yet. A hundredth of 1 GB of output that
 * is kept, as strings and with what V8 needs beside them, is within it; a tenth is not. As in
 * test/agent/flood.test.ts.
 */
export const maxGrowthBytes = 64 * 2 ** 20;

export async function runFlood(engine: EngineKind, flood: Flood): Promise<FloodResult> {
  const { script, outputBytes } = flood;
  const log = new FloodLog(flood);
  await using program = await startProgram({ engine, dialect: 'v0.1', read: (stdout) => log.read(stdout) });
  const { agent } = program;
  const warm = program.createWorkflow([{ name: 'warm', script: 'seq 20000' }]);
  await untilOver(program, warm, 2);
  const beforeBytes = await memoryBytesOf(agent.process, 'VmRSS');
  // Sets VmHWM back to what is resident now (proc_pid_clear_refs(5)).
  await writeFile(`/proc/${agent.process.pid}/clear_refs`, '5');
  const cpuBefore = await cpuSecondsOf(agent.process);
  let halfway: Promise<number> | undefined;
  const begin = performance.now();
  const workflow = program.createWorkflow([{ name: 'loud', script }]);
  const events = await untilOver(program, workflow, 2, (onProgress) => {
    log.onBytes = (bytes) => {
      onProgress();
      if (bytes > outputBytes / 2) halfway ??= memoryBytesOf(agent.process, 'VmHWM');
    };
  });
  const seconds = (performance.now() - begin) / 1000;
  const isAlive = agent.process.exitCode === null;
  const peakBytes = isAlive ? await memoryBytesOf(agent.process, 'VmHWM') : 0;
  const cpuSeconds = isAlive ? (await cpuSecondsOf(agent.process)) - cpuBefore : 0;
  const halfwayBytes = (await halfway) ?? 0;
  const exitCode = await agent.end('SIGTERM');
  const growth = peakBytes - beforeBytes;
  const violations = [
    reportsViolation(events, ['loud']),
    exitCode === 0 ? undefined : `the agent ended with ${exitCode}`,
    ...log.violations(),
    growth > maxGrowthBytes ? `the memory grew by ${(growth / 2 ** 20).toFixed(0)} MiB` : undefined,
  ].filter((text) => text !== undefined);
  return { seconds, cpuSeconds, beforeBytes, halfwayBytes, peakBytes, violations };
}
