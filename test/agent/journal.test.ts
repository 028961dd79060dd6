import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Action, Outcome, Verdict } from '../../agent/action/action.ts';
import { type Journal, JournalError, openJournal } from '../../agent/journal.ts';
import { fileSystem, type JournalStorage } from '../../agent/journal-storage.ts';
import { systemClock } from '../../clock/system.ts';

let directory: string;
const file = () => join(directory, 'journal.jsonl');

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-journal-'));
});

afterEach(() => rm(directory, { recursive: true }));

function actionOf(workflowId: string, id: string): Action {
  return {
    workflowId,
    taskName: 'task',
    name: `action ${id}`,
    id,
    workerId: 'worker',
    image: 'image',
    registryPrefix: 'always',
    sharesDirectory: true,
    command: ['sh', '-c', 'echo command-canary'],
    environment: ['TOKEN=environment-canary'],
    volumes: ['/dev:/dev'],
    timeoutSeconds: 5,
    pidMode: undefined,
    networkMode: undefined,
    onTimeout: [],
    onFailure: [],
  };
}

function outcomeOf(verdict: Verdict): Outcome {
  return {
    verdict,
    message: `it ended: ${verdict}`,
    startedAt: new Date(1_600_000_000_000),
    endedAt: new Date(1_600_000_005_000),
  };
}

const noDamage = (message: string) => assert.fail(`unexpected damage: ${message}`);

/** What the agent would find if it were killed now and started again. */
async function reopened<T>(look: (journal: Journal) => T): Promise<T> {
  const copy = await mkdtemp(join(tmpdir(), 'nibs-journal-'));
  try {
    await cp(directory, copy, { recursive: true });
    await using journal = await openJournal(copy, noDamage);
    return look(journal);
  } finally {
    await rm(copy, { recursive: true });
  }
}

const first = actionOf('w1', '0');
const second = actionOf('w1', '1');
const at = new Date();

describe('what is known after a restart', () => {
  test('an action that was never mentioned is unknown', async () => {
    assert.deepEqual(await reopened((journal) => journal.stateOf(first)), { kind: 'unknown' });
  });

  test('an action that started and did not end is started', async () => {
    await using journal = await openJournal(directory, noDamage);
    await journal.started(first, at);
    assert.deepEqual(await reopened((journal) => journal.stateOf(first)), { kind: 'started', wasStopped: false });
    assert.deepEqual(await reopened((journal) => journal.stateOf(second)), { kind: 'unknown' });
    assert.deepEqual(await reopened((journal) => journal.pendingReports()), []);
  });

  test('an action whose container was about to be stopped is marked so until it starts again', async () => {
    await using journal = await openJournal(directory, noDamage);
    const action = actionOf('w', '0');
    const wasStopped = (of: Journal) => {
      const state = of.stateOf(action);
      return state.kind === 'started' && state.wasStopped;
    };
    await journal.started(action, new Date());
    assert.equal(wasStopped(journal), false);
    await journal.stopping(action);
    assert.equal(await reopened(wasStopped), true);
    await journal.compact(undefined);
    assert.equal(await reopened(wasStopped), true);
    await journal.started(action, new Date());
    assert.equal(await reopened(wasStopped), false);
  });

  test('an action that ended is unsent until it is acknowledged, and ended afterwards, too', async () => {
    await using journal = await openJournal(directory, noDamage);
    const outcome = outcomeOf('FAILED');
    await journal.started(first, at);
    await journal.ended(first, outcome);
    const unsent = await reopened((journal) => journal.pendingReports());
    assert.equal(unsent.length, 1);
    assert.deepEqual(unsent[0]?.outcome, outcome);
    assert.equal(unsent[0]?.action.name, first.name);
    assert.equal(unsent[0]?.action.workerId, first.workerId);
    await journal.acknowledged(first, false);
    assert.deepEqual(await reopened((journal) => journal.pendingReports()), []);
    const state = { kind: 'ended', outcome, isSettled: false };
    assert.deepEqual(await reopened((journal) => journal.stateOf(first)), state);
  });

  test('unsent ends come in the order in which they happened', async () => {
    await using journal = await openJournal(directory, noDamage);
    await journal.started(second, at);
    await journal.started(first, at);
    await journal.ended(first, outcomeOf('SUCCESS'));
    await journal.ended(second, outcomeOf('SUCCESS'));
    assert.deepEqual(await reopened((journal) => journal.pendingReports().map(({ action }) => action.id)), ['0', '1']);
  });

  test('an action of the same id in another workflow is another action', async () => {
    await using journal = await openJournal(directory, noDamage);
    await journal.ended(first, outcomeOf('SUCCESS'));
    assert.deepEqual(await reopened((journal) => journal.stateOf(actionOf('w2', '0'))), { kind: 'unknown' });
  });

  test('an end that is recorded again is to be reported again', async () => {
    await using journal = await openJournal(directory, noDamage);
    await journal.ended(first, outcomeOf('SUCCESS'));
    await journal.acknowledged(first, false);
    await journal.ended(first, outcomeOf('SUCCESS'));
    assert.equal((await reopened((journal) => journal.pendingReports())).length, 1);
  });

  test('a forgotten workflow is unknown', async () => {
    await using journal = await openJournal(directory, noDamage);
    await journal.ended(first, outcomeOf('SUCCESS'));
    await journal.forget('w1');
    assert.deepEqual(await reopened((journal) => journal.stateOf(first)), { kind: 'unknown' });
    assert.deepEqual(await reopened((journal) => journal.pendingReports()), []);
  });
});

