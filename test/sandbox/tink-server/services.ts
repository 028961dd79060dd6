/** The gRPC services of the played server, in the words of the chosen dialect. */
import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  type MethodDefinition,
  type Server,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import {
  WorkflowServiceDefinition as AgentServiceDefinition,
  ActionStatusRequest_StateType as StateType,
} from '../../../proto/agent.pb.ts';
import {
  ActionState,
  HardwareServiceDefinition,
  type MessageFns,
  State,
  TemplateServiceDefinition,
  type WorkflowContext,
  WorkflowServiceDefinition,
} from '../../../proto/tink.pb.ts';
import { createTemplate, createWorkflow, deleteWorkflow, pushHardware } from './create.ts';
import * as current from './current.ts';
import { RpcFailure } from './failure.ts';
import * as kubernetes from './kubernetes.ts';
import * as postgres from './postgres.ts';
import { findWorkflow, type Progress, type Records, type WorkflowRecord } from './records.ts';

export const SERVER_DIALECTS = ['v0.1', 'v0.2', 'v0.7', 'v0.9', 'current'] as const;

/**
 * `v0.1`: tink v0.1.0. `v0.2`: v0.2.0 to v0.6.0. `v0.7`: v0.7.0 and v0.8.0 on Kubernetes (with
 * PostgreSQL they are as v0.2). `v0.9`: v0.9.0 to v0.12.2, on Kubernetes. `current`: the servers of
 * Tinkerbell v0.17 and later.
 */
export type ServerDialect = (typeof SERVER_DIALECTS)[number];

/**
 * Whether a worker is called by the text of the template, and not by the UUID of hardware that was
 * pushed.
 */
export function onKubernetes(dialect: ServerDialect): boolean {
  return dialect === 'v0.7' || dialect === 'v0.9' || dialect === 'current';
}

interface Names {
  readonly workflow: string;
  readonly template: string;
  readonly hardware: string;
  /** State of an action, as on the wire and as `tink workflow events` prints it. */
  readonly states: Readonly<Record<Progress, readonly [number, string]>>;
}

const PROTOS = 'github.com.tinkerbell.tink.protos';

const STATES: Names['states'] = {
  PENDING: [State.STATE_PENDING, 'STATE_PENDING'],
  RUNNING: [State.STATE_RUNNING, 'STATE_RUNNING'],
  FAILED: [State.STATE_FAILED, 'STATE_FAILED'],
  TIMEOUT: [State.STATE_TIMEOUT, 'STATE_TIMEOUT'],
  SUCCESS: [State.STATE_SUCCESS, 'STATE_SUCCESS'],
};

const NAMES: Readonly<Record<ServerDialect, Names>> = {
  'v0.1': {
    workflow: `${PROTOS}.workflow.WorkflowSvc`,
    template: `${PROTOS}.template.Template`,
    hardware: `${PROTOS}.hardware.HardwareService`,
    states: {
      PENDING: [ActionState.ACTION_PENDING, 'ACTION_PENDING'],
      RUNNING: [ActionState.ACTION_IN_PROGRESS, 'ACTION_IN_PROGRESS'],
      SUCCESS: [ActionState.ACTION_SUCCESS, 'ACTION_SUCCESS'],
      FAILED: [ActionState.ACTION_FAILED, 'ACTION_FAILED'],
      TIMEOUT: [ActionState.ACTION_TIMEOUT, 'ACTION_TIMEOUT'],
    },
  },
  'v0.2': {
    workflow: `${PROTOS}.workflow.WorkflowService`,
    template: `${PROTOS}.template.TemplateService`,
    hardware: `${PROTOS}.hardware.HardwareService`,
    states: STATES,
  },
  'v0.7': { workflow: `${PROTOS}.workflow.WorkflowService`, template: '', hardware: '', states: STATES },
  'v0.9': { workflow: 'proto.WorkflowService', template: '', hardware: '', states: STATES },
  current: {
    workflow: 'proto.WorkflowService',
    template: '',
    hardware: '',
    states: {
      PENDING: [StateType.PENDING, 'PENDING'],
      RUNNING: [StateType.RUNNING, 'RUNNING'],
      FAILED: [StateType.FAILED, 'FAILED'],
      TIMEOUT: [StateType.TIMEOUT, 'TIMEOUT'],
      SUCCESS: [StateType.SUCCESS, 'SUCCESS'],
    },
  },
};

/** @returns the state's name as `tink workflow events` of that dialect prints it. */
export function stateName(dialect: ServerDialect, progress: Progress): string {
  return NAMES[dialect].states[progress][1];
}

/**
 * Wraps every call: `handle` computes the answer, and the wrapper may replace it. `undefined`: the
 * connection is closed, no response can be sent.
 */
export type Around = <Response>(
  method: string,
  request: unknown,
  handle: () => Response,
  cancelled: AbortSignal,
) => Promise<Response | undefined>;

