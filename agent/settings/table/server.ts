import { settingsOf } from '../names.ts';
import { authority, boolean, choice, duration, httpUrl, macAddress, natsServer, string } from '../values.ts';

const setting = settingsOf('Server');

export const serverSettings = {
  workerId: setting(string().optional(), {
    name: 'worker-id',
    description:
      'Worker ID sent to the server: a hardware UUID, a MAC address or another text. Default: the MAC address of the boot interface.',
    value: 'ID',
    flags: ['id'],
    letter: 'i',
    environment: ['AGENT_ID', 'ID', 'WORKER_ID'],
    kernel: ['worker_id'],
  }),
  bootMac: setting(macAddress().optional(), {
    name: 'boot-mac',
    description: 'MAC address of the interface that the machine booted from; the worker ID if no other is given.',
    value: 'MAC',
    kernel: ['hw_addr', 'packet_bootdev_mac', 'BOOTIF'],
  }),
  transport: setting(choice(['grpc', 'file', 'nats']).default('grpc'), {
    name: 'transport',
    description:
      'Where work comes from: a tink server (grpc), lists of actions sent through a NATS server (nats), or a template that is run once, without a server, to try it locally (file).',
    value: 'KIND',
    environment: ['AGENT_TRANSPORT'],
  }),
  // The port of tink-server in all protocol versions.
  grpcAuthority: setting(authority(42113).optional(), {
    name: 'grpc-authority',
    description: 'Address of the tink server. Default port: 42113.',
    value: 'HOST[:PORT]',
    flags: ['tinkerbell-grpc-authority', 'grpc-server'],
    environment: ['AGENT_GRPC_SERVER', 'TINKERBELL_GRPC_AUTHORITY'],
    kernel: ['grpc_authority'],
  }),
  natsServer: setting(natsServer().optional(), {
    name: 'nats-server',
    description:
      'Address of the NATS server, for --transport nats; also nats://user:password@host:port, or tls:// for TLS.',
    value: 'HOST:PORT|URL',
    environment: ['AGENT_NATS_SERVER'],
  }),
  natsStream: setting(string().default('tinkerbell'), {
    name: 'nats-stream',
    description: 'First token of the subjects; the second is the worker ID.',
    value: 'WORD',
    environment: ['AGENT_NATS_STREAM'],
  }),
  natsActions: setting(string().default('workflow_actions'), {
    name: 'nats-actions',
    description: 'Last token of the subject on which lists of actions are received.',
    value: 'WORD',
    environment: ['AGENT_NATS_ACTIONS'],
  }),
  natsEvents: setting(string().default('workflow_status'), {
    name: 'nats-events',
    description: 'Last token of the subject on which events are published.',
    value: 'WORD',
    environment: ['AGENT_NATS_EVENTS'],
  }),
  dialect: setting(choice(['auto', 'v0.1', 'v0.2', 'v0.7', 'v0.9', 'current']).default('auto'), {
    name: 'dialect',
    description:
      'Protocol version of the server: tink v0.1, v0.2 to v0.6, v0.7 and v0.8, v0.9 to v0.12, or Tinkerbell v0.17 and later (current). auto detects it, and again when the server was replaced.',
    value: 'VERSION',
  }),
  certUrl: setting(httpUrl().optional(), {
    name: 'cert-url',
    description:
      'URL of the certificates (PEM) to trust for the connection to the server. Default: the certificate authorities of the system.',
    value: 'URL',
    flags: ['tinkerbell-cert-url'],
    environment: ['TINKERBELL_CERT_URL'],
    kernel: ['grpc_cert_url'],
  }),
  certificateChange: setting(choice(['refuse', 'accept']).default('refuse'), {
    name: 'certificate-change',
    description:
      'What to do if the certificates of a certificate URL without HTTPS are others than those of the first time, which are kept in the state directory: accept replaces them.',
    value: 'refuse|accept',
  }),
  tls: setting(boolean().optional(), {
    name: 'tls',
    description: 'Whether to use TLS. Default: TLS, but with --dialect current and no certificate plaintext.',
    flags: ['tinkerbell-tls', 'grpc-tls'],
    environment: ['AGENT_GRPC_TLS', 'TINKERBELL_TLS'],
    kernel: ['tinkerbell_tls'],
  }),
  tlsAuthority: setting(string().optional(), {
    name: 'tls-ca',
    description:
      "File with the certificates (PEM) to trust for the server, and only these (with those of the certificate URL): of an authority, or the server's own.",
    value: 'FILE',
  }),
  tlsCertificate: setting(string().optional(), {
    name: 'tls-cert',
    description: 'File with the client certificate (PEM); needs its key.',
    value: 'FILE',
  }),
  tlsKey: setting(string().optional(), {
    name: 'tls-key',
    description: 'File with the key (PEM) of the client certificate.',
    value: 'FILE',
  }),
  insecureTls: setting(boolean().default(false), {
    name: 'insecure-tls',
    description: "Use TLS without verifying the server's certificate.",
    flags: ['tinkerbell-insecure-tls', 'grpc-insecure-tls'],
    environment: ['AGENT_GRPC_INSECURE_TLS', 'TINKERBELL_INSECURE_TLS'],
    kernel: ['tinkerbell_insecure_tls'],
  }),
  attributeDetection: setting(boolean().default(true), {
    name: 'attribute-detection',
    description: 'Send the hardware inventory of the machine to servers that ask for it.',
    environment: ['AGENT_ATTRIBUTE_DETECTION'],
  }),
  pollSeconds: setting(duration().default(3), {
    name: 'poll-interval',
    description: 'Minimum poll interval, plus up to two thirds of jitter.',
    value: 'DURATION',
    flags: ['retry-interval'],
    environment: ['RETRY_INTERVAL'],
  }),
  maxBackoffSeconds: setting(duration().default(15), {
    name: 'backoff-max-interval',
    description: 'Maximum back-off between two attempts at something that fails.',
    value: 'DURATION',
    environment: ['AGENT_BACKOFF_MAX_INTERVAL'],
  }),
};
