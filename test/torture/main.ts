/**
 * `make torture SECTION=name`: one of the sections below. Each prints a table, and ends with exit
 * code 1 after a violation. Settings are environment variables: those of a section are at the head
 * of its file, and for all of them:
 *
 * - `SEED`: of the first run. Default: 1.
 * - `TORTURE_JSON`: file with a list of rows in JSON. Rows of the same section are replaced.
 */
import { z } from 'zod';
import { type RunSection, saveRows, settingsFrom } from './section.ts';

const sections: Readonly<Record<string, () => Promise<RunSection>>> = {
  agent: async () => (await import('./simulation.ts')).runSimulation,
  installer: async () => (await import('./installer/section.ts')).runInstallerFaults,
  'agent-faults': async () => (await import('./agent-faults.ts')).runAgentFaults,
  load: async () => (await import('./load/section.ts')).runLoad,
  soak: async () => (await import('./soak.ts')).runSoak,
  fuzz: async () => (await import('../fuzz/section.ts')).runFuzz,
  demo: async () => (await import('./demo.ts')).runDemos,
};

const { SECTION: name, TORTURE_JSON: path } = settingsFrom({
  SECTION: z.string().default('agent'),
  TORTURE_JSON: z.string().optional(),
});
const load = sections[name];
if (load === undefined) throw new Error(`no section ${name}; there are ${Object.keys(sections).join(', ')}`);
const run = await load();
const rows = await run();
if (path !== undefined) await saveRows(path, rows);
// What did not end in a run that is a violation has sockets still.
process.exit(rows.some(({ violations }) => violations > 0) ? 1 : 0);
