import type { LoadedSettings } from '../settings/config.ts';
import { missingSettings, serverOf } from '../settings/config.ts';
import { type Finding, finding } from './finding.ts';

/** Values that are not used, and what the agent cannot start without. */
export function checkSettings({ config, warnings }: LoadedSettings): Finding[] {
  const ignored = warnings.map((warning) => finding('settings', 'warning', warning, { advice: correct }));
  const missing = missingSettings(config).map((problem) => {
    const [what = '', advice = ''] = problem.split(/: (.*)/s);
    return finding('settings', 'error', what, { advice });
  });
  if (missing.length > 0) return [...ignored, ...missing];
  const server = config.transport === 'file' ? `template ${config.template}` : `server ${serverOf(config)}`;
  const worker = config.workerId === undefined ? '' : `worker ${config.workerId}, `;
  return [...ignored, finding('settings', 'ok', `${worker}${server}`)];
}

const correct = 'correct the value, or remove it; "tink-agent explain" shows the value in force';
