import { readFile } from 'node:fs/promises';

/** By number, without `CAP_` (linux/capability.h). */
const capabilities =
  `CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST
  NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
  SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF
  CHECKPOINT_RESTORE`.split(/\s+/);

/** Names of those that this process may give away: its bounding set (capabilities(7)). */
export async function grantedCapabilities(): Promise<string[]> {
  const bounding = await boundingSet();
  return (await knownCapabilities()).filter((_, number) => isIn(bounding, number));
}

let missing: readonly string[] | undefined;

/**
 * Names of those that the kernel knows and this process may not give away. That does not change
 * while it lives.
 */
export async function missingCapabilities(): Promise<string[]> {
  missing ??= await readMissing();
  return [...missing];
}

async function readMissing(): Promise<string[]> {
  const bounding = await boundingSet();
  return (await knownCapabilities()).filter((_, number) => !isIn(bounding, number));
}

async function knownCapabilities(): Promise<readonly string[]> {
  return capabilities.slice(0, Number(await readFile('/proc/sys/kernel/cap_last_cap', 'utf8')) + 1);
}

async function boundingSet(): Promise<bigint> {
  const status = await readFile('/proc/self/status', 'utf8');
  return BigInt(`0x${/^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
}

function isIn(set: bigint, number: number): boolean {
  return ((set >> BigInt(number)) & 1n) === 1n;
}
