/**
 * A table of faults around an agent: what happens, what is expected, what is seen. Real: the loop,
 * the journal, the transport, the runtime, the container engine and registries. The server is a
 * fake. The table is printed in Markdown.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Server as GrpcServer, ServerCredentials } from '@grpc/grpc-js';
import { execa } from 'execa';
import type { Action } from '../../agent/action/action.ts';
import { createRuntimeLog } from '../../agent/log/runtime-log.ts';
import { containerName, labels } from '../../agent/runtime/container-identity.ts';
import { createDockerRuntime, type DockerRuntimeOptions } from '../../agent/runtime/docker/runtime.ts';
import { workflowDirectory } from '../../agent/runtime/workflow-directory.ts';
import { createServerTransport, type ServerTransportOptions } from '../../agent/transport/grpc/server.ts';
import '../sandbox/force-exit.ts';
import { AgentMachine, type AgentParts } from '../sandbox/agent-under-test/agent-machine.ts';
import { enrol } from '../sandbox/agent-under-test/enrol.ts';
import { busyboxImage } from '../sandbox/busybox-image.ts';
import { type Engine, startEngine } from '../sandbox/engine.ts';
import type { Image } from '../sandbox/image.ts';
import { createLoopDevice } from '../sandbox/loop-device.ts';
import { type Registry, startRegistry } from '../sandbox/registry.ts';
import { MACHINE_ONE } from '../sandbox/tink-server/example.ts';
import { makeCertificate, startTinkServer, type TinkServer } from '../sandbox/tink-server/server.ts';

const never = new AbortController().signal;

/** An action: a line of shell, or another command. */
interface ActionText {
  readonly name: string;
  readonly command: readonly string[];
  readonly image?: string | undefined;
  readonly timeoutSeconds?: number | undefined;
}

const script = (name: string, line: string, rest: Partial<ActionText> = {}): ActionText => ({
  name,
  command: ['sh', '-c', line],
  ...rest,
});

/** Prints that it is up, and waits for the request to continue. */
const patient = (name: string, then = 'true') =>
  script(name, `trap 'exit 9' TERM; echo up; until [ -e /workflow/go ]; do sleep 0.05; done; ${then}`);

/** What all machines share. */
interface Environment {
  readonly engine: Engine;
  readonly registry: Registry;
  readonly image: Image;
}

interface AgentChanges {
  readonly transport?: Partial<ServerTransportOptions>;
  readonly runtime?: Partial<DockerRuntimeOptions>;
  readonly parts?: Partial<AgentParts>;
}

/** A server, and a machine whose agents use the shared engine, unless a test changes that. */
class Machine implements AsyncDisposable {
  readonly server: TinkServer;
  readonly agent: AgentMachine;
  readonly #worker: ServerTransportOptions;
  readonly #environment: Environment;

  private constructor(environment: Environment, server: TinkServer, worker: ServerTransportOptions) {
    this.#environment = environment;
    this.server = server;
    this.#worker = worker;
    this.agent = AgentMachine.forServer(worker, { finish: 'reboot' });
  }

  static async create(environment: Environment): Promise<Machine> {
    const server = await startTinkServer();
    const worker = enrol(server, { ...MACHINE_ONE, id: randomUUID() });
    return new Machine(environment, server, { ...worker, rpcTimeoutSeconds: 10 });
  }

