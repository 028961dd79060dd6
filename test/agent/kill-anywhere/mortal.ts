/**
 * An agent that kills itself: the real loop, journal and transport, with a runtime that keeps a ledger. Every port is wrapped, so that the product needs to know
 * nothing of this.
 */
import { join } from 'node:path';
import { runAgent } from '../../../agent/agent.ts';
import { type Journal, openJournal } from '../../../agent/journal.ts';
import { createLog } from '../../../agent/log/log.ts';
import { createRedactor } from '../../../agent/log/redact.ts';
import type { Power } from '../../../agent/power/power.ts';
import type { Runtime } from '../../../agent/runtime/runtime.ts';
import { createServerTransport } from '../../../agent/transport/grpc/server.ts';
import type { Transport } from '../../../agent/transport/transport.ts';
import { Ledger } from '../../sandbox/ledger.ts';
import { createLedgerRuntime } from '../../sandbox/ledger-runtime.ts';
import { BAD, EXIT, type MortalSettings, mortalSettings } from './settings.ts';

/** Tells that the agent comes past a point; may not return. */
type Pass = (point: string) => void;

async function main(settings: MortalSettings): Promise<void> {
  const { directory, interrupted, kill } = settings;
  const ledger = new Ledger(join(directory, 'ledger'));
  const pass = createPass(settings, ledger);
  if (kill?.kind === 'moment') setTimeout(() => die(ledger, 'any moment'), kill.milliseconds);
  const journal = await openJournal(directory, (message) => {
    throw new Error(message);
  });
  const redactor = createRedactor();
  const parts = {
    transport: watchTransport(createServerTransport({ ...settings, rpcTimeoutSeconds: 20 }), pass),
    runtime: watchRuntime(
      createLedgerRuntime({
        ledger,
        courseOf: ({ name }) => ({ milliseconds: 10, exitCode: name.startsWith(BAD) ? 3 : 0 }),
        onStep: (step) => pass(`container ${step}`),
      }),
      pass,
    ),
    journal: watchJournal(journal, ledger, pass),
    power: createLedgerPower(journal, ledger, pass),
    log: createLog({ level: 'info', format: 'text', redactor, write: (line) => process.stdout.write(line) }),
    ...{ redactor, interrupted, finish: 'reboot' as const, pollSeconds: 0.01, maxBackoffSeconds: 0.05 },
  };
  await runAgent(parts, new AbortController().signal);
}

function createPass({ kill }: MortalSettings, ledger: Ledger): Pass {
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

/** Ends the process when the server has said three times in a row that there is nothing to do: then nothing will come any more. */
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
    release: (action) => between(pass, 'runtime.release', () => runtime.release(action)),
  };
}

function watchJournal(journal: Journal, ledger: Ledger, pass: Pass): Journal {
  return {
    started: (action, at) => between(pass, 'journal.started', () => journal.started(action, at)),
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

/** A machine whose restart takes all its containers away. */
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

void main(mortalSettings.parse(JSON.parse(process.argv[2] ?? '{}')));
