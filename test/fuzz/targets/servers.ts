/** Answers of tink servers of all protocol versions, as bytes. */
import { status } from '@grpc/grpc-js';
import fc from 'fast-check';
import type { Action, Event } from '../../../agent/action/action.ts';
import { type RpcChannel, RpcError } from '../../../agent/transport/grpc/channel.ts';
import { createCurrentTransport } from '../../../agent/transport/grpc/current.ts';
import { detectDialect } from '../../../agent/transport/grpc/detect.ts';
import type { Dialect } from '../../../agent/transport/grpc/dialect.ts';
import { createLegacyTransport } from '../../../agent/transport/grpc/legacy.ts';
import { TransportError } from '../../../agent/transport/transport.ts';
import { systemClock } from '../../../clock/system.ts';
import { BoundedReader } from '../../../net/grpc/bounded-reader.ts';
import { GrpcError } from '../../../net/grpc/grpc-error.ts';
import type { Method } from '../../../net/grpc/method.ts';
import { plainDetails } from '../../../net/grpc/plain-details.ts';
import { ActionResponse } from '../../../proto/agent.pb.ts';
import {
  GetWorkflowDataResponse,
  WorkflowActionList,
  WorkflowContext,
  WorkflowContextList,
} from '../../../proto/tink.pb.ts';
import { wordsOf } from '../inputs.ts';
import { require, type Target } from '../target.ts';

/** The answers follow each other, each behind two bytes with its length; 0xffff: an error. */
function answersIn(input: Buffer): () => Buffer | undefined {
  let offset = 0;
  return () => {
    const length = offset + 2 <= input.length ? input.readUInt16BE(offset) : 0;
    offset += 2;
    if (length === 0xffff) return undefined;
    const answer = input.subarray(offset, offset + length);
    offset += length;
    return answer;
  };
}

const maxFields = 20_000;
const maxMessages = 20;

