import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Hardware, WorkflowAction, WorkflowActionStatus, WorkflowContext } from '../../proto/tink.pb.ts';

/** Bytes of one field: `number << 3 | wire type`, then the value (protobuf.dev, "Encoding"). */
function text(number: number, value: string): number[] {
  const bytes = [...Buffer.from(value)];
  return [(number << 3) | 2, bytes.length, ...bytes];
}

function integer(number: number, value: number): number[] {
  return [number << 3, value];
}

describe('the messages on the wire', () => {
  it('WorkflowContext', () => {
    const bytes = [
      ...[text(1, 'workflow'), text(2, 'worker'), text(3, 'task'), text(4, 'action')].flat(),
      ...[integer(5, 2), integer(6, 4), integer(7, 3)].flat(),
    ];
    const context: WorkflowContext = {
      workflowId: 'workflow',
      currentWorker: 'worker',
      currentTask: 'task',
      currentAction: 'action',
      currentActionIndex: 2,
      currentActionState: 4,
      totalNumberOfActions: 3,
    };
    assert.deepEqual(WorkflowContext.decode(Uint8Array.from(bytes)), context);
    assert.deepEqual([...WorkflowContext.encode(context).finish()], bytes);
  });

  it('WorkflowAction', () => {
    const bytes = [
      ...[text(1, 'task'), text(2, 'name'), text(3, 'image'), integer(4, 90), text(5, 'sh'), text(5, '-c')].flat(),
      ...[text(6, 't'), text(7, 'f'), text(8, 'worker'), text(9, '/a:/b'), text(10, 'K=V'), text(11, 'host')].flat(),
    ];
    const action: WorkflowAction = {
      taskName: 'task',
      name: 'name',
      image: 'image',
      timeout: 90,
      command: ['sh', '-c'],
      onTimeout: ['t'],
      onFailure: ['f'],
      workerId: 'worker',
      volumes: ['/a:/b'],
      environment: ['K=V'],
      pid: 'host',
    };
    assert.deepEqual(WorkflowAction.decode(Uint8Array.from(bytes)), action);
    assert.deepEqual([...WorkflowAction.encode(action).finish()], bytes);
  });

  it('WorkflowActionStatus, with the time left out', () => {
    const bytes = [
      ...[text(1, 'workflow'), text(2, 'task'), text(3, 'action'), integer(4, 2)].flat(),
      ...[integer(5, 7), text(6, 'message'), text(8, 'worker')].flat(),
    ];
    const status: WorkflowActionStatus = {
      workflowId: 'workflow',
      taskName: 'task',
      actionName: 'action',
      actionStatus: 2,
      seconds: 7,
      message: 'message',
      createdAt: undefined,
      workerId: 'worker',
    };
    assert.deepEqual([...WorkflowActionStatus.encode(status).finish()], bytes);
    assert.deepEqual(WorkflowActionStatus.decode(Uint8Array.from(bytes)), status);
  });

  it('Hardware, as little of it as seeds a server', () => {
    const [mac, address] = [text(1, '08:00:27:00:00:01'), text(1, '192.168.1.5')];
    const dhcp = [...mac, (11 << 3) | 2, address.length, ...address];
    const network = [(3 << 3) | 2, dhcp.length + 2, (1 << 3) | 2, dhcp.length, ...dhcp];
    const bytes = [(6 << 3) | 2, network.length, ...network, ...text(7, 'id')];
    const hardware: Hardware = {
      id: 'id',
      network: { interfaces: [{ dhcp: { mac: '08:00:27:00:00:01', ip: { address: '192.168.1.5' } } }] },
    };
    assert.deepEqual([...Hardware.encode(hardware).finish()], bytes);
  });

  it('has room for fields of newer servers', () => {
    const bytes = Uint8Array.from([...text(2, 'name'), ...text(14, 'unknown'), ...integer(15, 1)]);
    assert.equal(WorkflowAction.decode(bytes).name, 'name');
  });
});
