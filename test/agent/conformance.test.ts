/**
 * The agent against servers of all dialects: the same scenarios, with the real loop, journal and
 * transport, which detects the dialect. `test/sandbox/agent-under-test/agent-machine.ts` describes
 * what replaces the engine, `test/sandbox/tink-server/` the servers.
 *
 * The scenarios also run against another server: `TINK_SERVER=host:port`, and
 * `TINK_SERVER_CERT_URL=http://host:port/cert` unless it uses plaintext. They make their own
 * machines, templates and workflows over its gRPC port, and leave them there (tink v0.1 to v0.8
 * with PostgreSQL). `TINK_SERVER_TLS=true` uses TLS with the authorities of the system, and with
 * those in the file that `NODE_EXTRA_CA_CERTS` names.
 *
 * A server on Kubernetes does not take workflows there. Create one for a worker of any name, with
 * at least one action, that has not started, and set `TINK_WORKER_ID` to that name. Then one
 * scenario runs that workflow: the actions do nothing, and each succeeds at once.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { AgentMachine } from '../sandbox/agent-under-test/agent-machine.ts';
import { SERVER_DIALECTS } from '../sandbox/tink-server/server.ts';
import { connectProvisioner, startFakeProvisioner } from './conformance/provisioner.ts';
import { faults, scenarios, severalTasks } from './conformance/scenarios.ts';

const given = z
  .object({
    TINK_SERVER: z.string().optional(),
    TINK_SERVER_CERT_URL: z.url().optional(),
    TINK_SERVER_TLS: z.stringbool().optional(),
    TINK_WORKER_ID: z.string().optional(),
  })
  .parse(process.env);

if (given.TINK_SERVER === undefined) testFakeServers();
else if (given.TINK_WORKER_ID === undefined) testServer(given.TINK_SERVER);
else testPreparedWorkflow(given.TINK_SERVER, given.TINK_WORKER_ID);

function testFakeServers(): void {
  for (const dialect of SERVER_DIALECTS) {
    describe(`with a server of dialect ${dialect}`, { concurrency: true }, () => {
      const all = { ...scenarios, ...faults, ...(dialect !== 'v0.7' && severalTasks) };
      for (const [name, run] of Object.entries(all)) {
        it(name, async () => {
          await using provisioner = await startFakeProvisioner(dialect);
          await run(provisioner);
        });
      }
    });
  }
}

function testServer(authority: string): void {
  describe(`with the server at ${authority}`, () => {
    for (const [name, run] of Object.entries(scenarios)) {
      it(name, async () => {
        await using provisioner = await connectProvisioner(authority, given.TINK_SERVER_CERT_URL);
        await run(provisioner);
      });
    }
  });
}

function testPreparedWorkflow(authority: string, workerId: string): void {
  it(`the workflow of worker ${workerId} at ${authority} runs to its end, each action once, and then the machine reboots`, async () => {
    const { TINK_SERVER_TLS: tls, TINK_SERVER_CERT_URL: certificateUrl } = given;
    await using machine = AgentMachine.forServer({ authority, workerId, tls, certificateUrl });
    await machine.start({ finish: 'reboot' });
    await machine.until(
      () => machine.happened.includes('reboot'),
      'the end of the workflow',
      // A current server takes a minute to say that there is no further action.
      400,
    );
    assert.ok(machine.actions.length > 0);
    assert.equal(
      new Set(machine.actions.map(({ workflowId, id }) => `${workflowId} ${id}`)).size,
      machine.actions.length,
    );
    assert.equal(machine.happened.at(-1), 'reboot');
  });
}