  /** Starts an agent. */
  async start({ transport, runtime, parts }: AgentChanges = {}): Promise<void> {
    const { engine, registry } = this.#environment;
    await this.agent.start({
      connect: () => createServerTransport({ ...this.#worker, ...transport }),
      runtime: ({ log, redactor }) =>
        createDockerRuntime({
          ...{ host: engine.host, registry: registry.host, credentials: [registry], privileges: 'all-available' },
          ...{ workDirectory: this.#workDirectory, stopGraceSeconds: 1, pullAttempts: 2 },
          ...{
            redact: redactor.redact,
            redactParts: redactor.redactParts,
            onEvent: createRuntimeLog(log, { output: true }),
          },
          ...runtime,
        }),
      ...parts,
    });
  }

  get #workDirectory(): string {
    return join(this.agent.directory, 'worker');
  }

  createWorkflow(...actions: readonly ActionText[]): string {
    const task = {
      ...{ name: 'task', worker: '{{.one}}' },
      actions: actions.map(({ timeoutSeconds = 60, image = 'busybox', ...rest }) => ({
        ...rest,
        image,
        timeout: timeoutSeconds,
      })),
    };
    const template = JSON.stringify({ version: '0.1', name: 'faults', global_timeout: 600, tasks: [task] });
    return this.server.createWorkflow(this.server.createTemplate('faults', template), { one: MACHINE_ONE.mac });
  }

  /** Lets the {@link patient} actions of a workflow go on. */
  async go(workflow: string): Promise<void> {
    await writeFile(join(workflowDirectory(this.#workDirectory, workflow), 'go'), '');
  }

  /** What the server shows as current. */
  async currentAction(): Promise<Action> {
    await using worker = createServerTransport(this.#worker);
    const next = await worker.next(never);
    assert.ok(next.kind === 'action');
    return next.action;
  }

  /** Marks the action that runs as failed, as only a worker can with these servers. */
  async cancel(): Promise<void> {
    const action = await this.currentAction();
    await using worker = createServerTransport(this.#worker);
    const now = new Date();
    const outcome = { verdict: 'FAILED', message: 'cancelled', startedAt: now, endedAt: now } as const;
    await worker.report({ kind: 'ended', action, outcome }, never);
  }

  /**
   * Waits for the end of an action.
   *
   * @returns all that the server has recorded of the workflow, with the message of the end
   */
  async ended(workflow: string, name: string): Promise<string> {
    const events = await this.server
      .waitFor(
        workflow,
        (events) => events.some(({ actionName, progress }) => actionName === name && progress !== 'RUNNING'),
        60,
      )
      .catch((error) => assert.fail(`${error.message}\n${this.agent.log.join('\n')}`));
    return events
      .map(({ actionName, progress, message }) => {
        const why = progress === 'RUNNING' || progress === 'SUCCESS' ? '' : ` (${message})`;
        return `${actionName} ${progress}${why}`;
      })
      .join(', ');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent[Symbol.asyncDispose]();
    await this.server.stop();
  }
}

interface Fault {
  readonly fault: string;
  /** In words, for the table. */
  readonly expected: string;
  /** Of what is seen. */
  readonly pattern: RegExp;
  /**
   * Causes the fault.
   *
   * @returns what is seen
   */
  readonly provoke: (machine: Machine, environment: Environment) => Promise<string>;
}

/** Runs one action that fails by itself. */
const failing =
  (action: ActionText, options: AgentChanges = {}): Fault['provoke'] =>
  async (machine) => {
    const workflow = machine.createWorkflow(action);
    await machine.start(options);
    return await machine.ended(workflow, action.name);
  };

/** Runs an action whose image comes from the given registry, with the given credentials. */
const pulling =
  (registry: Registry, image: string, credentials: Partial<Registry> = {}): Fault['provoke'] =>
  async (machine) => {
    const workflow = machine.createWorkflow(script('one', 'true', { image }));
    await machine.start({ runtime: { registry: registry.host, credentials: [{ ...registry, ...credentials }] } });
    return await machine.ended(workflow, 'one');
  };

const twoSuccesses = /^one RUNNING, one SUCCESS, two RUNNING, two SUCCESS/;

const serverFaults: readonly Fault[] = [
  {
    fault: 'the server vanishes while the agent is idle',
    expected: 'logged once; the next workflow runs when the server is back',
    pattern: /^one RUNNING, one SUCCESS; cannot ask the server for work: .*UNAVAILABLE/,
    async provoke(machine) {
      await machine.start();
      await machine.agent.logged(/idle: /);
      await machine.server.stop();
      const logged = await machine.agent.logged(/cannot ask the server for work/);
      await machine.server.start();
      const workflow = machine.createWorkflow(script('one', 'true'));
      return `${await machine.ended(workflow, 'one')}; ${logged}`;
    },
  },
  {
    fault: 'the server vanishes while an action runs',
    expected: 'the action runs on; its end is reported once, when the server is back',
    pattern: /^one RUNNING, one SUCCESS, two RUNNING, two SUCCESS; cannot report the end of an action: .*UNAVAILABLE/,
    async provoke(machine) {
      const workflow = machine.createWorkflow(patient('one'), script('two', 'true'));
      await machine.start();
      await machine.agent.logged(/\[one\] up/);
      await machine.server.stop();
      await machine.go(workflow);
      const logged = await machine.agent.logged(/cannot report the end of an action/);
      await machine.server.start();
      return `${await machine.ended(workflow, 'two')}; ${logged}`;
    },
  },
  {
    fault: 'the server takes a report and vanishes before its response',
    expected: 'each report is recorded once',
    pattern: twoSuccesses,
    async provoke(machine) {
      const { server } = machine;
      const workflow = machine.createWorkflow(script('one', 'true'), script('two', 'true'));
      const counts = new Map<string, number>();
      server.interfere = (rpc, request) => {
        const key = JSON.stringify([rpc, request]);
        counts.set(key, (counts.get(key) ?? 0) + 1);
        return rpc === 'ReportActionStatus' && counts.get(key) === 1 ? { kind: 'lose answer' } : undefined;
      };
      await machine.start();
      return await machine.ended(workflow, 'two');
    },
  },
  {
    fault: 'the server does not answer within the deadline',
    expected: 'logged; the agent goes on when responses come',
    pattern: /^one RUNNING, one SUCCESS, two RUNNING, two SUCCESS; cannot .*DEADLINE_EXCEEDED/,
    async provoke(machine) {
      const workflow = machine.createWorkflow(patient('one'), script('two', 'true'));
      await machine.start({ transport: { rpcTimeoutSeconds: 1 } });
      await machine.agent.logged(/\[one\] up/);
      const released = Promise.withResolvers<void>();
      machine.server.interfere = () => ({ kind: 'hold', until: released.promise });
      await machine.go(workflow);
      const logged = await machine.agent.logged(/DEADLINE_EXCEEDED/);
      machine.server.interfere = undefined;
      released.resolve();
      return `${await machine.ended(workflow, 'two')}; ${logged}`;
    },
  },
  {
    fault: 'something else answers at the address of the server, in another protocol',
    expected: 'logged; the agent goes on when the server is back',
    pattern: /^one RUNNING, one SUCCESS; cannot ask the server for work: .*UNAVAILABLE/,
    async provoke(machine) {
      await machine.start();
      await machine.agent.logged(/idle: /);
      const { authority } = machine.server;
      await machine.server.stop();
      const stranger = await listen(
        createServer((socket) => socket.write('SSH-2.0-OpenSSH_9.2\r\n', () => socket.destroy())),
        authority,
      );
      const logged = await machine.agent.logged(/cannot ask the server for work/);
      await once(stranger.close(), 'close');
      await machine.server.start();
      const workflow = machine.createWorkflow(script('one', 'true'));
      return `${await machine.ended(workflow, 'one')}; ${logged}`;
    },
  },
  {
    fault: 'the server answers with bytes that are not a message',
    expected: 'logged; the agent goes on when the server works again',
    pattern: /^one RUNNING, one SUCCESS; cannot ask the server for work: /,
    async provoke(machine) {
      const { certificate, key } = machine.server.certificate;
      const { authority } = machine.server;
      await machine.start();
      await machine.agent.logged(/idle: /);
      await machine.server.stop();
      const garbage = new GrpcServer();
      const service = 'github.com.tinkerbell.tink.protos.workflow.WorkflowSvc';
      const bytes = (content: Buffer) => content;
      const method = (name: string, responseStream: boolean) => ({
        ...{ path: `/${service}/${name}`, requestStream: false, responseStream },
        ...{ requestSerialize: bytes, requestDeserialize: bytes, responseSerialize: bytes, responseDeserialize: bytes },
      });
      const noise = Buffer.from('ff00ff00ff00', 'hex');
      garbage.addService(
        { stream: method('GetWorkflowContexts', true), list: method('GetWorkflowContextList', false) },
        {
          stream: (call: { write(content: Buffer): void; end(): void }) => {
            call.write(noise);
            call.end();
          },
          list: (_: unknown, respond: (error: null, content: Buffer) => void) => respond(null, noise),
        },
      );
      const credentials = ServerCredentials.createSsl(null, [
        { cert_chain: Buffer.from(certificate), private_key: Buffer.from(key) },
      ]);
      await new Promise<void>((resolve, reject) =>
        garbage.bindAsync(authority, credentials, (error) => (error ? reject(error) : resolve())),
      );
      const logged = await machine.agent.logged(/cannot ask the server for work: (?!.*UNAVAILABLE)/);
      garbage.forceShutdown();
      await machine.server.start();
      const workflow = machine.createWorkflow(script('one', 'true'));
      return `${await machine.ended(workflow, 'one')}; ${logged}`;
    },
  },
  {
    fault: 'the server restarts while an action runs',
    expected: 'nothing is run or reported twice',
    pattern: twoSuccesses,
    async provoke(machine) {
      const workflow = machine.createWorkflow(patient('one'), script('two', 'true'));
      await machine.start();
      await machine.agent.logged(/\[one\] up/);
      await machine.server.restart();
      await machine.go(workflow);
      return await machine.ended(workflow, 'two');
    },
  },
  {
    fault: 'the server gets another certificate, of another authority',
    expected: 'it is refused, and that is logged with both fingerprints; nothing is lost',
    pattern:
      /^one RUNNING; cannot .*: it has changed: its SHA-256 fingerprint was [\dA-F:]{95}.* and is now [\dA-F:]{95}/,
    async provoke(machine) {
      const workflow = machine.createWorkflow(patient('one'), script('two', 'true'));
      await machine.start();
      await machine.agent.logged(/\[one\] up/);
      const trusted = machine.server.certificate;
      await machine.server.changeCertificate(await makeCertificate([machine.server.address]));
      await machine.go(workflow);
      const seen = `${recorded(machine, workflow)}; ${await machine.agent.logged(/cannot .*it has changed: .*/)}`;
      await machine.server.changeCertificate(trusted);
      assert.match(await machine.ended(workflow, 'two'), twoSuccesses);
      return seen;
    },
  },
  {
    fault: 'the server gets another certificate, and the agent trusts a given authority only',
    expected: 'the server is not trusted, and that is logged; nothing is lost',
    pattern: /^one RUNNING; cannot report the end of an action: .*(self.signed|unable to (verify|get)|certificate)/i,
    async provoke(machine) {
      const workflow = machine.createWorkflow(patient('one'), script('two', 'true'));
      const certificateAuthority = machine.server.certificate.bundle;
      await machine.start({ transport: { certificateUrl: undefined, certificateAuthority } });
      await machine.agent.logged(/\[one\] up/);
      const trusted = machine.server.certificate;
      await machine.server.changeCertificate(await makeCertificate([machine.server.address]));
      await machine.go(workflow);
      const logged = await machine.agent.logged(/cannot report the end of an action: .*certificate/i);
      const seen = `${recorded(machine, workflow)}; ${logged}`;
      await machine.server.changeCertificate(trusted);
      assert.match(await machine.ended(workflow, 'two'), twoSuccesses);
      return seen;
    },
  },
  {
    fault: 'the workflow is deleted while its action runs',
    expected: 'the action is stopped, the next workflow runs; the machine reboots only after that',
    pattern:
      /the action is stopped: .* does not exist any more; .*\(FAILED\) as obsolete: .*; then: fine SUCCESS, reboot$/,
    async provoke(machine) {
      const doomed = machine.createWorkflow(patient('doomed'));
      await machine.start();
      await machine.agent.logged(/\[doomed\] up/);
      machine.server.deleteWorkflow(doomed);
      const stopped = await machine.agent.logged(/the action is stopped/);
      const logged = await machine.agent.logged(/as obsolete/);
      const fine = machine.createWorkflow(script('fine', 'true'));
      await machine.ended(fine, 'fine');
      await machine.agent.logged(/this machine stays up/);
      return `${recorded(machine, doomed)}; ${stopped}; ${logged}; then: fine SUCCESS, ${machine.agent.happened.join()}`;
    },
  },
  {
    fault: 'the workflow is ended on the server (cancelled) while its action runs',
    expected: 'the action is stopped; the machine does not reboot',
    pattern:
      /^doomed RUNNING, doomed FAILED; .*the action is stopped: the server has recorded its failure; rebooted: never$/,
    async provoke(machine) {
      const doomed = machine.createWorkflow(patient('doomed'));
      await machine.start();
      await machine.agent.logged(/\[doomed\] up/);
      await machine.cancel();
      const logged = await machine.agent.logged(/the action is stopped/);
      await machine.agent.logged(/idle: /);
      return `${recorded(machine, doomed)}; ${logged}; rebooted: ${machine.agent.happened.join() || 'never'}`;
    },
  },
];

function recorded({ server }: Machine, workflow: string): string {
  return server
    .events(workflow)
    .map(({ actionName, progress }) => `${actionName} ${progress}`)
    .join(', ');
}

async function listen<Listening extends Server>(server: Listening, authority = '127.0.0.1:0'): Promise<Listening> {
  const [host, port] = authority.split(':');
  server.listen(Number(port), host);
  await once(server, 'listening');
  return server;
}

/**
 * A registry with one response to all requests; plain HTTP, which the engine accepts on loopback.
 */
async function startRegistryWithStatus(test: TestContext, status: number | 'silent'): Promise<string> {
  const server = createHttpServer((_, answer) => {
    if (status !== 'silent') answer.writeHead(status, { 'content-type': 'application/json' }).end('{}');
  });
  await listen(server);
  test.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function registryFaults(test: TestContext, environment: Environment): readonly Fault[] {
  const { registry, image } = environment;
  const elsewhere =
    (status: number | 'silent', runtime: Partial<DockerRuntimeOptions> = {}): Fault['provoke'] =>
    async (machine) => {
      const options = {
        runtime: { registry: await startRegistryWithStatus(test, status), credentials: [], ...runtime },
      };
      return await failing(script('one', 'true'), options)(machine, environment);
    };
  return [
    {
      fault: 'the registry is down, and the engine has the image from an earlier pull',
      expected: 'the copy is used, with a warning',
      pattern: /^one RUNNING, one SUCCESS; .*cannot pull .*connection refused; using the local copy/,
      async provoke(machine) {
        await using other = await startRegistry();
        await other.push('busybox', image);
        const runtime = { registry: other.host, credentials: [other] };
        const earlier = machine.createWorkflow(script('earlier', 'true'));
        await machine.start({ runtime, parts: { finish: 'none' } });
        await machine.ended(earlier, 'earlier');
        await other.stop();
        const workflow = machine.createWorkflow(script('one', 'true'));
        return `${await machine.ended(workflow, 'one')}; ${await machine.agent.logged(/using the local copy/)}`;
      },
    },
    {
      fault: 'the registry is down, and the engine does not have the image',
      expected: 'FAILED with the reason after some attempts; the agent stays',
      pattern: /^one RUNNING, one FAILED \(could not be run: cannot pull .*connection refused/,
      async provoke(machine) {
        await using other = await startRegistry();
        await other.stop();
        return await pulling(other, 'never/pulled')(machine, environment);
      },
    },
    {
      fault: 'the registry comes back while an image is pulled',
      expected: 'the pull is tried again, and works',
      pattern: /^one RUNNING, one SUCCESS; .*cannot pull .*connection refused; trying again/,
      async provoke(machine) {
        await using other = await startRegistry();
        await other.push('late', image);
        await other.stop();
        const workflow = machine.createWorkflow(script('one', 'true', { image: 'late' }));
        await machine.start({ runtime: { registry: other.host, credentials: [other], pullAttempts: 100 } });
        const logged = await machine.agent.logged(/connection refused; trying again/);
        await other.start();
        return `${await machine.ended(workflow, 'one')}; ${logged}`;
      },
    },
    {
      fault: 'the registry refuses the password (401)',
      expected: 'FAILED, and that the credentials are refused; the password is not in it',
      pattern: /^one RUNNING, one FAILED \(could not be run: cannot pull .*(unauthorized|no basic auth)(?!.*canary)/,
      provoke: pulling(registry, 'private', { password: 'canary' }),
    },
    {
      fault: 'the registry does not have the image (404)',
      expected: 'FAILED with the name of the image',
      pattern: /^one RUNNING, one FAILED \(could not be run: cannot pull .*missing:7: manifest .*unknown/,
      provoke: pulling(registry, 'missing:7'),
    },
    {
      fault: 'the registry is broken (500)',
      expected: 'FAILED with the status after some attempts',
      pattern: /^one RUNNING, one FAILED \(could not be run: cannot pull .*500/,
      provoke: elsewhere(500),
    },
    {
      fault: 'the registry accepts a connection and sends no data',
      expected: 'FAILED: no progress within the limit',
      pattern: /^one RUNNING, one FAILED \(could not be run: cannot pull .*: no (progress for|answer within) 1 s/,
      provoke: elsewhere('silent', { pullStallSeconds: 1, pullAttempts: 1 }),
    },
    {
      fault: 'an image is not pulled within the limit',
      expected: 'TIMEOUT, with the reason of the last attempt',
      pattern:
        /^one RUNNING, one TIMEOUT \(timed out: cannot pull .*busybox:latest: no success within 2 s; the last attempt: .*500/,
      provoke: elsewhere(500, { pullAttempts: 100, pullTimeoutSeconds: 2 }),
    },
    {
      fault: 'the registry has the image for other architectures only',
      expected: 'FAILED at once, and why',
      pattern:
        /^one RUNNING, one FAILED \(could not be run: cannot pull .*no matching manifest for linux\/amd64.*for other architectures only/,
      async provoke(machine) {
        await registry.push('foreign', image);
        const mediaType = 'application/vnd.docker.distribution.manifest.list.v2+json';
        const platform = { architecture: 's390x', os: 'linux' };
        const { digest, mediaType: ofImage, manifest } = image;
        const list = {
          ...{ schemaVersion: 2, mediaType },
          manifests: [{ mediaType: ofImage, digest, size: manifest.length, platform }],
        };
        await registry.push('foreign', {
          ...image,
          layers: [],
          mediaType,
          manifest: Buffer.from(JSON.stringify(list)),
        });
        return await pulling(registry, 'foreign')(machine, environment);
      },
    },
  ];
}

async function containerOf({ docker }: Engine, workflow: string) {
  const [found] = await docker.listContainers({ filters: { label: [`${labels.workflow}=${workflow}`] } });
  return docker.getContainer(found?.Id ?? 'there is none');
}

const actionFaults: readonly Fault[] = [
  {
    fault: 'an action fails',
    expected: 'FAILED with exit code and last line; the workflow ends',
    pattern: /^one RUNNING, one FAILED \(exit code 3: no space left on device\)$/,
    async provoke(machine) {
      const workflow = machine.createWorkflow(
        script('one', 'echo no space left on device; exit 3'),
        script('two', 'true'),
      );
      await machine.start();
      return await machine.ended(workflow, 'one');
    },
  },
  {
    fault: 'an action takes longer than its timeout',
    expected: 'TIMEOUT with the limit; its container is gone',
    pattern: /^one RUNNING, one TIMEOUT \(timed out after 1 s: still here\); containers: 0$/,
    async provoke(machine, { engine }) {
      const workflow = machine.createWorkflow(script('one', 'echo still here; sleep 600', { timeoutSeconds: 1 }));
      await machine.start();
      const seen = await machine.ended(workflow, 'one');
      await machine.agent.logged(/idle: /);
      const filters = { label: [`${labels.workflow}=${workflow}`] };
      return `${seen}; containers: ${(await engine.docker.listContainers({ all: true, filters })).length}`;
    },
  },
  {
    fault: 'an action is killed by a signal',
    expected: 'FAILED with the name of the signal',
    pattern: /^one RUNNING, one FAILED \(ended by SIGKILL \(exit code 137\): up\)$/,
    async provoke(machine, { engine }) {
      const workflow = machine.createWorkflow(patient('one'));
      await machine.start();
      await machine.agent.logged(/\[one\] up/);
      await (await containerOf(engine, workflow)).kill({ signal: 'SIGKILL' });
      return await machine.ended(workflow, 'one');
    },
  },
  {
    fault: 'an action needs more memory than there is for it (OOM)',
    expected: 'FAILED: out of memory, also when the engine learns of the end before the reason',
    pattern: /^one RUNNING, one FAILED \(out of memory \(exit code 137\)/,
    async provoke(machine, { engine }) {
      const workflow = machine.createWorkflow(patient('one', 'exec tail /dev/zero'));
      await machine.start();
      await machine.agent.logged(/\[one\] up/);
      const Memory = 16 * 1024 ** 2;
      await (await containerOf(engine, workflow)).update({ Memory, MemorySwap: Memory });
      await machine.go(workflow);
      return await machine.ended(workflow, 'one');
    },
  },
  {
    fault: 'the command of an action does not exist',
    expected: 'FAILED with its name',
    pattern: /^one RUNNING, one FAILED \(could not be run: exec: "\/no\/such": .*no such file or directory/,
    provoke: failing({ name: 'one', command: ['/no/such'] }),
  },
  {
    fault: 'the program of an action is for another architecture',
    expected: 'FAILED, and that it has another format',
    pattern: /^one RUNNING, one FAILED \(.*exec format error/,
    provoke: failing({ name: 'one', command: ['/bin/foreign'], image: 'foreign-program' }),
  },
  {
    fault: 'another client has a container of the same name',
    expected: 'both exist',
    pattern: /^one RUNNING, one SUCCESS; the other one: created$/,
    async provoke(machine, { engine, image }) {
      const workflow = machine.createWorkflow(script('one', 'true'));
      const name = containerName(await machine.currentAction(), 'action');
      await engine.load('localhost/foreign:1', image);
      const other = await engine.docker.createContainer({ name, Image: 'localhost/foreign:1' });
      await machine.start();
      const seen = await machine.ended(workflow, 'one');
      const { State } = await other.inspect();
      await other.remove();
      return `${seen}; the other one: ${State.Status}`;
    },
  },
];

/** How often the {@link patient} action ran. */
function starts(machine: Machine): string {
  const { length } = machine.agent.log.filter((line) => /\[one\] up/.test(line));
  return `started ${length === 1 ? 'once' : `${length} times`}`;
}

/** Each with an engine of its own. */
const engineFaults: readonly Fault[] = [
  {
    fault: 'the engine is down when the agent starts',
    expected: 'logged once; the action runs when the engine answers',
    pattern: /^one RUNNING, one SUCCESS; cannot reach the container engine at .*; trying again$/,
    async provoke(machine) {
      await using engine = await startEngine({ started: false });
      const workflow = machine.createWorkflow(script('one', 'true'));
      await machine.start({ runtime: { host: engine.host } });
      const logged = await machine.agent.logged(/cannot reach the container engine/);
      await engine.start();
      const seen = await machine.ended(workflow, 'one');
      await machine.agent.stop();
      return `${seen}; ${logged}`;
    },
  },
  {
    fault: 'the engine is restarted while an action runs, which outlives it (live-restore, as in the boot image)',
    expected: 'the action is followed to its end; it does not run twice',
    pattern: /^one RUNNING, one SUCCESS; started once$/,
    async provoke(machine) {
      await using engine = await startEngine({ liveRestore: true });
      const workflow = machine.createWorkflow(patient('one'));
      await machine.start({ runtime: { host: engine.host } });
      await machine.agent.logged(/\[one\] up/);
      await engine.stop('SIGKILL');
      await machine.agent.logged(/cannot reach the container engine/);
      await engine.start();
      await machine.agent.logged(/answers again/);
      await machine.go(workflow);
      const seen = await machine.ended(workflow, 'one');
      await machine.agent.stop();
      return `${seen}; ${starts(machine)}`;
    },
  },
  {
    fault: 'the engine is restarted while an action runs, and stops it',
    // The engine answers until its containers have ended: the agent may read the end from it.
    expected: 'FAILED, and that the engine was unavailable, unless it still reported the end; it does not run twice',
    pattern:
      /^one RUNNING, one FAILED \((exit code 9|.*, the container engine was unavailable meanwhile): up\); started once$/,
    async provoke(machine) {
      await using engine = await startEngine();
      const workflow = machine.createWorkflow(patient('one'));
      await machine.start({ runtime: { host: engine.host } });
      await machine.agent.logged(/\[one\] up/);
      await engine.stop();
      await engine.start();
      const seen = await machine.ended(workflow, 'one');
      await machine.agent.stop();
      return `${seen}; ${starts(machine)}`;
    },
  },
];

const diskFaults: readonly Fault[] = [
  {
    fault: 'the disk of the state directory becomes full',
    expected: 'no action starts that could not be recorded; logged, and the agent goes on when there is space',
    pattern: /^one RUNNING, one SUCCESS; cannot record the start of an action: .*ENOSPC.*; trying again$/,
    async provoke(machine) {
      await using disk = await mountSmallDisk(machine.agent.stateDirectory);
      await machine.start();
      await machine.agent.logged(/idle: /);
      await disk.fill();
      const workflow = machine.createWorkflow(script('one', 'true'));
      const logged = await machine.agent.logged(/cannot record the start/);
      assert.equal(recorded(machine, workflow), '');
      await disk.empty();
      const seen = await machine.ended(workflow, 'one');
      await machine.agent.stop();
      return `${seen}; ${logged}`;
    },
  },
  {
    fault: 'the disk of the state directory becomes full while an action runs',
    expected: 'its end is reported when it is recorded; it does not run twice',
    pattern:
      /^one RUNNING, one FAILED \(exit code 3: .*; .*cannot record the end of an action: .*ENOSPC.*; trying again$/,
    async provoke(machine) {
      await using disk = await mountSmallDisk(machine.agent.stateDirectory);
      // The reason is too long for what is left of the journal's last block.
      const workflow = machine.createWorkflow(patient('one', 'seq 300 | xargs -n 25; exit 3'));
      await machine.start();
      await machine.agent.logged(/\[one\] up/);
      await disk.fill();
      await machine.go(workflow);
      const logged = await machine.agent.logged(/cannot record the end/);
      assert.equal(recorded(machine, workflow), 'one RUNNING');
      await disk.empty();
      const seen = await machine.ended(workflow, 'one');
      await machine.agent.stop();
      assert.equal(machine.agent.log.filter((line) => /\[one\] up/.test(line)).length, 1);
      return `${seen.replace(/: [\d ]+[^;]*/, ': …)')}; ${logged}`;
    },
  },
  {
    fault: 'the disk of the state directory fails, and becomes read-only',
    expected: 'no action starts that could not be recorded, and that is logged',
    pattern: /^no report; cannot .*(EROFS|EIO).*; trying again$/,
    async provoke(machine) {
      await using disk = await mountSmallDisk(machine.agent.stateDirectory);
      await machine.start();
      await machine.agent.logged(/idle: /);
      await disk.breakIt();
      const workflow = machine.createWorkflow(script('one', 'true'));
      const logged = await machine.agent.logged(/EROFS|EIO/);
      const seen = recorded(machine, workflow) || 'no report';
      await machine.agent.stop();
      return `${seen}; ${logged}`;
    },
  },
  {
    fault: 'the state directory is read-only when the agent starts',
    expected: 'the agent does not start, and says why (its supervisor starts it again)',
    pattern: /^cannot open the journal .*EROFS.*\(is the state directory writable\?\)$/,
    async provoke(machine) {
      await using disk = await mountSmallDisk(machine.agent.stateDirectory);
      await disk.breakIt();
      return await machine.start().then(
        () => 'the agent started',
        (error: Error) => error.message,
      );
    },
  },
];

/** A file system of a mebibyte, which becomes read-only at its first error. Needs root. */
async function mountSmallDisk(directory: string) {
  const device = await createLoopDevice({ sizeBytes: 1024 ** 2 });
  await execa('mke2fs', ['-q', '-t', 'ext4', '-O', '^has_journal', '-b', '1024', device.path]);
  await mkdir(directory, { recursive: true });
  await execa('mount', ['-o', 'errors=remount-ro', device.path, directory]);
  const filler = join(directory, 'filler');
  return {
    async fill() {
      await execa('dd', ['if=/dev/zero', `of=${filler}`, 'bs=1k'], { reject: false });
    },
    empty: () => rm(filler),
    /** As a bad sector does (kernel document ABI/testing/sysfs-fs-ext4). */
    breakIt: () => writeFile(`/sys/fs/ext4/${basename(device.path)}/trigger_fs_error`, '1'),
    async [Symbol.asyncDispose]() {
      // Lazily: after a failure the journal is still open.
      await execa('umount', ['--lazy', directory]);
      await device[Symbol.asyncDispose]();
    },
  };
}

/** An ELF file for s390x, with nothing in it that could run. */
function foreignProgram(): Buffer {
  const header = Buffer.alloc(64);
  // Class 64 bits, big-endian, version 1; type EXEC, machine 22 (ELF specification, "File header").
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 2, 1]);
  header.writeUInt16BE(2, 16);
  header.writeUInt16BE(22, 18);
  return header;
}

test('faults', { concurrency: 4 }, async (test) => {
  const [engine, registry, image] = await Promise.all([startEngine(), startRegistry(), busyboxImage()]);
  test.after(() => Promise.all([engine[Symbol.asyncDispose](), registry[Symbol.asyncDispose]()]));
  await registry.push('busybox', image);
  await registry.push('foreign-program', await busyboxImage({}, { 'bin/foreign': foreignProgram() }));
  const environment = { engine, registry, image };
  const groups = [engineFaults, serverFaults, registryFaults(test, environment), actionFaults, diskFaults];
  const rows = await Promise.all(
    groups.flat().map(async ({ fault, expected, pattern, provoke }) => {
      let seen = '';
      await test.test(`${fault}: ${expected}`, async () => {
        await using machine = await Machine.create(environment);
        seen = await provoke(machine, environment);
        assert.match(seen, pattern);
        assert.equal(machine.server.panic, undefined);
      });
      return [fault, expected, forTable(seen)];
    }),
  );
  for (const row of [['fault', 'expected', 'seen'], ['---', '---', '---'], ...rows])
    test.diagnostic(`| ${row.join(' | ')} |`);
});

/** Without what differs from run to run, in a line of at most 240 characters. */
function forTable(seen: string): string {
  const plain = seen
    .replaceAll(/127(\.\d+){3}:\d+/g, '127.0.0.1')
    .replaceAll(/\/tmp\/[\w/.-]*/g, '…')
    .replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, '…')
    .replaceAll('|', '\\|');
  return plain.length > 240 ? `${plain.slice(0, 239)}…` : plain;
}
