/**
 * Small inputs that did large harm: what a server, a sender of lists or an image can send holds the
 * event loop for less than 50 ms, takes little memory, and /healthz answers meanwhile.
 */
import assert from 'node:assert/strict';
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { Server, ServerCredentials, type UntypedHandleCall } from '@grpc/grpc-js';
import { resolveUser } from '../../agent/runtime/containerd/spec/container-user.ts';
import { createServerTransport } from '../../agent/transport/grpc/server.ts';
import { ActionListError } from '../../agent/transport/nats/action-list.ts';
import { readList } from '../../agent/transport/nats/read-list.ts';
import { TransportError } from '../../agent/transport/transport.ts';
import { systemClock } from '../../clock/system.ts';
import { type WorkflowAction, WorkflowActionList, WorkflowContextList } from '../../proto/tink.pb.ts';
import { assertLoopIsFree } from '../sandbox/event-loop.ts';

const signal = new AbortController().signal;
const MiB = 1024 ** 2;

/**
 * A server whose answers are bytes.
 * @returns its authority
 */
async function serve(test: TestContext, service: string, answers: Readonly<Record<string, readonly Uint8Array[]>>) {
  const server = new Server({ 'grpc.max_send_message_length': -1 });
  test.after(() => server.forceShutdown());
  const asIs = {
    requestSerialize: asBuffer,
    requestDeserialize: asBuffer,
    responseSerialize: asBuffer,
    responseDeserialize: asBuffer,
  };
  for (const [method, messages] of Object.entries(answers)) {
    const responseStream = messages.length > 1;
    const definition = { path: `/${service}/${method}`, requestStream: false, responseStream, ...asIs };
    const unary: UntypedHandleCall = (_call: unknown, callback: (error: null, answer?: Uint8Array) => void) =>
      callback(null, messages[0]);
    const stream: UntypedHandleCall = (call: { write(message: Uint8Array): void; end(): void }) => {
      for (const message of messages) call.write(message);
      call.end();
    };
    server.addService({ [method]: definition }, { [method]: responseStream ? stream : unary });
  }
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
    error ? reject(error) : resolve(port),
  );
  return `127.0.0.1:${await promise}`;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** `count` empty messages as the repeated field 1. */
function emptyMessages(count: number): Uint8Array {
  return Buffer.alloc(2 * count, Buffer.of(0x0a, 0));
}

const context = (workflowId: string) => ({
  ...{ workflowId, currentWorker: 'w', currentTask: '', currentAction: '', currentActionIndex: 0 },
  ...{ currentActionState: 0, totalNumberOfActions: 1 },
});

const emptyAction: WorkflowAction = {
  ...{ taskName: '', name: '', image: '', timeout: 0, command: [], onTimeout: [], onFailure: [], workerId: '' },
  ...{ volumes: [], environment: [], pid: '' },
};

const oneWorkflow = WorkflowContextList.encode({ workflowContexts: [context('w1')] }).finish();

describe('a hostile image', () => {
  for (const [what, line] of [
    ['of empty lines', '\n'],
    ['of short lines', 'a\n'],
    ['of fields without an end', ':'],
    ['of members without an end', ','],
  ] as const) {
    test(`has lists of users and groups ${what}`, async () => {
      await using image = await mkdtempDisposable(join(tmpdir(), 'nibs-image-'));
      await mkdir(join(image.path, 'etc'));
      await writeFile(join(image.path, 'etc/passwd'), `ana:x:1:2\n${line.repeat(MiB / line.length - 100)}`);
      await writeFile(
        join(image.path, 'etc/group'),
        `all:x:3:${line.repeat(MiB / line.length - 100)}\nown:x:4:b,ana\n`,
      );
      await assertLoopIsFree(what, async () => {
        assert.deepEqual(await resolveUser('ana', image.path), { uid: 1, gid: 2, additionalGids: [4] });
      });
    });
  }
});