/** Decodes as `Channel` and gRPC do: what cannot be decoded is a failed call. */
function channelOf(next: () => Buffer | undefined): RpcChannel {
  function decode<Request, Response>(method: Method<Request, Response>, bytes: Buffer | undefined): Response {
    if (bytes === undefined) throw failure(method.name, status.UNIMPLEMENTED, 'unknown service');
    try {
      return method.responseType.decode(new BoundedReader(bytes, maxFields));
    } catch (error) {
      throw failure(method.name, status.INTERNAL, `Error deserializing: ${(error as Error).message}`);
    }
  }
  return {
    clock: systemClock,
    async call(_service, method, request) {
      method.requestType.encode(request).finish();
      return decode(method, next());
    },
    async collect(_service, method, request) {
      method.requestType.encode(request).finish();
      const messages = [decode(method, next())];
      for (let rest = next(); rest !== undefined && rest.length > 0 && messages.length < maxMessages; rest = next())
        messages.push(decode(method, rest));
      return messages;
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

function failure(method: string, code: status, details: string): RpcError {
  return new RpcError(method, 'server:1', new GrpcError(code, details));
}

const wireAction = {
  ...{ taskName: 't', name: 'a', image: 'quay.io/a/b', timeout: 60, command: ['a'], onTimeout: [], onFailure: [] },
  ...{ workerId: 'worker', volumes: ['/dev:/dev'], environment: ['A=b'], pid: 'host' },
};
const context = {
  ...{ workflowId: 'w', currentWorker: 'worker', currentTask: 't', currentAction: '', currentActionIndex: 0 },
  ...{ currentActionState: 0, totalNumberOfActions: 1 },
};
const response = {
  ...{ workflowId: 'w', taskId: 't', agentId: 'worker', actionId: '1', name: 'a', image: 'quay.io/a/b', timeout: 60 },
  ...{ command: ['a'], volumes: ['/dev:/dev'], environment: ['A=b'], pid: 'host' },
};
const list = WorkflowActionList.encode({
  actionList: [wireAction, { ...wireAction, name: 'b', timeout: -1 }],
}).finish();
const contexts = WorkflowContextList.encode({ workflowContexts: [context] }).finish();
const started = WorkflowContext.encode({ ...context, currentAction: 'a', currentActionState: 1 }).finish();

function sequence(...answers: readonly (Uint8Array | undefined)[]): Buffer {
  return Buffer.concat(
    answers.flatMap((answer) => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(answer?.length ?? 0xffff);
      return [length, answer ?? Buffer.alloc(0)];
    }),
  );
}

const nothing = Buffer.alloc(0);
const data = GetWorkflowDataResponse.encode({ data: Buffer.from('{}'), version: 1 }).finish();
const action = ActionResponse.encode(ActionResponse.decode(ActionResponse.encode(response as never).finish())).finish();

/** A field of any number and type, with any content. */
const field = fc
  .tuple(fc.integer({ min: 0, max: 16 }), fc.nat(7), fc.oneof(fc.uint8Array({ maxLength: 10 }), fc.constant(contexts)))
  .map(([number, type, content]) =>
    Buffer.concat([Buffer.of((number << 3) | type), type === 2 ? Buffer.of(content.length & 127) : nothing, content]),
  );
const message = fc.oneof(
  fc.constantFrom<readonly (Uint8Array | undefined)[]>(
    [list],
    [contexts],
    [started],
    [action],
    [data],
    [nothing],
    [undefined],
  ),
  fc.array(field, { maxLength: 8 }).map((fields) => [Buffer.concat(fields)]),
);

async function work(dialect: Dialect, input: Buffer): Promise<void> {
  const channel = channelOf(answersIn(input));
  const signal = new AbortController().signal;
  await using transport =
    dialect === 'current'
      ? createCurrentTransport({ channel, workerId: 'worker' })
      : createLegacyTransport({ channel, workerId: 'worker', dialect });
  const next = await transport.next(signal);
  if (next.kind === 'idle') {
    require(next.reason !== '' && next.reason.length <= 5000, () => `a reason of ${next.reason.length} characters`);
    return;
  }
  checkAction(next.action);
  const now = new Date();
  const outcome = { verdict: 'SUCCESS', message: 'm', startedAt: now, endedAt: now } as const;
  const events: Event[] = [
    { kind: 'started', action: next.action, at: now },
    { kind: 'ended', action: next.action, outcome },
  ];
  for (const event of events) await transport.report(event, signal);
  await transport.checkCancelled(next.action, signal);
}

function checkAction(action: Action): void {
  const { timeoutSeconds = 1, command, environment, volumes, workflowId, name, image } = action;
  require(timeoutSeconds > 0 && Number.isFinite(timeoutSeconds), () => `a time limit of ${timeoutSeconds}`);
  for (const text of [workflowId, name, image, ...command, ...environment, ...volumes])
    require(typeof text === 'string', () => `${JSON.stringify(text)} is no text`);
  require([workflowId, name, image].every((text) => text.length <= 1024), () => 'a name of more than 1024 characters');
}

export const serverTargets: readonly Target[] = (['v0.1', 'v0.2', 'v0.7', 'v0.9', 'current'] as const).map(
  (dialect) => ({
    name: `server-${dialect}`,
    seeds:
      dialect === 'current'
        ? [sequence(action, nothing, nothing), sequence(undefined)]
        : [
            sequence(contexts, list, nothing, contexts, list, nothing, data),
            sequence(undefined, started, nothing, list, contexts, list, nothing),
            sequence(started, nothing, list, nothing, started, nothing),
          ],
    generated: fc.array(message, { maxLength: 8 }).map((messages) => sequence(...messages.flat())),
    words: ['\xff\xff', '\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01', '\x0a\x00'.repeat(50)],
    refusals: [TransportError],
    async check(input: Buffer) {
      await work(dialect, input);
      await detectDialect(channelOf(answersIn(input)), 'worker', new AbortController().signal);
    },
  }),
);

const detailsWords = [
  ...['No connection established. Last error: ', '. Resolution note: ', 'Deadline exceeded after 5s', '\n', '   '],
  ...['80D1:error:0A000086:SSL routines:f:certificate verify failed:a.c:1889:\n', 'rpc error: code = Unknown desc = '],
  ' (2026-01-01T00:00:00Z)',
];

/** Details of failed calls: of the server, or of what is not one. */
export const detailsTarget: Target = {
  name: 'grpc-details',
  seeds: [
    ...[detailsWords.join('a'), ' '.repeat(64_000), `x${'A'.repeat(64_000)}`, `.${' '.repeat(60_000)}.`],
    'rpc error: code = Unknown desc = \n'.repeat(1000),
  ],
  generated: wordsOf(detailsWords),
  words: detailsWords,
  check(input) {
    const details = plainDetails(input.toString());
    require(!details.includes('\n'), () => JSON.stringify(details));
  },
};
