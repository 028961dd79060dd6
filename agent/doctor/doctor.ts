import type { Clock } from '../../clock/clock.ts';
import { takeInventory } from '../hardware/hardware.ts';
import type { LoadedSettings } from '../settings/config.ts';
import type { CertificateMemory } from '../transport/grpc/known-certificate.ts';
import { checkClock } from './clock-check.ts';
import { checkDisks } from './disk-check.ts';
import { checkEngine } from './engine-check.ts';
import { type Finding, finding } from './finding.ts';
import { checkSettings } from './settings-check.ts';

export interface DoctorOptions {
  readonly clock: Clock;
  /** Certificates of a server that are known from the first time. */
  readonly certificates: (authority: string) => CertificateMemory;
  /** An image to pull as an action would. Default: no image is pulled. */
  readonly image?: string | undefined;
}

/**
 * Looks at all that the agent needs, on the real things: its settings, the disks, the engine, the
 * registries as the engine reaches them, the server, its certificate and the clock. Nothing is
 * changed, and no work is taken.
 *
 * @throws the reason of the signal
 */
export async function examine(
  loaded: LoadedSettings,
  { clock, certificates, image }: DoctorOptions,
  signal: AbortSignal,
): Promise<Finding[]> {
  const { config } = loaded;
  const [engine, server, time, inventory] = await Promise.all([
    checkEngine(config, image, clock, signal),
    checkSource(loaded, { clock, certificates }, signal),
    checkClock(config, clock, signal),
    takeInventory('/', clock),
  ]);
  const disks = await checkDisks({ config, inventory, imageStore: engine.imageStore });
  return [...checkSettings(loaded), ...disks, ...engine.findings, ...server, time];
}

/** The source of work. Loads only the client of its protocol. */
async function checkSource(
  { config }: LoadedSettings,
  options: Pick<DoctorOptions, 'clock' | 'certificates'>,
  signal: AbortSignal,
): Promise<Finding[]> {
  switch (config.transport) {
    case 'grpc':
      return await (await import('./server-check.ts')).checkServer({ config, ...options }, signal);
    case 'nats':
      return await (await import('./nats-check.ts')).checkNats(config, options.clock, signal);
    case 'file':
      return [finding('server', 'ok', 'none is needed: work comes from a template')];
  }
}
