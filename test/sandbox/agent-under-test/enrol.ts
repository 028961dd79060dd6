import type { ServerTransportOptions } from '../../../agent/transport/grpc/server.ts';
import { hardwareJson, MACHINE_ONE } from '../tink-server/example.ts';
import { onKubernetes, type TinkServer } from '../tink-server/server.ts';

/**
 * Makes a machine known to a fake server.
 *
 * @returns what the agent of the machine needs to reach the server: its worker ID and whom to
 *   trust, but not the dialect, which the transport detects
 */
export function enrol(server: TinkServer, machine: typeof MACHINE_ONE = MACHINE_ONE): ServerTransportOptions {
  const common = { authority: server.authority, rpcTimeoutSeconds: 5, callTimeoutSeconds: 5 };
  if (!onKubernetes(server.dialect)) {
    const workerId = server.pushHardware(hardwareJson(machine));
    return { ...common, workerId, certificateUrl: server.certificateUrl };
  }
  // These servers call a worker what the template calls it, and serve no certificate.
  const certificateAuthority = server.tls ? server.certificate.bundle : undefined;
  return { ...common, workerId: machine.mac, certificateAuthority, tls: server.tls };
}
