import type { CertificateAuthority } from '../certificates.ts';
import type { Registry } from '../registry.ts';
import type { SeedMachine } from '../seed.ts';
import type { ServerDialect, TinkServer } from '../tink-server/server.ts';

/** What a workflow finds at the provisioner when it is created. */
export interface WorkflowSite {
  /** The repository, with what was built. */
  readonly root: string;
  /** Takes logs and what people leave at the provisioner. */
  readonly directory: string;
  /** The provisioner's. */
  readonly address: string;
  readonly machine: SeedMachine;
  readonly authority: CertificateAuthority;
  /** The provisioner's own, at {@link address}. */
  readonly registry: Registry;
  readonly tink: TinkServer;
  /** What is started for the workflow ends with the provisioner. */
  readonly started: AsyncDisposableStack;
}

/** A workflow that was created, and what it needs of the provisioner. */
export interface CreatedWorkflow {
  readonly id: string;
  /** Private key that may log in on the installed system as `core`. */
  readonly loginKeyPath: string;
  /**
   * What the provisioner's HTTP server has besides: URL path (a directory ends with `/`) → path on
   * this machine.
   */
  readonly files: Readonly<Record<string, string>>;
  /** What the provisioner's DNS server knows: name → address. */
  readonly names: Readonly<Record<string, string>>;
  /** For the boot image, besides those that name server and machine. */
  readonly kernelArguments: readonly string[];
  /**
   * Looks at the disk before its first boot, while no machine has it.
   * @throws {Error} saying what is wrong with it
   */
  readonly checkDisk?: (path: string) => Promise<void>;
}

/**
 * A workflow that the sandbox can offer: the way people write it, from the provisioner to the
 * installed system.
 */
export interface SandboxWorkflow {
  /** Names of its actions, in order. */
  readonly actions: readonly string[];
  /** Of servers that take it, the usual one first. */
  readonly dialects: readonly [ServerDialect, ...ServerDialect[]];
  /**
   * How the machine gets to the installed system when the server has the success of the last
   * action: the agent restarts it (`nibs_finish=`), the last action does, or a person switches it
   * off and on.
   */
  readonly restartedBy: 'agent' | 'action' | 'person';
  create(site: WorkflowSite): Promise<CreatedWorkflow>;
}
