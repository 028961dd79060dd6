/** What the played server knows, and the file that keeps it across restarts. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { z } from 'zod';

const progress = z.enum(['PENDING', 'RUNNING', 'FAILED', 'TIMEOUT', 'SUCCESS']);

const hardware = z.object({ id: z.string(), macs: z.array(z.string()), addresses: z.array(z.string()) });

const template = z.object({ id: z.string(), name: z.string(), data: z.string() });

const action = z.object({
  taskName: z.string(),
  name: z.string(),
  workerId: z.string(),
  image: z.string(),
  timeout: z.number(),
  command: z.array(z.string()),
  onTimeout: z.array(z.string()),
  onFailure: z.array(z.string()),
  volumes: z.array(z.string()),
  environment: z.array(z.string()),
  pid: z.string(),
  network: z.string().default(''),
});

const event = z.object({
  workflowId: z.string(),
  workerId: z.string(),
  taskName: z.string(),
  actionName: z.string(),
  progress,
  seconds: z.number(),
  message: z.string(),
  createdAt: z.iso.datetime(),
});

/** The status of a workflow as v0.17 and later keep it. */
const status = z.object({
  state: z.enum([...progress.options, 'POST']),
  /** The action that was given or reported last, with the state it had then. */
  current: z.object({ actionId: z.string(), state: progress }).optional(),
  /** In the order of `workflow.actions`. */
  actions: z.array(
    z.object({
      id: z.string(),
      taskId: z.string(),
      state: progress,
      executionStart: z.string().nullable(),
      executionStop: z.string().nullable(),
      executionDuration: z.string(),
      message: z.string(),
    }),
  ),
});

const workflow = z.object({
  id: z.string(),
  templateId: z.string(),
  /** The values of the template's variables, as JSON. */
  values: z.string(),
  /** The template with its variables filled in. */
  rendered: z.string(),
  createdAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
  deletedAt: z.iso.datetime().optional(),
  actions: z.array(action),
  /** `actionName` is empty until the first report (PostgreSQL). */
  current: z.object({
    workerId: z.string(),
    taskName: z.string(),
    actionName: z.string(),
    index: z.number(),
    progress,
  }),
  events: z.array(event),
  /** Only of `current` servers. */
  status: status.optional(),
  /** Version n at index n − 1; a version that was dropped for its age is empty. */
  data: z.array(z.object({ data: z.string(), metadata: z.string() })),
});

const records = z.object({
  hardware: z.array(hardware),
  templates: z.array(template),
  /** In the order of their creation. */
  workflows: z.array(workflow),
});

export type Progress = z.infer<typeof progress>;
export type HardwareRecord = z.infer<typeof hardware>;
export type ActionRecord = z.infer<typeof action>;
export type EventRecord = z.infer<typeof event>;
export type WorkflowRecord = z.infer<typeof workflow>;
export type Records = z.infer<typeof records>;

/** @param path JSON file; need not exist. `undefined`: nothing is kept. */
export function loadRecords(path: string | undefined): Records {
  if (path === undefined) return { hardware: [], templates: [], workflows: [] };
  try {
    return records.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return loadRecords(undefined);
    throw new Error(`cannot read the state of the tink server from ${path}`, { cause: error });
  }
}

/**
 * Whole or not at all, and before any answer: whatever was answered is in the file when the process
 * is killed.
 */
export function saveRecords(path: string | undefined, content: Records): void {
  if (path === undefined) return;
  const partial = `${path}.partial`;
  writeFileSync(partial, JSON.stringify(content, null, 1));
  renameSync(partial, path);
}

/** The workflow, unless there is none or it was deleted. */
export function findWorkflow(content: Records, id: string): WorkflowRecord | undefined {
  return content.workflows.find((workflow) => workflow.id === id && workflow.deletedAt === undefined);
}
