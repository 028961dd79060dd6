/** What every server expects of an agent, in each dialect. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { AgentMachine } from '../../sandbox/agent-under-test/agent-machine.ts';
import { pollUntil } from '../../sandbox/poll-until.ts';
import { MACHINE_ONE } from '../../sandbox/tink-server/example.ts';
import { SERVER_DIALECTS } from '../../sandbox/tink-server/server.ts';
import type { FakeProvisioner, Provisioner } from './provisioner.ts';

/** On any server, also on one that runs elsewhere. */
export const scenarios: Readonly<Record<string, (provisioner: Provisioner) => Promise<void>>> = {
  'a workflow runs to its end, in order, each action once, and then the machine reboots': async (provisioner) => {
    const workflow = await provisioner.createWorkflow(['wipe', 'partition', 'write']);
    await using machine = AgentMachine.forServer(provisioner.machine);
    await machine.start({ finish: 'reboot' });
    await machine.until(() => machine.happened.includes('reboot'), 'the reboot');
    assert.deepEqual(machine.happened, ['run wipe', 'run partition', 'run write', 'reboot']);
    assert.deepEqual(await recorded(provisioner, workflow), completed('wipe', 'partition', 'write'));
    const [wipe] = machine.actions;
    assert.deepEqual([wipe?.workflowId, wipe?.workerId], [workflow, provisioner.machine.workerId]);
    assert.deepEqual([wipe?.command, wipe?.timeoutSeconds], [['echo', 'wipe'], 60]);
  },

  'a failure is reported with its reason, and ends the workflow': async (provisioner) => {
    const workflow = await provisioner.createWorkflow(['good', 'bad', 'never']);
    await using machine = AgentMachine.forServer(provisioner.machine);
    machine.runAction = ({ name }) =>
      name === 'bad' ? { verdict: 'FAILED', message: 'exit code 3: no space left' } : {};
    await machine.start({ finish: 'reboot' });
    await reports(provisioner, workflow, 'FAILED bad');
    await machine.logged(/idle: /);
    assert.deepEqual(machine.happened, ['run good', 'run bad']);
    const last = (await provisioner.events(workflow)).at(-1);
    assert.equal(last?.what, 'FAILED bad');
    if (provisioner.keepsMessages) assert.equal(last?.message, 'exit code 3: no space left');
  },

  'a timeout is reported as such': async (provisioner) => {
    const workflow = await provisioner.createWorkflow(['slow', 'never']);
    await using machine = AgentMachine.forServer(provisioner.machine);
    machine.runAction = () => ({ verdict: 'TIMEOUT', message: 'no end after 60 s' });
    await machine.start();
    await reports(provisioner, workflow, 'TIMEOUT slow');
    await machine.logged(/idle: /);
    assert.deepEqual(machine.ran(), ['slow']);
    assert.deepEqual(await recorded(provisioner, workflow), ['RUNNING slow', 'TIMEOUT slow']);
  },

  'an agent that was idle runs a later workflow': async (provisioner) => {
    await using machine = AgentMachine.forServer(provisioner.machine);
    await machine.start();
    await machine.logged(/idle: /);
    const workflow = await provisioner.createWorkflow(['late']);
    await reports(provisioner, workflow, 'SUCCESS late');
    assert.deepEqual(machine.ran(), ['late']);
    assert.equal(machine.log.filter((line) => /WARN|ERROR/.test(line)).length, 0, machine.log.join('\n'));
  },

  'an agent that is started again goes on where the earlier one was, and runs the interrupted action again': async (
    provisioner,
  ) => {
    const workflow = await provisioner.createWorkflow(['one', 'two', 'three']);
    await using machine = AgentMachine.forServer(provisioner.machine);
    const interrupted = Promise.withResolvers<void>();
    machine.runAction = async ({ name }, signal) => {
      if (name !== 'two') return {};
      interrupted.resolve();
      return await new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    };
    await machine.start();
    await interrupted.promise;
    await machine.stop();
    machine.runAction = () => ({});
    await machine.start();
    await reports(provisioner, workflow, 'SUCCESS three');
    assert.deepEqual(machine.ran(), ['one', 'two', 'two', 'three']);
    assert.deepEqual(await recorded(provisioner, workflow), completed('one', 'two', 'three'));
  },
};

