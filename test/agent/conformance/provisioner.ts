import { randomUUID } from 'node:crypto';
import { Channel } from '../../../agent/transport/grpc/channel.ts';
import { detectDialect } from '../../../agent/transport/grpc/detect.ts';
import type { ServerTransportOptions } from '../../../agent/transport/grpc/server.ts';
import {
  ActionState,
  HardwareServiceDefinition,
  State,
  TemplateServiceDefinition,
  WorkflowServiceDefinition,
} from '../../../proto/tink.pb.ts';
import { enrol } from '../../sandbox/agent-under-test/enrol.ts';
import { MACHINE_ONE, MACHINE_TWO, templateOf } from '../../sandbox/tink-server/example.ts';
import {
  onKubernetes,
  type ServerDialect,
  startTinkServer,
  type TinkServer,
} from '../../sandbox/tink-server/server.ts';

/** A server with one machine, seen from its operator's side. */
export interface Provisioner extends AsyncDisposable {
  /** Whether the server keeps the message of a report. */
  readonly keepsMessages: boolean;
  /** What the agent of the machine needs to reach the server. */
  readonly machine: ServerTransportOptions;
  /**
   * @param actions names
   * @returns the ID of a workflow with one task for the machine
   */
  createWorkflow(actions: readonly string[]): Promise<string>;
  /** What the server has recorded, oldest first: `RUNNING wipe`, `SUCCESS wipe`; with messages. */
  events(workflowId: string): Promise<readonly { readonly what: string; readonly message: string }[]>;
}

/** A fake server, which can have faults. */
export interface FakeProvisioner extends Provisioner {
  readonly server: TinkServer;
  readonly dialect: ServerDialect;
  /** A second machine. */
  readonly otherMachine: ServerTransportOptions;
  /** @returns the ID of a workflow whose tasks are for the one or the other machine. */
  createTasks(...tasks: readonly (readonly [machine: 'one' | 'two', actions: readonly string[]])[]): string;
  /** As {@link createWorkflow}, for a machine whose agent goes by its UUID with every dialect. */
  createForUuid(actions: readonly string[]): string;
  /** Replaces the server by one of another dialect at the same address, without its records. */
  replace(dialect: ServerDialect): Promise<FakeProvisioner>;
}

export async function startFakeProvisioner(dialect: ServerDialect): Promise<FakeProvisioner> {
  return provisionerOf(await startTinkServer({ dialect, retry: retryOptions }));
}

/** The server's own attempts; the defaults take a minute. */
const retryOptions = { intervalSeconds: 0.02, limitSeconds: 0.1 };

function provisionerOf(server: TinkServer): FakeProvisioner {
  const { dialect } = server;
  const createTasks: FakeProvisioner['createTasks'] = (...tasks) => {
    const template = templateOf(...tasks.map(([who, actions], index) => [`task-${index}`, who, actions] as const));
    const values = { one: MACHINE_ONE.mac, two: MACHINE_TWO.mac };
    return server.createWorkflow(server.createTemplate('conformance', template), values);
  };
  return {
    server,
    dialect,
    keepsMessages: dialect !== 'v0.7' && dialect !== 'v0.9',
    machine: enrol(server, MACHINE_ONE),
    otherMachine: enrol(server, MACHINE_TWO),
    createTasks,
    createWorkflow: async (actions) => createTasks(['one', actions]),
    createForUuid: (actions) => {
      const template = server.createTemplate('conformance', templateOf(['task', 'one', actions]));
      return server.createWorkflow(template, { one: onKubernetes(dialect) ? MACHINE_ONE.id : MACHINE_ONE.mac });
    },
    events: async (workflowId) =>
      server
        .events(workflowId)
        .map(({ progress, actionName, message }) => ({ what: `${progress} ${actionName}`, message })),
    replace: async (other) => {
      await server.stop();
      const [, port] = server.authority.split(':');
      return provisionerOf(
        await startTinkServer({
          dialect: other,
          retry: retryOptions,
          address: server.address,
          grpcPort: Number(port),
          tls: server.tls,
          certificate: server.certificate,
        }),
      );
    },
    [Symbol.asyncDispose]: () => server.stop(),
  };
}

const PROTOS = 'github.com.tinkerbell.tink.protos';

/**
 * A tink server v0.1 to v0.8 with PostgreSQL that runs elsewhere. All is done over its gRPC port,
 * as by `tink hardware push`, `tink template create` and `tink workflow create`. Each call makes a
 * new machine, which stays on the server.
 */
export async function connectProvisioner(authority: string, certificateUrl: string | undefined): Promise<Provisioner> {
  const channel = new Channel({
    authority,
    certificateUrl,
    tls: certificateUrl === undefined ? 'plaintext' : 'verified',
  });
  const never = new AbortController().signal;
  const workerId = randomUUID();
  const bytes = workerId.replaceAll('-', '').slice(0, 10).match(/../g) ?? [];
  const mac = ['02', ...bytes].join(':');
  const dialect = await detectDialect(channel, workerId, never);
  if (dialect !== 'v0.1' && dialect !== 'v0.2') {
    throw new Error(
      `a server of dialect ${dialect} takes workflows from Kubernetes only: name a worker that has one with TINK_WORKER_ID`,
    );
  }
  const [workflows, templates, states] =
    dialect === 'v0.1'
      ? [`${PROTOS}.workflow.WorkflowSvc`, `${PROTOS}.template.Template`, { ...ActionState }]
      : [`${PROTOS}.workflow.WorkflowService`, `${PROTOS}.template.TemplateService`, { ...State }];
  const { push } = HardwareServiceDefinition.methods;
  const address = `192.0.2.${Number.parseInt(bytes[0] ?? '1', 16)}`;
  const hardware = { id: workerId, network: { interfaces: [{ dhcp: { mac, ip: { address } } }] } };
  await channel.call(`${PROTOS}.hardware.HardwareService`, push, { data: hardware }, never);
  return {
    keepsMessages: true,
    machine: { authority, certificateUrl, workerId },
    createWorkflow: async (actions) => {
      const dates = { createdAt: undefined, updatedAt: undefined, deletedAt: undefined };
      const template = {
        id: '',
        name: `conformance-${randomUUID()}`,
        data: templateOf(['task', 'one', actions]),
        ...dates,
      };
      const { createTemplate } = TemplateServiceDefinition.methods;
      const { id } = await channel.call(templates, createTemplate, template, never);
      const request = { template: id, hardware: JSON.stringify({ one: mac }) };
      return (await channel.call(workflows, WorkflowServiceDefinition.methods.createWorkflow, request, never)).id;
    },
    events: async (id) => {
      const rows = await channel.collect(
        workflows,
        WorkflowServiceDefinition.methods.showWorkflowEvents,
        { id },
        never,
      );
      const name = (number: number) => Object.entries(states).find(([, value]) => value === number)?.[0] ?? '';
      // Newest first on some versions.
      const time = ({ createdAt }: (typeof rows)[number]) => createdAt?.getTime() ?? 0;
      return rows
        .sort((a, b) => time(a) - time(b))
        .map(({ actionStatus, actionName, message }) => ({
          what: `${name(actionStatus)
            .replace(/^(ACTION|STATE)_/, '')
            .replace('IN_PROGRESS', 'RUNNING')} ${actionName}`,
          message,
        }));
    },
    [Symbol.asyncDispose]: () => channel[Symbol.asyncDispose](),
  };
}