describe('the end of the work', () => {
  test('a finish is due from the acknowledgement of the last action until it is finished, settled or not', async () => {
    await using journal = await openJournal(directory, noDamage);
    assert.equal(journal.powerActionPending(), false);
    await journal.ended(first, outcomeOf('SUCCESS'));
    assert.equal(journal.powerActionPending(), false);
    await journal.acknowledged(first, true);
    assert.equal(await reopened((journal) => journal.powerActionPending()), true);
    await journal.compact(undefined);
    assert.equal(journal.powerActionPending(), true);
    assert.equal(await reopened((journal) => journal.powerActionPending()), true);
  });

  test('clearPowerAction() ends it', async () => {
    await using journal = await openJournal(directory, noDamage);
    await journal.ended(first, outcomeOf('SUCCESS'));
    await journal.acknowledged(first, true);
    await journal.clearPowerAction();
    assert.equal(await reopened((journal) => journal.powerActionPending()), false);
  });

  test('a failure of a later workflow revokes it', async () => {
    await using journal = await openJournal(directory, noDamage);
    await journal.ended(first, outcomeOf('SUCCESS'));
    await journal.acknowledged(first, true);
    await journal.ended(actionOf('w2', '0'), outcomeOf('TIMEOUT'));
    assert.equal(await reopened((journal) => journal.powerActionPending()), false);
  });
});