export interface ServiceOptions {
  readonly dialect: ServerDialect;
  readonly records: Records;
  /** Of `current`: see {@link current.giveAction}. */
  readonly servesAgain: boolean;
  /** On Kubernetes up to v0.12: see {@link kubernetes.Copy}. */
  readonly oldAnswers: number;
  readonly around: Around;
}

/** Adds the dialect's services to a gRPC server. */
export function addServices(server: Pick<Server, 'addService'>, options: ServiceOptions): void {
  const { dialect, records, servesAgain, around } = options;
  const names = NAMES[dialect];
  const add = serve(server, names.workflow, around);
  if (dialect === 'current') {
    add(AgentServiceDefinition.methods.getAction, (request) => current.giveAction(records, request, servesAgain));
    add(AgentServiceDefinition.methods.reportActionStatus, (report) => {
      current.takeReport(records, report);
      return {};
    });
    return;
  }
  if (dialect === 'v0.7' || dialect === 'v0.9') {
    addKubernetes(add, records, new kubernetes.Copy(options.oldAnswers), names, dialect === 'v0.7');
    if (dialect === 'v0.7') addStubs(add);
    return;
  }
  addPostgres(add, records, names, dialect);
  const {
    createWorkflow: create,
    getWorkflow,
    deleteWorkflow: remove,
    showWorkflowEvents,
  } = WorkflowServiceDefinition.methods;
  add(create, ({ template, hardware }) => ({
    id: createWorkflow(records, { templateId: template, values: hardware, rules: dialect, store: 'postgres' }),
  }));
  add(remove, ({ id }) => {
    deleteWorkflow(records, id);
    return {};
  });
  add(getWorkflow, ({ id }) => {
    const workflow = existing(records, id);
    return {
      id,
      template: workflow.templateId,
      hardware: workflow.values,
      // v0.1.0 keeps no state of a workflow, only of its actions.
      state: dialect === 'v0.1' ? State.STATE_PENDING : STATES[workflow.current.progress][0],
      createdAt: dialect === 'v0.1' ? undefined : new Date(workflow.createdAt),
      updatedAt: dialect === 'v0.1' ? undefined : new Date(workflow.updatedAt),
      deletedAt: undefined,
      data: workflow.rendered,
    };
  });
  add(showWorkflowEvents, ({ id }) =>
    existing(records, id).events.map(({ progress, createdAt, ...event }) => ({
      ...event,
      actionStatus: names.states[progress][0],
      createdAt: new Date(createdAt),
    })),
  );
  serve(
    server,
    names.template,
    around,
  )(TemplateServiceDefinition.methods.createTemplate, ({ name, data }) => ({
    id: createTemplate(records, name, data),
  }));
  serve(
    server,
    names.hardware,
    around,
  )(HardwareServiceDefinition.methods.push, ({ data }) => {
    pushHardware(records, data);
    return {};
  });
}

const rpc = WorkflowServiceDefinition.methods;

function addPostgres(add: Add, records: Records, names: Names, dialect: 'v0.1' | 'v0.2'): void {
  const context = (workflow: WorkflowRecord) => toContext(workflow, names);
  add(rpc.getWorkflowContexts, ({ workerId }) => postgres.streamForWorker(records, workerId).map(context));
  add(rpc.getWorkflowContextList, ({ workerId }) => {
    const workflows = postgres.listForWorker(records, workerId);
    if (workflows.length === 0) {
      throw new RpcFailure(status.INTERNAL, 'grpc: error while marshaling: proto: Marshal called with nil');
    }
    return { workflowContexts: workflows.map(context) };
  });
  add(rpc.getWorkflowContext, ({ id }) => context(existing(records, id)));
  add(rpc.getWorkflowActions, ({ workflowId }) => ({ actionList: postgres.actionsOf(records, workflowId) }));
  add(rpc.reportActionStatus, (report) => {
    const unknown = dialect === 'v0.1' ? 'panic' : 'refuse';
    postgres.takeReport(records, report, toProgress(report.actionStatus, names), unknown);
    return {};
  });
  add(rpc.getWorkflowData, ({ workflowId, version }) => ({
    data: Buffer.from(postgres.readData(records, workflowId, version).data),
    version: 0,
  }));
  add(rpc.getWorkflowMetadata, ({ workflowId, version }) => ({
    data: Buffer.from(postgres.readData(records, workflowId, version).metadata),
    version: 0,
  }));
  add(rpc.getWorkflowDataVersion, ({ workflowId }) => ({
    data: Buffer.alloc(0),
    version: postgres.latestDataVersion(records, workflowId),
  }));
  add(rpc.updateWorkflowData, ({ workflowId, data, metadata }) => {
    postgres.writeData(records, workflowId, data, metadata);
    return {};
  });
}

