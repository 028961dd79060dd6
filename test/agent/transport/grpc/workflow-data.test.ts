import assert from 'node:assert/strict';
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { status } from '@grpc/grpc-js';
import type { Action } from '../../../../agent/action/action.ts';
import { Channel } from '../../../../agent/transport/grpc/channel.ts';
import type { LegacyDialect } from '../../../../agent/transport/grpc/dialect.ts';
import { createServerTransport } from '../../../../agent/transport/grpc/server.ts';
import { TransportError } from '../../../../agent/transport/transport.ts';
import { WorkflowServiceDefinition } from '../../../../proto/tink.pb.ts';
import { hardwareJson, MACHINE_ONE, MACHINE_TWO, templateOf } from '../../../sandbox/tink-server/example.ts';
import { startTinkServer, type TinkServer } from '../../../sandbox/tink-server/server.ts';

const never = new AbortController().signal;
const SERVICES = {
  'v0.1': 'github.com.tinkerbell.tink.protos.workflow.WorkflowSvc',
  'v0.2': 'github.com.tinkerbell.tink.protos.workflow.WorkflowService',
  'v0.9': 'proto.WorkflowService',
};

/** A server with a workflow of two tasks, one for each machine. */
async function start(test: TestContext, dialect: LegacyDialect = 'v0.1') {
  const server = await startTinkServer({ dialect });
  test.after(() => server.stop());
  for (const machine of [MACHINE_ONE, MACHINE_TWO]) server.pushHardware(hardwareJson(machine));
  const template = server.createTemplate('t', templateOf(['task', 'one', ['a', 'b']], ['other', 'two', ['c']]));
  const workflowId = server.createWorkflow(template, { one: MACHINE_ONE.mac, two: MACHINE_TWO.mac });
  return { server, workflowId };
}

/** A worker with a directory of its own. */
async function worker(test: TestContext, server: TinkServer, machine = MACHINE_ONE) {
  const base = await mkdtemp(path.join(tmpdir(), 'workflow-data-'));
  test.after(() => rm(base, { recursive: true }));
  const notices: string[] = [];
  const kubernetes = server.dialect === 'v0.9';
  const transport = createServerTransport({
    authority: server.authority,
    rpcTimeoutSeconds: 5,
    ...(kubernetes ? { tls: false } : { certificateUrl: server.certificateUrl }),
    workerId: kubernetes ? machine.mac : machine.id,
    workflowData: { directory: (id) => path.join(base, id), notice: (text) => notices.push(text) },
  });
  test.after(() => transport[Symbol.asyncDispose]());
  const directory = (action: Action) => path.join(base, action.workflowId);
  return {
    notices,
    async begin(): Promise<Action> {
      const next = await transport.next(never);
      assert.ok(next.kind === 'action');
      await mkdir(directory(next.action), { recursive: true });
      await transport.report({ kind: 'started', action: next.action, at: new Date() }, never);
      return next.action;
    },
    start: (action: Action) => transport.report({ kind: 'started', action, at: new Date() }, never),
    path: (action: Action) => path.join(directory(action), 'data'),
    read: (action: Action) => readFile(path.join(directory(action), 'data'), 'utf8'),
    write: (action: Action, text: string) => writeFile(path.join(directory(action), 'data'), text),
    files: (action: Action) => readdir(directory(action)),
    end: (action: Action, verdict: 'SUCCESS' | 'FAILED' = 'SUCCESS') => {
      const outcome = { verdict, message: '', startedAt: new Date(), endedAt: new Date() };
      return transport.report({ kind: 'ended', action, outcome }, never);
    },
  };
}

async function versions(test: TestContext, server: TinkServer, workflowId: string): Promise<number> {
  const channel = new Channel({ authority: server.authority, certificateUrl: server.certificateUrl });
  test.after(() => channel[Symbol.asyncDispose]());
  const { getWorkflowDataVersion } = WorkflowServiceDefinition.methods;
  const request = { workflowId, version: 0 };
  return (
    await channel.call(SERVICES[server.dialect === 'v0.1' ? 'v0.1' : 'v0.2'], getWorkflowDataVersion, request, never)
  ).version;
}

