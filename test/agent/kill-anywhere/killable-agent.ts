/**
 * An agent that kills itself: the real loop, journal and transport, with a runtime that keeps a
 * ledger. Every port is wrapped, so that the product needs to know nothing of this.
 */
import { join } from 'node:path';
import type { Journal } from '../../../agent/journal.ts';
import type { Power } from '../../../agent/power/power.ts';
import type { Runtime } from '../../../agent/runtime/runtime.ts';
import { createServerTransport } from '../../../agent/transport/grpc/server.ts';
import type { Transport } from '../../../agent/transport/transport.ts';
import { AgentMachine } from '../../sandbox/agent-under-test/agent-machine.ts';
import { Ledger } from '../../sandbox/ledger.ts';
import { createLedgerRuntime } from '../../sandbox/ledger-runtime.ts';
import { BAD, EXIT, type KillableAgentSettings, killableAgentSettings } from './settings.ts';

/** Called when the agent passes a point; may not return. */
type Pass = (point: string) => void;

async function main(settings: KillableAgentSettings): Promise<void> {
  const { directory, interrupted, kill } = settings;
  const ledger = new Ledger(join(directory, 'ledger'));
  const pass = createPass(settings, ledger);
  if (kill?.kind === 'moment') setTimeout(() => die(ledger, 'any moment'), kill.milliseconds);
  const runtime = createLedgerRuntime({
    ledger,
    courseOf: ({ name }) => ({ milliseconds: 10, exitCode: name.startsWith(BAD) ? 3 : 0 }),
    onStep: (step) => pass(`container ${step}`),
  });
  const machine = new AgentMachine({
    ...{ directory, interrupted, finish: 'reboot', pollSeconds: 0.01, maxBackoffSeconds: 0.05 },
    connect: () => watchTransport(createServerTransport({ ...settings, rpcTimeoutSeconds: 20 }), pass),
    runtime: () => watchRuntime(runtime, pass),
    wrapJournal: (journal) => watchJournal(journal, ledger, pass),
    power: ({ journal }) => createLedgerPower(journal, ledger, pass),
  });
  machine.onLine = (line) => process.stdout.write(`${line}\n`);
  await machine.start();
}

function createPass({ kill }: KillableAgentSettings, ledger: Ledger): Pass {
  const counts = new Map<string, number>();
  let passages = 0;
  return (point) => {
    passages += 1;
    const occurrence = (counts.get(point) ?? 0) + 1;
    counts.set(point, occurrence);
    if (kill?.kind === 'passage' && kill.passage === passages) die(ledger, point);
    if (kill?.kind === 'point' && kill.point === point && kill.occurrence === occurrence) die(ledger, point);
  };
}

function die(ledger: Ledger, point: string): void {
  ledger.append({ what: 'killed', point });
  process.kill(process.pid, 'SIGKILL');
}

async function between<Result>(pass: Pass, call: string, make: () => Promise<Result>): Promise<Result> {
  pass(`before ${call}`);
  const result = await make();
  pass(`after ${call}`);
  return result;
}

/** Ends the process after three idle polls in a row: then the server has no more work. */
function watchTransport(transport: Transport, pass: Pass): Transport {
  let idle = 0;
  return {
    async next(signal) {
      const next = await between(pass, 'transport.next', () => transport.next(signal));
      idle = next.kind === 'idle' && next.mayContinue !== true ? idle + 1 : 0;
      if (idle === 3) process.exit(EXIT.nothingToDo);
      return next;
    },
    report: (event, signal) => between(pass, `transport.report ${event.kind}`, () => transport.report(event, signal)),
    checkCancelled: (action, signal) => transport.checkCancelled(action, signal),
    [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
  };
}

function watchRuntime(runtime: Runtime, pass: Pass): Runtime {
  return {
    run: (action, signal) => between(pass, 'runtime.run', () => runtime.run(action, signal)),
    resume: (action, signal) => between(pass, 'runtime.resume', () => runtime.resume(action, signal)),
    discard: (action, signal) => runtime.discard(action, signal),
    release: (action) => between(pass, 'runtime.release', () => runtime.release(action)),
  };
}

function watchJournal(journal: Journal, ledger: Ledger, pass: Pass): Journal {
  return {
    started: (action, at) => between(pass, 'journal.started', () => journal.started(action, at)),
    stopping: (action) => journal.stopping(action),
    ended: (action, outcome) =>
      between(pass, 'journal.ended', async () => {
        ledger.append({ what: 'journalling', action: action.name });
        await journal.ended(action, outcome);
        ledger.append({ what: 'journalled', action: action.name });
      }),
    acknowledged: (action, done) => between(pass, 'journal.acknowledged', () => journal.acknowledged(action, done)),
    forget: (workflowId) => journal.forget(workflowId),
    compact: (workflowId) => between(pass, 'journal.compact', () => journal.compact(workflowId)),
    clearPowerAction: () => between(pass, 'journal.clearPowerAction', () => journal.clearPowerAction()),
    pendingReports: () => journal.pendingReports(),
    stateOf: (action) => journal.stateOf(action),
    powerActionPending: () => journal.powerActionPending(),
    [Symbol.asyncDispose]: () => journal[Symbol.asyncDispose](),
  };
}

/** A machine whose reboot removes all containers: the ledger runtime reads `restarted` so. */
function createLedgerPower(journal: Journal, ledger: Ledger, pass: Pass): Power {
  return {
    rebootRequested: () => between(pass, 'power.rebootRequested', async () => false),
    async finish() {
      pass('before power.finish');
      ledger.append({ what: 'restarted', unsent: journal.pendingReports().length });
      pass('after power.finish');
      process.exit(EXIT.restarted);
    },
  };
}

void main(killableAgentSettings.parse(JSON.parse(process.argv[2] ?? '{}')));
