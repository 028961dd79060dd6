import { ActionState, State } from '../../../proto/tink.pb.ts';

/**
 * Generation of the tink protocol, by the first version that spoke it: `v0.1` (v0.1.0), `v0.2`
 * (v0.2.0 to v0.6.0), `v0.7` (v0.7.0 and v0.8.0: the same on the wire), `v0.9` (v0.9.0 to v0.12.2).
 */
export type LegacyDialect = 'v0.1' | 'v0.2' | 'v0.7' | 'v0.9';

/** `current`: Tinkerbell v0.17 and later. */
export type Dialect = LegacyDialect | 'current';

/** How far an action has come, in the words of every dialect. */
export type ActionProgress = 'PENDING' | 'RUNNING' | 'FAILED' | 'TIMEOUT' | 'SUCCESS';

/**
 * What differs between the dialects. The numbers belong to the service: 2 is success to one server
 * and failure to the next.
 */
export interface ProtocolProfile {
  readonly dialect: LegacyDialect;
  /** Full name of the workflow service. */
  readonly service: string;
  readonly number: Readonly<Record<ActionProgress, number>>;
}

const stateNumbers = {
  PENDING: State.STATE_PENDING,
  RUNNING: State.STATE_RUNNING,
  FAILED: State.STATE_FAILED,
  TIMEOUT: State.STATE_TIMEOUT,
  SUCCESS: State.STATE_SUCCESS,
} as const;

/** In the order in which they are tried: each server knows exactly one of these names. */
export const protocolProfiles: readonly ProtocolProfile[] = [
  {
    dialect: 'v0.1',
    service: 'github.com.tinkerbell.tink.protos.workflow.WorkflowSvc',
    number: {
      PENDING: ActionState.ACTION_PENDING,
      RUNNING: ActionState.ACTION_IN_PROGRESS,
      FAILED: ActionState.ACTION_FAILED,
      TIMEOUT: ActionState.ACTION_TIMEOUT,
      SUCCESS: ActionState.ACTION_SUCCESS,
    },
  },
  {
    dialect: 'v0.2',
    service: 'github.com.tinkerbell.tink.protos.workflow.WorkflowService',
    number: stateNumbers,
  },
  {
    dialect: 'v0.7',
    service: 'github.com.tinkerbell.tink.protos.workflow.WorkflowService',
    number: stateNumbers,
  },
  { dialect: 'v0.9', service: 'proto.WorkflowService', number: stateNumbers },
];

export function profileOf(dialect: LegacyDialect): ProtocolProfile {
  const profile = protocolProfiles.find((candidate) => candidate.dialect === dialect);
  if (profile === undefined) throw new Error(`there is no dialect ${dialect}`);
  return profile;
}

/** @returns `undefined` for a number that the dialect does not have. */
export function progressOf(profile: ProtocolProfile, number: number): ActionProgress | undefined {
  const names: readonly ActionProgress[] = ['PENDING', 'RUNNING', 'FAILED', 'TIMEOUT', 'SUCCESS'];
  return names.find((name) => profile.number[name] === number);
}