describe('the data of a workflow', () => {
  for (const dialect of ['v0.1', 'v0.2'] as const) {
    it(`reaches the next worker (${dialect})`, async (test) => {
      const { server, workflowId } = await start(test, dialect);
      const first = await worker(test, server);
      const a = await first.begin();
      await first.write(a, '{"disk":"/dev/sda","long":"xxxxxxxxxxxxxxxxxxxx"}');
      await first.end(a);
      const b = await first.begin();
      await first.write(b, '{"disk":"/dev/sdb"}');
      await first.end(b);
      const second = await worker(test, server, MACHINE_TWO);
      const c = await second.begin();
      assert.equal(await second.read(c), '{"disk": "/dev/sdb"}');
      assert.deepEqual(await second.files(c), ['data']);
      await second.end(c);
      assert.equal(await versions(test, server, workflowId), 2);
      assert.deepEqual([...first.notices, ...second.notices], []);
    });
  }

  it('is sent after the first action, and later only when it changed', async (test) => {
    const { server, workflowId } = await start(test);
    const first = await worker(test, server);
    const a = await first.begin();
    await first.write(a, '{}');
    await first.end(a);
    assert.equal(await versions(test, server, workflowId), 1);
    const b = await first.begin();
    await first.end(b);
    assert.equal(await versions(test, server, workflowId), 1);
  });

  it('keeps the mode and the owner that an action gave the file, and is readable for all before', async (test) => {
    const { server } = await start(test);
    const first = await worker(test, server);
    const a = await first.begin();
    await first.write(a, '{"disk":"/dev/sda"}');
    await first.end(a);
    const second = await worker(test, server);
    const b = await second.begin();
    const file = second.path(b);
    assert.equal(await second.read(b), '{"disk": "/dev/sda"}');
    assert.equal((await stat(file)).mode & 0o7777, 0o644);
    await chmod(file, 0o660);
    await chown(file, 1000, 1001);
    await second.write(b, '{"disk":"/dev/sdb"}');
    // The same file is written again when the start of an action is reported a second time.
    await second.start(b);
    const { mode, uid, gid } = await stat(file);
    assert.deepEqual([mode & 0o7777, uid, gid], [0o660, 1000, 1001]);
    assert.equal(await second.read(b), '{"disk": "/dev/sda"}');
  });

  it('of a failed action is not sent', async (test) => {
    const { server, workflowId } = await start(test);
    const first = await worker(test, server);
    const a = await first.begin();
    await first.write(a, '{"half": true}');
    await first.end(a, 'FAILED');
    assert.equal(await versions(test, server, workflowId), 0);
  });

  it('that cannot be sent does not stop the workflow, and is logged', async (test) => {
    for (const [content, why] of [
      ['[1]', /is not a JSON object/],
      ['{"a":', /is not a JSON object/],
      [JSON.stringify({ x: 'x'.repeat(2 ** 22) }), /has 4194312 bytes, more than/],
    ] as const) {
      const { server, workflowId } = await start(test);
      const first = await worker(test, server);
      const a = await first.begin();
      await first.write(a, content);
      assert.equal((await first.end(a)).kind, 'acknowledged');
      assert.equal(first.notices.length, 1);
      assert.match(first.notices[0] ?? '', why);
      assert.equal(await versions(test, server, workflowId), 0);
    }
  });

  it('that the server refuses does not stop the workflow, and is logged', async (test) => {
    const { server } = await start(test);
    const first = await worker(test, server);
    const a = await first.begin();
    await first.write(a, '{"a": 1}');
    server.interfere = (rpc) =>
      rpc === 'UpdateWorkflowData' ? { kind: 'fail', code: status.ABORTED, details: 'pq: no' } : undefined;
    assert.equal((await first.end(a)).kind, 'acknowledged');
    assert.match(first.notices[0] ?? '', /does not take the data .* ABORTED: pq: no/);
  });

  it('is sent before the success is reported, so that it is not lost when the connection breaks', async (test) => {
    const { server, workflowId } = await start(test);
    const first = await worker(test, server);
    const a = await first.begin();
    await first.write(a, '{"a": 1}');
    server.interfere = (rpc) => (rpc === 'UpdateWorkflowData' ? { kind: 'lose request' } : undefined);
    await assert.rejects(first.end(a), TransportError);
    assert.deepEqual(
      server.events(workflowId).map(({ progress }) => progress),
      ['RUNNING'],
    );
    server.interfere = undefined;
    await first.end(a).catch(() => first.end(a));
    assert.deepEqual(
      server.events(workflowId).map(({ progress }) => progress),
      ['RUNNING', 'SUCCESS'],
    );
    assert.equal(await versions(test, server, workflowId), 1);
  });

  it('stays where it is with a server that has no such thing (v0.9)', async (test) => {
    const { server } = await start(test, 'v0.9');
    const first = await worker(test, server);
    const a = await first.begin();
    await first.write(a, '{"a": 1}');
    assert.equal((await first.end(a)).kind, 'acknowledged');
    assert.deepEqual(first.notices, []);
  });

  it('never sends what is no regular file, and puts the data in its place', async (test) => {
    const { server, workflowId } = await start(test);
    const one = await worker(test, server);
    const first = await one.begin();
    await writeFile(path.join(one.path(first), '../secret'), '{"secret":true}');
    await rm(one.path(first), { force: true });
    await symlink('secret', one.path(first));
    await one.end(first);
    assert.match(one.notices.join(), /is not sent to the server: .*data is a symbolic link/);
    assert.equal(await versions(test, server, workflowId), 0);

    const second = await one.begin();
    await one.write(second, '{}').catch(() => {});
    await rm(one.path(second), { force: true });
    await mkdir(one.path(second));
    await one.end(second);
    assert.match(one.notices.join(), /data is not a regular file/);
  });

  it('puts the data of the server in the place of whatever has its name', async (test) => {
    const { server } = await start(test);
    const one = await worker(test, server);
    const first = await one.begin();
    await one.write(first, '{"by":"one"}');
    await one.end(first);
    const second = await one.begin();
    const [file, victim] = [one.path(second), path.join(one.path(second), '../victim')];
    await writeFile(victim, 'untouched');
    for (const name of [file, `${file}.partial`]) {
      await rm(name, { force: true });
      await symlink('victim', name);
      await one.start(second);
      await rm(name, { force: true });
      await mkdir(path.join(name, 'below'), { recursive: true });
      await one.start(second);
      assert.deepEqual(JSON.parse(await one.read(second)), { by: 'one' });
    }
    assert.equal(await readFile(victim, 'utf8'), 'untouched');
    assert.deepEqual((await one.files(second)).sort(), ['data', 'victim']);
  });
});
