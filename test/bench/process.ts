import type { ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';

type Process = Pick<ChildProcess, 'pid'>;

/** Memory of a process, in bytes (proc_pid_status(5)). @param field `VmRSS`: resident now. `VmHWM`: the largest so far. */
export async function memoryBytesOf({ pid }: Process, field: 'VmRSS' | 'VmHWM'): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${field}:\\s*(\\d+) kB$`, 'm').exec(text)?.[1]) * 1024;
}

/** CPU time of all threads of a process, in seconds (proc_pid_stat(5)); the kernel counts in ticks of 10 ms. */
export async function cpuSecondsOf({ pid }: Process): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