function addKubernetes(add: Add, records: Records, copy: kubernetes.Copy, names: Names, oneTask: boolean): void {
  add(rpc.getWorkflowContexts, ({ workerId }) =>
    kubernetes.streamForWorker(records, copy, workerId).map((workflow) => toContext(workflow, names)),
  );
  add(rpc.getWorkflowActions, ({ workflowId }) => ({ actionList: kubernetes.actionsOf(records, workflowId) }));
  add(rpc.reportActionStatus, (report) => {
    kubernetes.takeReport(records, copy, report, toProgress(report.actionStatus, names), oneTask);
    return {};
  });
}

/**
 * What v0.7 and v0.8 offer and cannot do on Kubernetes. Data is the exception: there is none, and
 * it is taken and dropped.
 */
function addStubs(add: Add): void {
  const stub = (): never => {
    throw new RpcFailure(status.UNKNOWN, 'not implemented');
  };
  add(rpc.getWorkflowContextList, stub);
  add(rpc.getWorkflowContext, stub);
  add(rpc.getWorkflowMetadata, stub);
  add(rpc.getWorkflowDataVersion, stub);
  add(rpc.createWorkflow, stub);
  add(rpc.getWorkflow, stub);
  add(rpc.deleteWorkflow, stub);
  add(rpc.showWorkflowEvents, stub);
  add(rpc.getWorkflowData, () => ({ data: Buffer.alloc(0), version: 0 }));
  add(rpc.updateWorkflowData, () => ({}));
}

function toContext({ id, current, actions }: WorkflowRecord, names: Names): WorkflowContext {
  return {
    workflowId: id,
    currentWorker: current.workerId,
    currentTask: current.taskName,
    currentAction: current.actionName,
    currentActionIndex: current.index,
    currentActionState: names.states[current.progress][0],
    totalNumberOfActions: actions.length,
  };
}

function toProgress(number: number, names: Names): Progress {
  const all: readonly Progress[] = ['PENDING', 'RUNNING', 'FAILED', 'TIMEOUT', 'SUCCESS'];
  const found = all.find((progress) => names.states[progress][0] === number);
  if (!found) throw new RpcFailure(status.ABORTED, `pq: ${number} is not a state`);
  return found;
}

function existing(records: Records, id: string): WorkflowRecord {
  const workflow = findWorkflow(records, id);
  if (!workflow) throw new RpcFailure(status.ABORTED, 'sql: no rows in result set');
  return workflow;
}

interface Method<Request, Response, Streams extends boolean> {
  readonly name: string;
  readonly requestType: MessageFns<Request>;
  readonly responseType: MessageFns<Response>;
  readonly responseStream: Streams;
}

/**
 * Adds one method; one that streams takes all its answers at once, because all streams here are
 * finite.
 */
type Add = <Request, Response, Streams extends boolean>(
  method: Method<Request, Response, Streams>,
  handle: (request: Request) => Streams extends true ? readonly Response[] : Response,
) => void;

interface Call<Request> {
  readonly request: Request;
  once(event: 'cancelled', listener: () => void): unknown;
}

function serve(server: Pick<Server, 'addService'>, service: string, around: Around): Add {
  return (method, handle) => {
    type Request = ReturnType<typeof method.requestType.decode>;
    type Response = ReturnType<typeof method.responseType.decode>;
    const definition: MethodDefinition<Request, Response> = {
      path: `/${service}/${method.name}`,
      requestStream: false,
      responseStream: method.responseStream,
      requestSerialize: (message) => Buffer.from(method.requestType.encode(message).finish()),
      requestDeserialize: (bytes) => method.requestType.decode(bytes),
      responseSerialize: (message) => Buffer.from(method.responseType.encode(message).finish()),
      responseDeserialize: (bytes) => method.responseType.decode(bytes),
    };
    const answer = async (call: Call<Request>): Promise<readonly Response[] | undefined> => {
      const cancelled = new AbortController();
      call.once('cancelled', () => cancelled.abort());
      const result = await around(method.name, call.request, () => handle(call.request), cancelled.signal);
      if (result === undefined) return undefined;
      return Array.isArray(result) ? result : [result as Response];
    };
    const unary: handleUnaryCall<Request, Response> = (call, respond) => {
      answer(call).then(
        (responses) => responses && respond(null, responses[0] ?? null),
        (error) => respond(toStatus(error)),
      );
    };
    const streaming: handleServerStreamingCall<Request, Response> = (call) => {
      answer(call).then(
        (responses) => {
          if (responses === undefined) return;
          for (const response of responses) call.write(response);
          call.end();
        },
        (error) => call.emit('error', toStatus(error)),
      );
    };
    server.addService({ [method.name]: definition }, { [method.name]: method.responseStream ? streaming : unary });
  };
}

/** Go turns any other error into UNKNOWN with its text. */
function toStatus(error: unknown): ServiceError {
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof RpcFailure ? error.code : status.UNKNOWN;
  return Object.assign(new Error(message), { code, details: message, metadata: new Metadata() });
}