describe('compact()', () => {
  test('settles acknowledged workflows except the current one, and shortens the file', async () => {
    await using journal = await openJournal(directory, noDamage);
    const current = actionOf('w2', '0');
    for (const action of [first, second, current]) {
      await journal.started(action, at);
      await journal.ended(action, outcomeOf('SUCCESS'));
      await journal.acknowledged(action, false);
    }
    const before = (await stat(file())).size;
    await journal.compact('w2');
    const after = (await stat(file())).size;
    assert.ok(after < before);
    const isSettled = (of: Journal, action: Action) => {
      const state = of.stateOf(action);
      return state.kind === 'ended' && state.isSettled;
    };
    assert.equal(await reopened((journal) => isSettled(journal, first)), true);
    assert.equal(await reopened((journal) => isSettled(journal, current)), false);
    assert.deepEqual(await reopened((journal) => journal.pendingReports()), []);
    await journal.compact(undefined);
    assert.ok((await stat(file())).size < after);
    assert.equal(await reopened((journal) => isSettled(journal, current)), true);
  });

  test('remembers the results of what is settled, the latest ones, and no power action follows from them', async () => {
    await using journal = await openJournal(directory, noDamage);
    for (let id = 0; id < 300; id += 1) {
      const action = actionOf(`w${id}`, '0');
      await journal.started(action, at);
      await journal.ended(action, outcomeOf('SUCCESS'));
      await journal.acknowledged(action, true);
    }
    await journal.compact(undefined);
    await journal.clearPowerAction();
    const [oldest, latest] = [actionOf('w0', '0'), actionOf('w299', '0')];
    assert.equal(journal.stateOf(oldest).kind, 'unknown');
    const settled = { kind: 'ended', outcome: outcomeOf('SUCCESS'), isSettled: true };
    assert.deepEqual(await reopened((of) => of.stateOf(latest)), settled);
    assert.ok((await stat(file())).size < 100_000);

    // The server asks for it again.
    await journal.ended(latest, outcomeOf('SUCCESS'));
    assert.equal(await reopened((of) => of.pendingReports().length), 1);
    await journal.acknowledged(latest, true);
    assert.equal(journal.powerActionPending(), false);
    assert.deepEqual(await reopened((of) => of.stateOf(latest)), settled);
    assert.equal(await reopened((of) => of.powerActionPending()), false);
  });

  test('keeps a workflow with an end that is not acknowledged, and one with an action that did not end', async () => {
    await using journal = await openJournal(directory, noDamage);
    await journal.ended(first, outcomeOf('SUCCESS'));
    await journal.acknowledged(first, false);
    await journal.ended(second, outcomeOf('SUCCESS'));
    await journal.started(actionOf('w3', '0'), at);
    await journal.compact(undefined);
    assert.equal(journal.stateOf(first).kind, 'ended');
    assert.equal(journal.pendingReports().length, 1);
    assert.equal(journal.stateOf(actionOf('w3', '0')).kind, 'started');
  });

  test('what is recorded afterwards is not lost', async () => {
    await using journal = await openJournal(directory, noDamage);
    await journal.ended(first, outcomeOf('SUCCESS'));
    await journal.acknowledged(first, false);
    await journal.compact(undefined);
    await journal.started(second, at);
    assert.equal(await reopened((journal) => journal.stateOf(second).kind), 'started');
  });
});

test('records after a compaction that failed once the new file was in place are in the new file', async () => {
  let fails = false;
  const storage: JournalStorage = {
    ...fileSystem,
    async syncDirectory(path) {
      if (fails) throw new Error('EIO: i/o error');
      await fileSystem.syncDirectory(path);
    },
  };
  await using journal = await openJournal(directory, noDamage, systemClock, storage);
  await journal.ended(first, outcomeOf('SUCCESS'));
  await journal.acknowledged(first, true);
  fails = true;
  await assert.rejects(journal.compact(undefined), /EIO/);
  fails = false;
  const current = actionOf('w2', '0');
  await journal.ended(current, outcomeOf('SUCCESS'));
  assert.deepEqual(await reopened((journal) => journal.stateOf(current).kind), 'ended');
});