/** On fake servers. */
export const faults: Readonly<Record<string, (provisioner: FakeProvisioner) => Promise<void>>> = {
  'a restart of the server while an action runs is survived': async (provisioner) => {
    const { server } = provisioner;
    const workflow = await provisioner.createWorkflow(['one', 'two']);
    await using machine = AgentMachine.forServer(provisioner.machine);
    machine.runAction = async ({ name }) => {
      if (name === 'one') await server.restart();
      return {};
    };
    await machine.start();
    await reports(provisioner, workflow, 'SUCCESS two');
    assert.deepEqual(machine.ran(), ['one', 'two']);
    assert.deepEqual(await recorded(provisioner, workflow), completed('one', 'two'));
    assert.equal(server.panic, undefined);
  },

  'lost requests and lost responses make nothing happen twice': async (provisioner) => {
    const { server } = provisioner;
    const workflow = await provisioner.createWorkflow(['one', 'two']);
    await using machine = AgentMachine.forServer(provisioner.machine);
    const calls = new Map<string, number>();
    server.interfere = (rpc) => {
      const count = (calls.get(rpc) ?? 0) + 1;
      calls.set(rpc, count);
      if (count % 2 === 0) return undefined;
      return rpc === 'ReportActionStatus' || rpc === 'GetAction' ? { kind: 'lose answer' } : undefined;
    };
    await machine.start();
    await reports(provisioner, workflow, 'SUCCESS two');
    server.interfere = undefined;
    await machine.logged(/idle: /);
    assert.deepEqual(machine.ran(), ['one', 'two']);
    assert.deepEqual(await recorded(provisioner, workflow), completed('one', 'two'));
    assert.equal(server.panic, undefined);
  },

  'an action that ended is not run again by the next agent, although the server requests it again': async (
    provisioner,
  ) => {
    const { server } = provisioner;
    const workflow = await provisioner.createWorkflow(['one', 'two']);
    await using machine = AgentMachine.forServer(provisioner.machine);
    machine.runAction = async () => {
      // From now on no report arrives.
      server.interfere = (rpc) => (rpc === 'ReportActionStatus' ? { kind: 'lose request' } : undefined);
      return { message: 'only the first agent knows this' };
    };
    await machine.start();
    await machine.logged(/cannot report the end of an action/);
    await machine.stop();
    server.interfere = undefined;
    machine.runAction = () => ({});
    await machine.start();
    await reports(provisioner, workflow, 'SUCCESS two');
    assert.deepEqual(machine.ran(), ['one', 'two']);
    const end = (await provisioner.events(workflow)).find(({ what }) => what === 'SUCCESS one');
    if (provisioner.keepsMessages) assert.equal(end?.message, 'only the first agent knows this');
  },

  'a workflow that is deleted while its action runs is dropped': async (provisioner) => {
    const { server } = provisioner;
    const doomed = await provisioner.createWorkflow(['doomed', 'never']);
    await using machine = AgentMachine.forServer(provisioner.machine);
    machine.runAction = ({ name }) => {
      if (name === 'doomed') server.deleteWorkflow(doomed);
      return {};
    };
    await machine.start({ finish: 'reboot' });
    await machine.logged(/the server rejected the result of the action \(SUCCESS\) as obsolete/);
    const good = await provisioner.createWorkflow(['fine']);
    await reports(provisioner, good, 'SUCCESS fine');
    await machine.until(() => machine.happened.includes('reboot'), 'the reboot');
    assert.deepEqual(machine.happened, ['run doomed', 'run fine', 'reboot']);
    assert.equal(server.panic, undefined);
  },

  'an action whose workflow is deleted while it runs is stopped': async (provisioner) => {
    const { server } = provisioner;
    const doomed = await provisioner.createWorkflow(['doomed', 'never']);
    await using machine = AgentMachine.forServer(provisioner.machine);
    machine.runAction = async ({ name }, signal) => {
      if (name !== 'doomed') return {};
      server.deleteWorkflow(doomed);
      if (!signal.aborted) await once(signal, 'abort');
      throw signal.reason;
    };
    await machine.start({ finish: 'reboot' });
    await machine.logged(/the action is stopped: .*(does not exist any more|not found)/);
    await machine.logged(/the server rejected the result of the action \(FAILED\) as obsolete/);
    const good = await provisioner.createWorkflow(['fine']);
    await reports(provisioner, good, 'SUCCESS fine');
    await machine.until(() => machine.happened.includes('reboot'), 'the reboot');
    assert.deepEqual(machine.happened, ['run doomed', 'run fine', 'reboot']);
    assert.equal(server.panic, undefined);
  },

  'an agent works on with a server of another dialect that replaces its own': async (provisioner) => {
    const next = SERVER_DIALECTS[(SERVER_DIALECTS.indexOf(provisioner.dialect) + 1) % SERVER_DIALECTS.length] ?? 'v0.1';
    const { server } = provisioner;
    const old = provisioner.createForUuid(['before', 'lost']);
    await using machine = AgentMachine.forServer({
      ...provisioner.machine,
      workerId: MACHINE_ONE.id,
      tls: server.tls,
      certificateUrl: undefined,
      certificateAuthority: server.certificate.bundle,
    });
    const replaced = Promise.withResolvers<FakeProvisioner>();
    machine.runAction = async ({ name }) => {
      if (name === 'before') replaced.resolve(await provisioner.replace(next));
      return {};
    };
    await machine.start();
    await using successor = await replaced.promise;
    const workflow = successor.createForUuid(['after', 'last']);
    await reports(successor, workflow, 'SUCCESS last');
    assert.deepEqual(machine.ran(), ['before', 'after', 'last']);
    assert.deepEqual(await recorded(successor, workflow), completed('after', 'last'));
    assert.deepEqual(await recorded(provisioner, old), ['RUNNING before']);
    assert.equal(successor.server.panic, undefined);
  },
};

