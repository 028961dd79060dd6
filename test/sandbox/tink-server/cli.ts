/**
 * The part of tink-cli v0.1.0 that creates a workflow, with its arguments, environment and output:
 *
 *     tink hardware push < hardware-data.json
 *     tink template create --name NAME < template.yaml
 *     tink workflow create -t TEMPLATE_ID -r '{"machine1": "MAC"}'
 *
 * TINKERBELL_GRPC_AUTHORITY and TINKERBELL_CERT_URL name the server, as in the container
 * `deploy_tink-cli_1` of the sandbox v0.1.0.
 */
import { text } from 'node:stream/consumers';
import { parseArgs } from 'node:util';
import { Client, credentials } from '@grpc/grpc-js';
import { z } from 'zod';
import {
  type Hardware,
  HardwareServiceDefinition,
  type MessageFns,
  TemplateServiceDefinition,
  WorkflowServiceDefinition,
  WorkflowTemplate,
} from '../../../proto/tink.pb.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    name: { type: 'string', default: '' },
    template: { type: 'string', short: 't', default: '' },
    hardware: { type: 'string', short: 'r', default: '' },
  },
});

const protos = 'github.com.tinkerbell.tink.protos';

const commands: Readonly<Record<string, (client: Client) => Promise<string>>> = {
  'hardware push': async (client) => {
    const { push } = HardwareServiceDefinition.methods;
    const data = readHardware(await text(process.stdin));
    await call(client, `${protos}.hardware.HardwareService`, push, { data });
    return 'Hardware data pushed successfully';
  },
  'template create': async (client) => {
    const { createTemplate } = TemplateServiceDefinition.methods;
    const template = WorkflowTemplate.decode(new Uint8Array());
    const request = { ...template, name: values.name, data: await text(process.stdin) };
    const { id } = await call(client, `${protos}.template.Template`, createTemplate, request);
    return `Created Template:  ${id}`;
  },
  'workflow create': async (client) => {
    const { createWorkflow } = WorkflowServiceDefinition.methods;
    const request = { template: values.template, hardware: values.hardware };
    const { id } = await call(client, `${protos}.workflow.WorkflowSvc`, createWorkflow, request);
    return `Created Workflow:  ${id}`;
  },
};

const run = commands[positionals.join(' ')];
if (run === undefined) throw new Error(`tink ${positionals.join(' ')} is not among the commands of this sandbox`);
const client = await connect();
try {
  process.stdout.write(`${await run(client)}\n`);
} finally {
  client.close();
}

async function connect(): Promise<Client> {
  const environment = z.object({ TINKERBELL_GRPC_AUTHORITY: z.string(), TINKERBELL_CERT_URL: z.url() });
  const server = environment.parse(process.env);
  const answer = await fetch(server.TINKERBELL_CERT_URL);
  if (!answer.ok) throw new Error(`${server.TINKERBELL_CERT_URL} answered ${answer.status}`);
  const certificate = Buffer.from(await answer.arrayBuffer());
  return new Client(server.TINKERBELL_GRPC_AUTHORITY, credentials.createSsl(certificate));
}

/** What of the JSON reaches workflows; the server's own schema is the same. */
function readHardware(json: string): Hardware {
  const address = z.object({ address: z.string() });
  const dhcp = z.object({ mac: z.string(), ip: address.optional() });
  const network = z.object({ interfaces: z.array(z.object({ dhcp })) });
  const { id, network: found } = z.object({ id: z.string(), network }).parse(JSON.parse(json));
  return { id, network: { interfaces: found.interfaces.map(({ dhcp: { mac, ip } }) => ({ dhcp: { mac, ip } })) } };
}

interface Method<Request, Response> {
  readonly name: string;
  readonly requestType: MessageFns<Request>;
  readonly responseType: MessageFns<Response>;
}

function call<Request, Response>(
  to: Client,
  service: string,
  { name, requestType, responseType }: Method<Request, Response>,
  request: Request,
): Promise<Response> {
  const { promise, resolve, reject } = Promise.withResolvers<Response>();
  to.makeUnaryRequest(
    `/${service}/${name}`,
    (message: Request) => Buffer.from(requestType.encode(message).finish()),
    (bytes: Buffer) => responseType.decode(bytes),
    request,
    (error, response) => {
      if (response !== undefined) resolve(response);
      else reject(error ?? new Error(`${name}: no response`));
    },
  );
  return promise;
}
