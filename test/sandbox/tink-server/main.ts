/**
 * The fake tink server as a program.
 *
 *     node test/sandbox/tink-server/main.ts --address 192.168.1.1 --certs ./certs \
 *       --state ./state.json --hardware hardware-data.json --template flatcar.yaml \
 *       --values '{"machine1": "08:00:27:00:00:01"}'
 *
 * Prints the id of the workflow, one a line, and then a line for each event;
 * `GET /events/<workflow>` on the HTTP port has them as JSON. Ends with 0 on SIGTERM or SIGINT, and
 * with 2 when it dies of a fault that it plays, after a line as Go prints it.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { z } from 'zod';
import {
  makeCertificate,
  SERVER_DIALECTS,
  type ServerCertificate,
  type ServerDialect,
  startTinkServer,
  type TinkEvent,
  type TinkServer,
} from './server.ts';

interface Arguments {
  readonly address: string;
  readonly grpcPort: number;
  readonly httpPort: number;
  readonly dialect: ServerDialect;
  readonly certs?: string;
  readonly name: readonly string[];
  readonly state?: string;
  readonly hardware: readonly string[];
  readonly template?: string;
  readonly values: Readonly<Record<string, string>>;
}

async function main(): Promise<number> {
  const options = readArguments();
  const names = [options.address, 'localhost', 'tinkerbell', ...options.name] as const;
  await using server = await startTinkServer({
    dialect: options.dialect,
    address: options.address,
    grpcPort: options.grpcPort,
    httpPort: options.httpPort,
    certificate: await keepCertificate(options.certs, [...names]),
    ...(options.state !== undefined && { statePath: options.state }),
  });
  print(`listening on ${server.authority} (gRPC) and ${server.httpUrl}`);
  using _ = server.subscribe((event) => print(describe(event)));
  for (const file of options.hardware) server.pushHardware(JSON.parse(await readFile(file, 'utf8')));
  for (const id of await haveWorkflows(server, options)) print(`workflow ${id}`);
  const panic = await Promise.race([server.died, untilSignal()]);
  if (panic === undefined) return 0;
  process.stderr.write(`panic: ${panic}\n\ngoroutine 1 [running]:\n`);
  return 2;
}

function readArguments(): Arguments {
  const port = (text: string) => {
    const number = Number(text);
    if (!Number.isInteger(number) || number < 0 || number > 65535) throw new InvalidArgumentError('not a port.');
    return number;
  };
  const collect = (value: string, previous: readonly string[]) => [...previous, value];
  return new Command()
    .name('tink-server')
    .option('--address <ip>', 'address to listen on', '127.0.0.1')
    .option('--grpc-port <port>', '0: a free one', port, 42113)
    .option('--http-port <port>', '0: a free one', port, 42114)
    .addOption(new Option('--dialect <version>').choices(SERVER_DIALECTS).default('v0.1'))
    .option('--certs <directory>', 'keeps bundle.pem and server-key.pem; made when missing')
    .option('--name <name>', 'one more name or address for the certificate; may be repeated', collect, [])
    .option('--state <file>', 'keeps all records across restarts')
    .option('--hardware <file>', 'JSON as for `tink hardware push`; may be repeated', collect, [])
    .option('--template <file>', 'creates a workflow of it, unless the state has one')
    .option('--values <json>', "values of the template's variables", parseValues, {})
    .parse()
    .opts();
}

function parseValues(json: string): Record<string, string> {
  const values = z.record(z.string(), z.string()).safeParse(JSON.parse(json));
  if (!values.success) throw new InvalidArgumentError('not a JSON object of strings.');
  return values.data;
}

/** The certificate in the directory, so that a restarted server is still trusted. */
async function keepCertificate(
  directory: string | undefined,
  names: [string, ...string[]],
): Promise<ServerCertificate> {
  if (directory === undefined) return await makeCertificate(names);
  const [bundlePath, keyPath] = [path.join(directory, 'bundle.pem'), path.join(directory, 'server-key.pem')];
  try {
    const bundle = await readFile(bundlePath, 'utf8');
    return { bundle, certificate: bundle, key: await readFile(keyPath, 'utf8') };
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  }
  const certificate = await makeCertificate(names);
  await mkdir(directory, { recursive: true });
  await writeFile(keyPath, certificate.key, { mode: 0o600 });
  await writeFile(bundlePath, certificate.bundle);
  return certificate;
}

async function haveWorkflows(server: TinkServer, { template, values }: Arguments): Promise<readonly string[]> {
  const known = server.workflowIds();
  if (known.length > 0 || template === undefined) return known;
  const id = server.createTemplate(path.parse(template).name, await readFile(template, 'utf8'));
  return [server.createWorkflow(id, values)];
}

function describe(event: TinkEvent): string {
  const { createdAt, workflowId, workerId, taskName, actionName, status, seconds, message } = event;
  return [createdAt.toISOString(), workflowId, workerId, taskName, actionName, status, `${seconds}s`, message].join(
    ' ',
  );
}

function untilSignal(): Promise<undefined> {
  return new Promise((resolve) => {
    process.once('SIGTERM', () => resolve(undefined)).once('SIGINT', () => resolve(undefined));
  });
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

process.exitCode = await main();