describe('a hostile tink server', () => {
  const dialect = 'v0.2';
  const service = 'github.com.tinkerbell.tink.protos.workflow.WorkflowService';

  async function refused(test: TestContext, answers: Readonly<Record<string, readonly Uint8Array[]>>, why: RegExp) {
    const authority = await serve(test, service, answers);
    const transport = createServerTransport({ authority, workerId: 'w', dialect, tls: false });
    await using _ = transport;
    // Loads what the first call needs.
    await transport.next(signal).catch(() => {});
    await assertLoopIsFree(String(why), async () => {
      await assert.rejects(
        transport.next(signal),
        (error) => error instanceof TransportError && why.test(error.message),
      );
    });
  }

  test('sends a million empty actions in 2 MiB', (test) =>
    refused(
      test,
      { GetWorkflowContextList: [oneWorkflow], GetWorkflowActions: [emptyMessages(MiB)] },
      /has more than 20000 fields/,
    ));

  test('sends an action with a million empty arguments', (test) => {
    const inside = Buffer.alloc(2 * MiB, Buffer.of(0x2a, 0));
    const length = Buffer.of(0x0a, 0x80, 0x80, 0x80, 0x01);
    const answers = { GetWorkflowContextList: [oneWorkflow], GetWorkflowActions: [Buffer.concat([length, inside])] };
    return refused(test, answers, /has more than 20000 fields/);
  });

  test('sends a message of more than 4 MiB', (test) =>
    refused(
      test,
      { GetWorkflowContextList: [oneWorkflow], GetWorkflowActions: [Buffer.alloc(5 * MiB)] },
      /larger than max \(\d+ vs\.? 4194304\)/,
    ));

  test('sends a name of 3 MiB', (test) => {
    const action = { ...emptyAction, name: 'n'.repeat(3 * MiB), workerId: 'w', image: 'i' };
    const GetWorkflowActions = [WorkflowActionList.encode({ actionList: [action] }).finish()];
    return refused(
      test,
      { GetWorkflowContextList: [oneWorkflow], GetWorkflowActions },
      /3145728 characters, more than 1024/,
    );
  });

  test('sends a secret of 3 MiB', (test) => {
    const action = { ...emptyAction, environment: [`TOKEN=${'line\n'.repeat(630_000)}`], workerId: 'w', image: 'i' };
    const GetWorkflowActions = [WorkflowActionList.encode({ actionList: [action] }).finish()];
    return refused(
      test,
      { GetWorkflowContextList: [oneWorkflow], GetWorkflowActions },
      /a variable of its environment has 3150006 bytes; a program can get 131071/,
    );
  });

  test('sends a name of 3 MiB of an action for another worker', async (test) => {
    const action = { ...emptyAction, name: 'n\u009b31m'.repeat(MiB / 2), workerId: 'another' };
    const GetWorkflowActions = [WorkflowActionList.encode({ actionList: [action] }).finish()];
    const authority = await serve(test, service, { GetWorkflowContextList: [oneWorkflow], GetWorkflowActions });
    await using transport = createServerTransport({ authority, workerId: 'w', dialect, tls: false });
    await transport.next(signal);
    await assertLoopIsFree('name', async () => {
      const next = await transport.next(signal);
      assert.ok(next.kind === 'idle' && next.reason.length <= 4000 && !next.reason.includes('\u009b'));
    });
  });
});

describe('a hostile sender of lists', () => {
  const options = { workerId: 'w', listId: 'l', source: 'list' };

  async function refused(name: string, text: string, why: RegExp) {
    await assertLoopIsFree(name, async () => {
      await assert.rejects(
        readList(text, options, systemClock, signal),
        (error) => error instanceof ActionListError && why.test(error.message),
      );
    });
  }

  test('sends as many aliases as fit', () =>
    refused('aliases', `- &a {image: x, name: b}\n${'- *a\n'.repeat(2000)}`, /2001 actions, more than 1000/));

  test('sends merges of merges of merges', () => {
    const level = (index: number) =>
      `a${index}: &a${index} {<<: [${Array(9)
        .fill(`*a${index - 1}`)
        .join(', ')}]}\n`;
    const levels = Array.from({ length: 9 }, (_, index) => level(index + 1)).join('  ');
    return refused('merges', `- a0: &a0 {image: x}\n  ${levels}- *a9\n`, /more than 100000 values/);
  });

  test('sends a text behind many aliases', () =>
    refused(
      'texts',
      `- &a {image: x, cmd: ${'x'.repeat(100_000)}}\n${'- *a\n'.repeat(999)}`,
      /more than 4194304 characters/,
    ));

  test('sends thousands of keys that mean nothing', async () => {
    const text = `- image: x\n${Array.from({ length: 2000 }, (_, index) => `  k${index}: 1\n`).join('')}`;
    await assertLoopIsFree('keys', async () => {
      const { warnings } = await readList(text, options, systemClock, signal);
      assert.deepEqual([warnings.length, warnings.at(-1)], [21, 'list: 1980 more of these']);
    });
  });
});