describe('damage', () => {
  test('a torn last line at every length is cut off, and the journal goes on', async () => {
    await using journal = await openJournal(directory, noDamage);
    await journal.started(first, at);
    const whole = (await stat(file())).size;
    await journal.ended(first, outcomeOf('SUCCESS'));
    const content = await readFile(file());
    for (let length = whole + 1; length < content.length; length += 1) {
      await writeFile(file(), content.subarray(0, length));
      await using after = await openJournal(directory, noDamage);
      // All but the line end was written: then the end is known, which is as good.
      assert.equal(after.stateOf(first).kind, length === content.length - 1 ? 'ended' : 'started', `${length} bytes`);
      await after.started(second, at);
      assert.equal(await reopened((journal) => journal.stateOf(second).kind), 'started');
    }
  });

  test('a damaged line is passed over, reported, and kept aside', async () => {
    {
      await using journal = await openJournal(directory, noDamage);
      await journal.started(first, at);
      await journal.ended(first, outcomeOf('SUCCESS'));
      await journal.started(second, at);
    }
    const lines = (await readFile(file(), 'utf8')).split('\n');
    const damaged = [lines[0], '{"record":"ended","act\0\0\0', lines[1], '{"record":"dance"}', lines[2], ''].join('\n');
    await writeFile(file(), damaged);
    const messages: string[] = [];
    await using journal = await openJournal(directory, (message) => messages.push(message));
    assert.equal(messages.length, 1);
    assert.match(messages[0] ?? '', /damaged in line 2, 4; it is kept as .*journal\.jsonl\.damaged-\d+/);
    assert.equal(journal.stateOf(first).kind, 'ended');
    assert.equal(journal.stateOf(second).kind, 'started');
    const aside = (await readdir(directory)).find((name) => name.includes('damaged'));
    assert.equal(await readFile(join(directory, aside ?? ''), 'utf8'), damaged);
    assert.deepEqual(
      await reopened((journal) => journal.pendingReports().length),
      1,
      'the second time nothing is damaged',
    );
  });

  test('a file of noise is kept aside and the journal begins anew', async () => {
    await writeFile(file(), Buffer.from(Array.from({ length: 4096 }, (_, index) => (index * 7919) % 256)));
    const messages: string[] = [];
    await using journal = await openJournal(directory, (message) => messages.push(message));
    assert.equal(messages.length, 1);
    await journal.started(first, at);
    assert.equal(journal.stateOf(first).kind, 'started');
  });

  test('an empty file is an empty journal', async () => {
    await writeFile(file(), '');
    assert.deepEqual(await reopened((journal) => journal.pendingReports()), []);
  });
});

test('the journal holds neither the command nor the environment of an action, and only its owner can read it', async () => {
  await using journal = await openJournal(join(directory, 'made/anew'), noDamage);
  await journal.started(first, at);
  await journal.ended(first, outcomeOf('SUCCESS'));
  const path = join(directory, 'made/anew/journal.jsonl');
  assert.doesNotMatch(await readFile(path, 'utf8'), /canary/);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

test('openJournal() reads no file through a link', async () => {
  const theirs = join(directory, 'theirs');
  await writeFile(theirs, '');
  await symlink(theirs, file());
  await assert.rejects(openJournal(directory, noDamage), /it is a symbolic link/);
});

test('openJournal() says which file cannot be used', async () => {
  await writeFile(join(directory, 'file'), '');
  await assert.rejects(openJournal(join(directory, 'file/state'), noDamage), (error: unknown) => {
    assert.ok(error instanceof JournalError);
    assert.match(error.message, /cannot open the journal .*file\/state\/journal\.jsonl: ENOTDIR/);
    return true;
  });
});

test('a process that is killed while it writes loses at most the record it was writing', async () => {
  // Each number is printed when its record is synced: every printed one must be found.
  const program = `
    import { openJournal } from ${JSON.stringify(join(import.meta.dirname, '../../agent/journal.ts'))};
    const journal = await openJournal(process.argv[1], () => {});
    const action = (id) => ({ workflowId: 'w', taskName: 't', name: 'a'.repeat(2000), id: String(id), workerId: 'w', image: 'i' });
    for (let id = 0; ; id += 1) {
      await journal.started(action(id), new Date());
      await journal.ended(action(id), { verdict: 'SUCCESS', message: '', startedAt: new Date(), endedAt: new Date() });
      process.stdout.write(id + '\\n');
    }`;
  for (let round = 0; round < 3; round += 1) {
    const state = join(directory, `round${round}`);
    const child = spawn(process.execPath, ['--input-type=module', '-e', program, state], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let printed = '';
    for await (const chunk of child.stdout.setEncoding('utf8')) {
      printed += chunk;
      if (printed.split('\n').length > 10 + 7 * round) child.kill('SIGKILL');
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    const last = Number(printed.trimEnd().split('\n').at(-1));
    await using journal = await openJournal(state, noDamage);
    for (let id = 0; id <= last; id += 1)
      assert.equal(journal.stateOf({ ...first, workflowId: 'w', id: String(id) }).kind, 'ended', `${id} of ${last}`);
    assert.ok(journal.pendingReports().length <= last + 2);
  }
});
