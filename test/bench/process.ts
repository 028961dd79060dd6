import type { ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';

type Process = Pick<ChildProcess, 'pid'>;

/**
 * Memory of a process, in bytes (proc_pid_status(5)).
 * @param field `VmRSS`: resident now. `VmHWM`: the largest so far.
 */
export async function memoryBytesOf({ pid }: Process, field: 'VmRSS' | 'VmHWM'): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${field}:\\s*(\\d+) kB$`, 'm').exec(text)?.[1]) * 1024;
}

/**
 * CPU time of all threads of a process, in seconds (proc_pid_stat(5): utime, stime); the kernel
 * counts in ticks of 10 ms.
 */
export async function cpuSecondsOf({ pid }: Process): Promise<number> {
  const fields = await statOf(pid);
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/**
 * CPU time of the processes that this one has started and that have ended, in seconds
 * (proc_pid_stat(5): cutime, cstime).
 */
export async function childrensCpuSeconds(): Promise<number> {
  const fields = await statOf('self');
  return (Number(fields[13]) + Number(fields[14])) / 100;
}

/** From the third field on. */
async function statOf(process: number | string | undefined): Promise<string[]> {
  const text = await readFile(`/proc/${process}/stat`, 'utf8');
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}
