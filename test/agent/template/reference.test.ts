import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { TemplateEngine } from '../../../agent/template/engine/engine.ts';
import { RenderError, TemplateError } from '../../../agent/template/problem.ts';
import { render, type TemplateData } from '../../../agent/template/render.ts';
import { readTemplate, type Task } from '../../../agent/template/template.ts';
import { type DecodedTask, type Rendering, readReferenceData, readRenderings } from './renderings.ts';

const { functions, renderings } = await readRenderings();

/** A template in the name of a test. */
function named({ template }: Rendering): string {
  return JSON.stringify(template.length > 90 ? `${template.slice(0, 90)}…` : template);
}

describe('Templates compared with Go', () => {
  let engine: TemplateEngine;
  let data: TemplateData;

  before(async () => {
    engine = await TemplateEngine.load();
    data = await readReferenceData();
  });

  test('compares at least 200 renderings, and each function', () => {
    assert.ok(renderings.length >= 200);
    const called = new Set(renderings.flatMap(({ template }) => template.match(/\w+/g) ?? []));
    assert.deepEqual(
      functions.filter((name) => !called.has(name)),
      [],
    );
  });

  test('stops a template that calls itself, at a depth of 1000 where a server has 100000', () => {
    assert.throws(
      () => render(engine, '{{ template "workflow-template" . }}', data),
      /exceeded maximum template depth \(1000\)$/,
    );
  });

  for (const rendering of renderings) {
    const { template, text, error, group } = rendering;
    if (error !== undefined) test(`refuses ${named(rendering)}`, () => assertRefused(engine, template, data, error));
    else test(`renders ${named(rendering)}`, () => assert.equal(render(engine, template, data).text, text));
    if (group === 'templates') test(`reads ${named(rendering)}`, () => assertRead(engine, data, rendering));
  }
});

/**
 * The error and its place must be Go's, whose column counts bytes from 0; ours counts UTF-16 units.
 */
function assertRefused(engine: TemplateEngine, template: string, data: TemplateData, error: string): void {
  assert.throws(
    () => render(engine, template, data),
    (thrown) => {
      assert.ok(thrown instanceof RenderError);
      const [, line, column, message = error] = /^template: [^:]*:(\d+):(?:(\d+):)? (.*)$/s.exec(error) ?? [];
      const reason = message.replace(/^executing "[^"]*" at <(.*?)>: /s, '$1: ');
      assert.ok(thrown.message.startsWith(reason), `${thrown.message} is not ${reason}`);
      const before = template.slice(0, thrown.offset).split('\n');
      if (line !== undefined && !message.startsWith('unexpected EOF')) assert.equal(before.length, Number(line));
      if (column !== undefined) assert.equal(Buffer.byteLength(before.at(-1) ?? ''), Number(column));
      return true;
    },
  );
}

/** A workflow must be what Go's yaml.v3 decodes; or both must refuse it. */
function assertRead(engine: TemplateEngine, data: TemplateData, { template, workflow }: Rendering): void {
  // The controller's own rules for what it has decoded.
  const isUsable = workflow !== undefined && workflow.name !== '' && (workflow.tasks ?? []).length > 0;
  if (!isUsable) {
    assert.throws(() => readTemplate(engine, template, data, 't'), TemplateError);
    return;
  }
  const read = readTemplate(engine, template, data, 't').template;
  assert.equal(read.name, workflow.name);
  assert.equal(read.globalTimeoutSeconds, workflow.globalTimeout);
  assert.deepEqual(read.tasks, workflow.tasks?.map(asTask));
}

/** What the controller makes of a task. */
function asTask(task: DecodedTask): Task {
  const actions = (task.actions ?? []).map(({ timeout, pid, environment, volumes, ...action }) => ({
    ...{ name: action.name, image: action.image, timeoutSeconds: timeout, pidMode: pid || undefined },
    ...{ command: action.command ?? [], onTimeout: action.onTimeout ?? [], onFailure: action.onFailure ?? [] },
    networkMode: undefined,
    volumes: [...(task.volumes ?? []), ...(volumes ?? [])],
    environment: Object.entries({ ...task.environment, ...environment })
      .map(([name, value]) => `${name}=${value}`)
      .sort(),
  }));
  return { name: task.name, worker: task.worker, actions };
}
