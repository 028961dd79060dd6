import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AgentDependencies, runAgent } from './agent.ts';
import { openJournal } from './journal.ts';
import { type Power, PowerError } from './power/power.ts';
import type { FileConfig } from './settings/config.ts';

export interface TemplateDependencies
  extends Pick<AgentDependencies, 'runtime' | 'log' | 'redactor' | 'observe'>,
    Required<Pick<AgentDependencies, 'clock'>> {
  /** Takes each event of the workflow, one line of JSON. */
  readonly onEvent: (line: string) => void;
}

/**
 * Runs the workflow of a template to its end. The journal is a temporary one, and the machine keeps
 * running: the machine's own agent and its work are not touched.
 *
 * @returns whether all actions succeeded
 * @throws {TemplateError} the template cannot be used
 */
export async function runTemplate(
  config: FileConfig,
  dependencies: TemplateDependencies,
  signal: AbortSignal,
): Promise<boolean> {
  const { log, clock, redactor, onEvent } = dependencies;
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-'));
  await using journal = await openJournal(directory.path, (message) => log.error(message), clock);
  const { openTemplate } = await import('./transport/file/file.ts');
  const { redact } = redactor;
  await using transport = await openTemplate({
    ...config,
    clock,
    redact,
    onWarning: (text) => log.warn(text),
    onEvent,
  });
  const end = new AbortController();
  const ended = transport.ended.then((verdict) => {
    end.abort(new Error(`the workflow has ended: ${verdict}`));
    return verdict;
  });
  await runAgent(
    { ...config, ...dependencies, transport, journal, power: noPower, finish: 'none' },
    AbortSignal.any([signal, end.signal]),
  );
  return end.signal.aborted && (await ended) === 'SUCCESS';
}

/** The machine on which a template is tried keeps running. */
const noPower: Power = {
  rebootRequested: async () => false,
  finish: (how) =>
    Promise.reject(new PowerError({ what: how, target: 'the machine', why: 'it runs a template from a file' })),
};