/** On fake servers except `v0.7`, which rejects reports on a second task. */
export const severalTasks: typeof faults = {
  'an agent waits for a task of another machine': async (provisioner) => {
    const workflow = provisioner.createTasks(['one', ['boot', 'burn']], ['two', ['check']], ['one', ['install']]);
    await using first = AgentMachine.forServer(provisioner.machine);
    await first.start({ finish: 'reboot' });
    await reports(provisioner, workflow, 'SUCCESS burn');
    await first.logged(/idle: /);
    await using second = AgentMachine.forServer(provisioner.otherMachine);
    await second.start();
    await first.until(() => first.happened.includes('reboot'), 'the reboot');
    assert.deepEqual(second.happened, ['run check']);
    assert.deepEqual(first.happened, ['run boot', 'run burn', 'run install', 'reboot']);
    assert.deepEqual(await recorded(provisioner, workflow), completed('boot', 'burn', 'check', 'install'));
  },
};

async function recorded(provisioner: Provisioner, workflowId: string): Promise<string[]> {
  return (await provisioner.events(workflowId)).map(({ what }) => what);
}

async function reports(provisioner: Provisioner, workflowId: string, event: string): Promise<void> {
  const isRecorded = async () => (await recorded(provisioner, workflowId)).includes(event);
  await pollUntil(isRecorded, `the server to record ${event}`);
}

function completed(...actions: readonly string[]): string[] {
  return actions.flatMap((name) => [`RUNNING ${name}`, `SUCCESS ${name}`]);
}
