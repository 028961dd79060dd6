import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import type { TemplateData } from '../../../agent/template/render.ts';

const texts = z.array(z.string()).nullable();
const variables = z.record(z.string(), z.string()).nullable();

const action = z.object({
  name: z.string(),
  image: z.string(),
  timeout: z.number(),
  command: texts,
  onTimeout: texts,
  onFailure: texts,
  volumes: texts,
  environment: variables,
  pid: z.string(),
});

const task = z.object({
  name: z.string(),
  worker: z.string(),
  volumes: texts,
  environment: variables,
  actions: z.array(action).nullable(),
});

const rendering = z.object({
  group: z.enum(['syntax', 'functions', 'errors', 'templates']),
  template: z.string(),
  /** Absent where Go refuses the template. */
  text: z.string().optional(),
  /** Go's message. */
  error: z.string().optional(),
  /** What yaml.v3 decodes the text of a whole workflow into, unless it refuses it. */
  workflow: z.object({ name: z.string(), globalTimeout: z.number(), tasks: z.array(task).nullable() }).optional(),
});

const renderings = z.object({ functions: z.array(z.string()), renderings: z.array(rendering) });

export type Rendering = z.output<typeof rendering>;
export type DecodedTask = z.output<typeof task>;

const folder = join(import.meta.dirname, 'reference');

/** What Go makes of the templates in reference/cases, as `reference/main.go` has written it. */
export async function readRenderings(): Promise<z.output<typeof renderings>> {
  return renderings.parse(JSON.parse(await readFile(join(folder, 'renderings.json'), 'utf8')));
}

/** What the templates are filled in with. */
export async function readReferenceData(): Promise<TemplateData> {
  const file = z
    .object({ variables: z.record(z.string(), z.string()), hardware: z.string() })
    .parse(parse(await readFile(join(folder, 'data.yaml'), 'utf8')));
  const path = join(folder, file.hardware);
  return { variables: file.variables, hardware: { path, content: await readFile(path, 'utf8') } };
}
