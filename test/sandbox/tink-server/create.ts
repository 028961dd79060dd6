/**
 * What a person does at the provisioner with `tink hardware push`, `tink template create` and
 * `tink workflow create`.
 */
import { randomUUID } from 'node:crypto';
import { isIPv4 } from 'node:net';
import { status } from '@grpc/grpc-js';
import { z } from 'zod';
import { parseTemplate, render, type TemplateRules } from '../template.ts';
import * as currentApi from './current.ts';
import { RpcFailure } from './failure.ts';
import * as kubernetes from './kubernetes.ts';
import { findWorkflow, type Records, type WorkflowRecord } from './records.ts';

/**
 * What the server takes from the JSON of `tink hardware push`; everything else in it is for other
 * services.
 */
const hardwareSchema = z.object({
  id: z.uuid(),
  network: z.object({
    interfaces: z.array(
      z.object({
        dhcp: z.object({
          mac: z.string().toLowerCase(),
          ip: z.object({ address: z.string() }).optional(),
        }),
      }),
    ),
  }),
});

/**
 * @param json as `tink hardware push` takes it. Replaces hardware of the same id.
 * @returns its id.
 */
export function pushHardware(records: Records, json: unknown): string {
  const { id, network } = hardwareSchema.parse(json);
  const macs = network.interfaces.map(({ dhcp }) => dhcp.mac);
  const addresses = network.interfaces.flatMap(({ dhcp }) => (dhcp.ip ? [dhcp.ip.address] : []));
  records.hardware = records.hardware.filter((known) => known.id !== id);
  records.hardware.push({ id: id.toLowerCase(), macs, addresses });
  return id;
}

/**
 * @param data YAML with variables; looked at only when a workflow is made of it.
 * @returns the template's id.
 */
export function createTemplate(records: Records, name: string, data: string): string {
  if (!/^[a-zA-Z0-9_-]{0,200}$/.test(name)) {
    throw new RpcFailure(status.ABORTED, `pq: template name "${name}" violates check constraint`);
  }
  const id = randomUUID();
  records.templates.push({ id, name, data });
  return id;
}

export interface CreateWorkflowOptions {
  readonly templateId: string;
  /** JSON object: the values of the template's variables. */
  readonly values: string;
  readonly rules: TemplateRules;
  /**
   * Where the workflow lives: it decides what a worker's name is and what the workflow's id looks
   * like.
   */
  readonly store: WorkflowStore;
}

/**
 * `kubernetes`: v0.7.0 to v0.10.0, whose workflows are called by their name;
 * `kubernetes-namespaced`: v0.10.1 to v0.12.2, by namespace and name; `kubernetes-status`: v0.17
 * and later, whose tasks and actions have ids of their own.
 */
export type WorkflowStore = 'postgres' | 'kubernetes' | 'kubernetes-namespaced' | 'kubernetes-status';

/**
 * @returns the workflow's id.
 * @throws {TemplateError} the template is not valid; {@link RpcFailure} something it names does not
 *   exist.
 */
export function createWorkflow(records: Records, options: CreateWorkflowOptions): string {
  const template = records.templates.find(({ id }) => id === options.templateId);
  if (!template) throw new RpcFailure(status.ABORTED, `template ${options.templateId} does not exist`);
  const values = z.record(z.string(), z.string()).parse(JSON.parse(options.values));
  const rendered = render(template.data, values, options.rules);
  const actions = parseTemplate(rendered, options.rules).tasks.flatMap((task) => {
    const workerId = options.store === 'postgres' ? findWorker(records, task.worker) : task.worker;
    return task.actions.map(({ timeoutSeconds, ...action }) => ({
      ...action,
      // On Kubernetes the two commands are read from the template and never given to a worker.
      ...(options.store !== 'postgres' && { onTimeout: [], onFailure: [] }),
      taskName: task.name,
      workerId,
      timeout: timeoutSeconds,
    }));
  });
  const now = new Date().toISOString();
  const id = makeId(template.name, options.store);
  records.workflows.push({
    id,
    templateId: template.id,
    values: options.values,
    rendered,
    createdAt: now,
    updatedAt: now,
    actions,
    current: start(actions, options.store),
    ...(options.store === 'kubernetes-status' && { status: currentApi.newStatus(actions) }),
    events: [],
    data: [],
  });
  return id;
}

/** The workflow's history stays; workers find nothing of it any more. */
export function deleteWorkflow(records: Records, id: string): void {
  const workflow = findWorkflow(records, id);
  if (workflow) workflow.deletedAt = new Date().toISOString();
}

function makeId(name: string, store: WorkflowStore): string {
  if (store === 'postgres') return randomUUID();
  const resource = `${name}-${randomUUID().slice(0, 8)}`;
  return store === 'kubernetes' ? resource : `tink-system/${resource}`;
}

function start(actions: WorkflowRecord['actions'], store: WorkflowStore): WorkflowRecord['current'] {
  const nothing = { workerId: '', taskName: '', actionName: '' };
  const [first] = actions;
  return { ...(store !== 'postgres' && first ? kubernetes.names(first) : nothing), index: 0, progress: 'PENDING' };
}

/**
 * @param worker MAC or IPv4 address of a machine that was pushed.
 * @returns the machine's id.
 */
function findWorker(records: Records, worker: string): string {
  const isMac = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(worker);
  if (!isMac && !isIPv4(worker)) throw new RpcFailure(status.UNKNOWN, `invalid worker address: ${worker}`);
  const machine = records.hardware.find(({ macs, addresses }) =>
    isMac ? macs.includes(worker.toLowerCase()) : addresses.includes(worker),
  );
  if (!machine) throw new RpcFailure(status.UNKNOWN, `no hardware has the address ${worker}`);
  return machine.id;
}
