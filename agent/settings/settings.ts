import { z } from 'zod';
import { Secret } from '../log/redact.ts';
import {
  absolutePath,
  authority,
  choice,
  dockerHost,
  duration,
  flag,
  httpUrl,
  logLevel,
  macAddress,
  mirrors,
  natsServer,
  port,
  proxyAddress,
  registryAccounts,
  syslogHost,
  templateValues,
  text,
} from './values.ts';

/** Under which names a setting can be given. In each list a later name wins over an earlier one. */
export interface Names {
  /** Heading in `--help`. */
  readonly group: 'Server' | 'Without a server' | 'Registry and engine' | 'Behaviour' | 'Files and log' | 'Proxies';
  readonly description: string;
  /** What a value looks like; `undefined` for a switch. */
  readonly value: string | undefined;
  /** Long flags without dashes, the preferred one first; also keys of the configuration file. */
  readonly flags: readonly [string, ...string[]];
  /** One-letter flag. */
  readonly letter?: string;
  readonly environment: readonly string[];
  /** Keys on the kernel command line. */
  readonly kernel: readonly string[];
  /** The flag may be given several times; the values arrive with `repetition` (values.ts) between them. Default: the last one counts. */
  readonly repeatable?: true;
}

/** What belongs to a setting besides its type: its names and its help. */
const names = z.registry<Names>();

/**
 * Every setting: its type, its default and all its names. The names are those of tink-worker v0.1 to v0.12, of tink-agent, and of the kernel command
 * lines that OSIE, HookOS and CaptainOS are started with; what is ours alone begins with `nibs_`.
 */
export const schema = z.object({
  workerId: text()
    .optional()
    .register(names, {
      group: 'Server',
      description:
        'Who this machine is to the server: a hardware UUID, a MAC address or another text. Default: the MAC address of the boot interface.',
      value: 'ID',
      flags: ['id', 'worker-id'],
      letter: 'i',
      environment: ['AGENT_ID', 'ID', 'WORKER_ID', 'NIBS_WORKER_ID'],
      kernel: ['worker_id', 'nibs_worker_id'],
    }),
  bootMac: macAddress()
    .optional()
    .register(names, {
      group: 'Server',
      description: 'MAC address of the interface the machine booted from; the worker id when no other is given.',
      value: 'MAC',
      flags: ['boot-mac'],
      environment: ['NIBS_BOOT_MAC'],
      kernel: ['hw_addr', 'packet_bootdev_mac', 'BOOTIF'],
    }),
  transport: choice(['grpc', 'file', 'nats'])
    .default('grpc')
    .register(names, {
      group: 'Server',
      description:
        'Where work comes from: a tink server (grpc); lists of actions that somebody sends by way of a NATS server (nats); or a template that is run once, without a server, to try it on a bench (file).',
      value: 'KIND',
      flags: ['transport'],
      environment: ['AGENT_TRANSPORT', 'NIBS_TRANSPORT'],
      kernel: ['nibs_transport'],
    }),
  // The port of tink-server in all its generations.
  grpcAuthority: authority(42113)
    .optional()
    .register(names, {
      group: 'Server',
      description: 'Address of the tink server. Default port: 42113.',
      value: 'HOST[:PORT]',
      flags: ['tinkerbell-grpc-authority', 'grpc-server'],
      environment: ['AGENT_GRPC_SERVER', 'TINKERBELL_GRPC_AUTHORITY'],
      kernel: ['grpc_authority'],
    }),
  natsServer: natsServer()
    .optional()
    .register(names, {
      group: 'Server',
      description:
        'Address of the NATS server, for --transport nats; also nats://user:password@host:port, or tls:// for TLS.',
      value: 'HOST:PORT|URL',
      flags: ['nats-server'],
      environment: ['AGENT_NATS_SERVER', 'NIBS_NATS_SERVER'],
      kernel: ['nibs_nats_server'],
    }),
  natsStream: text()
    .default('tinkerbell')
    .register(names, {
      group: 'Server',
      description: 'First word of the subjects; the second is who this machine is.',
      value: 'WORD',
      flags: ['nats-stream'],
      environment: ['AGENT_NATS_STREAM', 'NIBS_NATS_STREAM'],
      kernel: ['nibs_nats_stream'],
    }),
  natsActions: text()
    .default('workflow_actions')
    .register(names, {
      group: 'Server',
      description: 'Last word of the subject that lists of actions come on.',
      value: 'WORD',
      flags: ['nats-actions'],
      environment: ['AGENT_NATS_ACTIONS', 'NIBS_NATS_ACTIONS'],
      kernel: ['nibs_nats_actions'],
    }),
  natsEvents: text()
    .default('workflow_status')
    .register(names, {
      group: 'Server',
      description: 'Last word of the subject that tells of what becomes of them.',
      value: 'WORD',
      flags: ['nats-events'],
      environment: ['AGENT_NATS_EVENTS', 'NIBS_NATS_EVENTS'],
      kernel: ['nibs_nats_events'],
    }),
  dialect: choice(['auto', 'v0.1', 'v0.2', 'v0.7', 'v0.9', 'current'])
    .default('auto')
    .register(names, {
      group: 'Server',
      description:
        'Generation of the server: tink v0.1, v0.2 to v0.6, v0.7 and v0.8, v0.9 to v0.12, or Tinkerbell v0.17 and later (current). auto finds out by asking, again when the server was replaced.',
      value: 'GENERATION',
      flags: ['dialect'],
      environment: ['NIBS_DIALECT'],
      kernel: ['nibs_dialect'],
    }),
  certUrl: httpUrl()
    .optional()
    .register(names, {
      group: 'Server',
      description:
        'Where to fetch the certificates (PEM) to trust the server by. Default: the certificate authorities of the system.',
      value: 'URL',
      flags: ['tinkerbell-cert-url'],
      environment: ['TINKERBELL_CERT_URL'],
      kernel: ['grpc_cert_url'],
    }),
  tls: flag()
    .optional()
    .register(names, {
      group: 'Server',
      description:
        'Whether to speak TLS to the server. Default: TLS if a certificate is named here; else as the generation of the server (current plaintext, all others TLS); with the dialect auto, TLS if the server has it.',
      value: undefined,
      flags: ['tinkerbell-tls', 'grpc-tls'],
      environment: ['AGENT_GRPC_TLS', 'TINKERBELL_TLS'],
      kernel: ['tinkerbell_tls'],
    }),
  tlsAuthority: text()
    .optional()
    .register(names, {
      group: 'Server',
      description:
        'File with the certificates (PEM) to trust the server by, and only these (with those of the certificate URL): of an authority, or its own.',
      value: 'FILE',
      flags: ['tls-ca'],
      environment: ['NIBS_TLS_CA'],
      kernel: ['nibs_tls_ca'],
    }),
  tlsCertificate: text()
    .optional()
    .register(names, {
      group: 'Server',
      description: 'File with the certificate (PEM) to show to the server; needs its key.',
      value: 'FILE',
      flags: ['tls-cert'],
      environment: ['NIBS_TLS_CERT'],
      kernel: ['nibs_tls_cert'],
    }),
  tlsKey: text()
    .optional()
    .register(names, {
      group: 'Server',
      description: 'File with the key (PEM) of that certificate.',
      value: 'FILE',
      flags: ['tls-key'],
      environment: ['NIBS_TLS_KEY'],
      kernel: ['nibs_tls_key'],
    }),
  insecureTls: flag()
    .default(false)
    .register(names, {
      group: 'Server',
      description: 'Speak TLS without checking who the server is.',
      value: undefined,
      flags: ['tinkerbell-insecure-tls', 'grpc-insecure-tls'],
      environment: ['AGENT_GRPC_INSECURE_TLS', 'TINKERBELL_INSECURE_TLS'],
      kernel: ['tinkerbell_insecure_tls'],
    }),
  attributeDetection: flag()
    .default(true)
    .register(names, {
      group: 'Server',
      description: 'Tell servers that want to know what the machine is made of.',
      value: undefined,
      flags: ['attribute-detection'],
      environment: ['AGENT_ATTRIBUTE_DETECTION', 'NIBS_ATTRIBUTE_DETECTION'],
      kernel: ['nibs_attribute_detection'],
    }),
  pollSeconds: duration()
    .default(3)
    .register(names, {
      group: 'Server',
      description:
        'Shortest wait between two questions for work while there is none; up to two thirds more are added at random.',
      value: 'DURATION',
      flags: ['retry-interval', 'poll-interval'],
      environment: ['RETRY_INTERVAL', 'NIBS_POLL_INTERVAL'],
      kernel: ['nibs_poll_interval'],
    }),
  maximumBackoffSeconds: duration()
    .default(15)
    .register(names, {
      group: 'Server',
      description: 'Longest wait between two attempts at something that fails.',
      value: 'DURATION',
      flags: ['backoff-max-interval'],
      environment: ['AGENT_BACKOFF_MAX_INTERVAL', 'NIBS_BACKOFF_MAX_INTERVAL'],
      kernel: ['nibs_backoff_max_interval'],
    }),

  template: text()
    .optional()
    .register(names, {
      group: 'Without a server',
      description:
        'Template to run with --transport file. Events are written to standard output, one line of JSON each; the log goes to standard error. Of several workers, --id says whose tasks are run; without it, all.',
      value: 'FILE',
      flags: ['template'],
      environment: ['NIBS_TEMPLATE'],
      kernel: [],
    }),
  values: templateValues()
    .optional()
    .register(names, {
      group: 'Without a server',
      description:
        'Value for a variable of the template, {{.NAME}}; may be repeated. In a configuration file a mapping.',
      value: 'NAME=VALUE',
      flags: ['set'],
      environment: [],
      kernel: [],
      repeatable: true,
    }),
  hardware: text()
    .optional()
    .register(names, {
      group: 'Without a server',
      description:
        'File that describes the machine, for {{.hardware}}, {{.Hardware}} and {{.references}} in the template: a Hardware manifest and the objects that it refers to, or what tink hardware push took; JSON or YAML.',
      value: 'FILE',
      flags: ['hardware'],
      environment: ['NIBS_HARDWARE'],
      kernel: [],
    }),

  dockerRegistry: text()
    .optional()
    .register(names, {
      group: 'Registry and engine',
      description: 'Registry (host[:port][/path]) that images come from.',
      value: 'REGISTRY',
      flags: ['docker-registry', 'registry-name'],
      letter: 'r',
      environment: ['AGENT_REGISTRY_NAME', 'DOCKER_REGISTRY'],
      kernel: ['docker_registry'],
    }),
  registryUsername: text()
    .optional()
    .register(names, {
      group: 'Registry and engine',
      description: 'User name at that registry; sent to no other.',
      value: 'NAME',
      flags: ['registry-username', 'registry-user'],
      letter: 'u',
      environment: ['AGENT_REGISTRY_USER', 'REGISTRY_USERNAME'],
      kernel: ['registry_username'],
    }),
  registryPassword: text()
    .transform((value) => new Secret(value))
    .optional()
    .register(names, {
      group: 'Registry and engine',
      description: 'Password at that registry.',
      value: 'PASSWORD',
      flags: ['registry-password', 'registry-pass'],
      letter: 'p',
      environment: ['AGENT_REGISTRY_PASS', 'REGISTRY_PASSWORD'],
      kernel: ['registry_password'],
    }),
  registries: registryAccounts()
    .optional()
    .register(names, {
      group: 'Registry and engine',
      description:
        'User name and password at further registries, each sent to exactly this host[:port]. May be repeated, or a list separated by spaces. In a configuration file a mapping: {"HOST": {"username": "…", "password": "…"}}.',
      value: 'HOST=NAME:PASSWORD',
      flags: ['registries', 'registry-credentials'],
      environment: ['NIBS_REGISTRIES'],
      kernel: ['nibs_registries'],
      repeatable: true,
    }),
  registryPrefix: choice(['auto', 'always', 'unqualified', 'never'])
    .default('auto')
    .register(names, {
      group: 'Registry and engine',
      description:
        'Which images that registry is put in front of: all, those that name no registry themselves, or none. auto: all with servers up to v0.12, as tink-worker; none with current ones, as tink-agent, where the registry is for credentials only; with a template of its own, the unqualified ones.',
      value: 'auto|always|unqualified|never',
      flags: ['registry-prefix'],
      environment: ['NIBS_REGISTRY_PREFIX'],
      kernel: ['nibs_registry_prefix'],
    }),
  registryMirrors: mirrors()
    .optional()
    .register(names, {
      group: 'Registry and engine',
      description:
        'Another registry that has the images of one, asked first; its path stands in front of theirs. May be repeated, or a list with commas.',
      value: 'REGISTRY=MIRROR',
      flags: ['registry-mirror'],
      environment: ['NIBS_REGISTRY_MIRRORS'],
      kernel: ['nibs_registry_mirrors'],
      repeatable: true,
    }),
  dockerConfig: text()
    .optional()
    .register(names, {
      group: 'Registry and engine',
      description:
        'Directory with a config.json as the Docker client writes it, with credentials for further registries.',
      value: 'DIRECTORY',
      flags: ['docker-config'],
      environment: ['DOCKER_CONFIG'],
      kernel: ['nibs_docker_config'],
    }),
  runtime: z
    .enum(
      ['docker', 'containerd'],
      'must be docker (any engine that answers the Docker API, Podman with its service too) or containerd; jobs of Kubernetes, which get no devices, are not made',
    )
    .default('docker')
    .register(names, {
      group: 'Registry and engine',
      description:
        'API of the container engine: docker (the service of Podman answers to it too), or containerd, which CaptainOS has.',
      value: 'KIND',
      flags: ['runtime'],
      environment: ['AGENT_RUNTIME', 'NIBS_RUNTIME'],
      kernel: ['nibs_runtime'],
    }),
  dockerHost: dockerHost()
    .default('unix:///var/run/docker.sock')
    .register(names, {
      group: 'Registry and engine',
      description: 'Where the Docker API answers.',
      value: 'URL|PATH',
      flags: ['docker-host', 'docker-socket'],
      environment: ['AGENT_DOCKER_SOCKET', 'DOCKER_HOST'],
      kernel: ['nibs_docker_host'],
    }),
  containerdSocket: text()
    .default('/run/containerd/containerd.sock')
    .register(names, {
      group: 'Registry and engine',
      description: 'Where the API of containerd answers.',
      value: 'PATH',
      flags: ['containerd-socket'],
      environment: ['AGENT_CONTAINERD_SOCKET', 'NIBS_CONTAINERD_SOCKET'],
      kernel: ['nibs_containerd_socket'],
    }),
  containerdNamespace: text()
    .default('tinkerbell')
    .register(names, {
      group: 'Registry and engine',
      description: 'Namespace of containerd that images and containers are in.',
      value: 'NAME',
      flags: ['containerd-namespace'],
      environment: ['AGENT_CONTAINERD_NAMESPACE', 'NIBS_CONTAINERD_NAMESPACE'],
      kernel: ['nibs_containerd_namespace'],
    }),
  containerdDataRoot: text()
    .default('/var/lib/nerdctl')
    .register(names, {
      group: 'Registry and engine',
      description: 'Directory for the named volumes of actions that run in containerd.',
      value: 'DIRECTORY',
      flags: ['containerd-data-root'],
      environment: ['AGENT_CONTAINERD_DATA_ROOT', 'NIBS_CONTAINERD_DATA_ROOT'],
      kernel: ['nibs_containerd_data_root'],
    }),
  containerdRegistryConfigPath: text()
    .default('/etc/containerd/certs.d')
    .register(names, {
      group: 'Registry and engine',
      description:
        'Directory with a hosts.toml for each registry (mirrors, certificates, plain HTTP), as containerd has it; the certificates in /etc/docker/certs.d count too.',
      value: 'DIRECTORY',
      flags: ['containerd-registry-config-path'],
      environment: ['AGENT_CONTAINERD_REGISTRY_CONFIG_PATH', 'NIBS_CONTAINERD_REGISTRY_CONFIG_PATH'],
      kernel: ['nibs_containerd_registry_config_path'],
    }),
  network: choice(['auto', 'host', 'none', 'default'])
    .default('auto')
    .register(names, {
      group: 'Registry and engine',
      description:
        'Network of actions that name none: that of the machine (host), none, or that of the engine (default); auto: that of the engine if it has a bridge, else that of the machine.',
      value: 'NETWORK',
      flags: ['network'],
      environment: ['NIBS_NETWORK'],
      kernel: ['nibs_network'],
    }),
  pullTimeoutSeconds: duration()
    .default(3600)
    .register(names, {
      group: 'Registry and engine',
      description:
        'Longest time for pulling the image of an action, over all attempts and mirrors; it does not count as time of the action. After that the action is a TIMEOUT, unless an older copy of the image is there.',
      value: 'DURATION',
      flags: ['pull-timeout'],
      environment: ['NIBS_PULL_TIMEOUT'],
      kernel: ['nibs_pull_timeout'],
    }),
  actionTimeoutSeconds: duration()
    .default(3600)
    .register(names, {
      group: 'Registry and engine',
      description: 'Longest time for actions that name none, or none above zero; as with tink-worker.',
      value: 'DURATION',
      flags: ['action-timeout'],
      environment: ['NIBS_ACTION_TIMEOUT'],
      kernel: ['nibs_action_timeout'],
    }),
  stopGraceSeconds: duration()
    .default(5)
    .register(names, {
      group: 'Registry and engine',
      description:
        'How long an action that is to be stopped has for an orderly end (SIGTERM, or what its image names) before it is killed.',
      value: 'DURATION',
      flags: ['stop-grace'],
      environment: ['NIBS_STOP_GRACE'],
      kernel: ['nibs_stop_grace'],
    }),
  privileged: flag()
    .default(true)
    .register(names, {
      group: 'Registry and engine',
      description:
        'Run actions privileged. False gives them all capabilities the machine grants and all devices instead, for test machines that refuse privileged containers.',
      value: undefined,
      flags: ['privileged'],
      environment: ['NIBS_PRIVILEGED'],
      kernel: ['nibs_privileged'],
    }),
  engineStorage: text()
    .optional()
    .register(names, {
      group: 'Registry and engine',
      description:
        'Where the engine keeps its images; for a warning before one is pulled that cannot fit. Default: /var/lib/docker or /var/lib/containerd.',
      value: 'DIRECTORY',
      flags: ['engine-storage'],
      environment: ['NIBS_ENGINE_STORAGE'],
      kernel: ['nibs_engine_storage'],
    }),
  captureActionLogs: flag()
    .default(true)
    .register(names, {
      group: 'Registry and engine',
      description: 'Copy the output of actions to the log of the agent.',
      value: undefined,
      flags: ['capture-action-logs'],
      environment: ['CAPTURE_ACTION_LOGS'],
      kernel: ['nibs_capture_action_logs'],
    }),

  interrupted: choice(['rerun', 'fail'])
    .default('rerun')
    .register(names, {
      group: 'Behaviour',
      description:
        'What to do with an action that had started when the agent or the machine stopped: run it again, or report it as failed.',
      value: 'rerun|fail',
      flags: ['interrupted'],
      environment: ['NIBS_INTERRUPTED'],
      kernel: ['nibs_interrupted'],
    }),
  finish: choice(['none', 'reboot', 'poweroff', 'kexec'])
    .default('none')
    .register(names, {
      group: 'Behaviour',
      description:
        'What to do with the machine after the last action of a workflow succeeded, the server acknowledged that, and no other workflow waits. kexec starts the kernel that an action has loaded (kexec -l), or the one that is named here; if that fails, the machine is restarted.',
      value: 'none|reboot|poweroff|kexec',
      flags: ['finish'],
      environment: ['NIBS_FINISH'],
      kernel: ['nibs_finish'],
    }),
  kexecDevice: text()
    .optional()
    .register(names, {
      group: 'Behaviour',
      description:
        'Device with the kernel to start (BLOCK_DEVICE of the action kexec), or LABEL= or UUID= of its file system; it is mounted read-only. Default: the kernel is a file of the running system.',
      value: 'DEVICE',
      flags: ['kexec-device'],
      environment: ['NIBS_KEXEC_DEVICE'],
      kernel: ['nibs_kexec_device'],
    }),
  kexecFsType: text()
    .optional()
    .register(names, {
      group: 'Behaviour',
      description: 'Type of the file system on that device (FS_TYPE). Default: found out.',
      value: 'TYPE',
      flags: ['kexec-fs-type'],
      environment: ['NIBS_KEXEC_FS_TYPE'],
      kernel: ['nibs_kexec_fs_type'],
    }),
  kexecKernel: absolutePath()
    .optional()
    .register(names, {
      group: 'Behaviour',
      description:
        'Kernel to start (KERNEL_PATH), a path on that device. Default: only what an action has loaded is started.',
      value: 'PATH',
      flags: ['kexec-kernel'],
      environment: ['NIBS_KEXEC_KERNEL'],
      kernel: ['nibs_kexec_kernel'],
    }),
  kexecInitrd: absolutePath()
    .optional()
    .register(names, {
      group: 'Behaviour',
      description: 'Initial RAM file system of that kernel (INITRD_PATH), a path on that device. Default: none.',
      value: 'PATH',
      flags: ['kexec-initrd'],
      environment: ['NIBS_KEXEC_INITRD'],
      kernel: ['nibs_kexec_initrd'],
    }),
  kexecCmdline: text()
    .optional()
    .register(names, {
      group: 'Behaviour',
      description:
        'Command line of that kernel (CMD_LINE); on the kernel command line within double quotes. Default: empty.',
      value: 'TEXT',
      flags: ['kexec-cmdline'],
      environment: ['NIBS_KEXEC_CMDLINE'],
      kernel: ['nibs_kexec_cmdline'],
    }),
  kexecCommand: text()
    .default('kexec')
    .register(names, {
      group: 'Behaviour',
      description: 'The program kexec of kexec-tools.',
      value: 'PROGRAM',
      flags: ['kexec-command'],
      environment: ['NIBS_KEXEC_COMMAND'],
      kernel: ['nibs_kexec_command'],
    }),
  rebootCommand: text()
    .default('reboot')
    .register(names, {
      group: 'Behaviour',
      description: 'Command that restarts the machine; words are separated by spaces.',
      value: 'COMMAND',
      flags: ['reboot-command'],
      environment: ['NIBS_REBOOT_COMMAND'],
      kernel: ['nibs_reboot_command'],
    }),
  poweroffCommand: text()
    .default('poweroff')
    .register(names, {
      group: 'Behaviour',
      description: 'Command that switches the machine off; words are separated by spaces.',
      value: 'COMMAND',
      flags: ['poweroff-command'],
      environment: ['NIBS_POWEROFF_COMMAND'],
      kernel: ['nibs_poweroff_command'],
    }),
  sysrq: flag()
    .default(false)
    .register(names, {
      group: 'Behaviour',
      description:
        'When that command fails or does nothing for 30 seconds, ask the kernel itself (sync, then /proc/sysrq-trigger). The boot image switches this on.',
      value: undefined,
      flags: ['sysrq'],
      environment: ['NIBS_SYSRQ'],
      kernel: ['nibs_sysrq'],
    }),

  workDirectory: text()
    .default('/worker')
    .register(names, {
      group: 'Files and log',
      description:
        'Directory in which every workflow has a directory of its own, which its actions see as /workflow. A file named reboot in it asks for a restart of the machine.',
      value: 'DIRECTORY',
      flags: ['work-directory'],
      environment: ['NIBS_WORK_DIRECTORY'],
      kernel: ['nibs_work_directory'],
    }),
  stateDirectory: text()
    .default('/var/lib/nibs')
    .register(names, {
      group: 'Files and log',
      description:
        'Directory of the journal: what was started, what ended, what the server knows of. On a disk it survives the machine, in memory the agent.',
      value: 'DIRECTORY',
      flags: ['state-directory'],
      environment: ['NIBS_STATE_DIRECTORY'],
      kernel: ['nibs_state_directory'],
    }),
  logLevel: logLevel()
    .default('info')
    .register(names, {
      group: 'Files and log',
      description:
        'Least severe level that is logged: fatal, error, warn, info, debug, trace; or 0, 1, 2 as tink-agent has them.',
      value: 'LEVEL',
      flags: ['log-level'],
      environment: ['AGENT_LOG_LEVEL', 'WORKER_LOG_LEVEL', 'NIBS_LOG_LEVEL'],
      kernel: ['nibs_log_level'],
    }),
  logFormat: choice(['auto', 'text', 'json'])
    .default('auto')
    .register(names, {
      group: 'Files and log',
      description: 'Lines for people (text) or for programs (json); auto is text on a terminal or console, else json.',
      value: 'auto|text|json',
      flags: ['log-format'],
      environment: ['NIBS_LOG_FORMAT'],
      kernel: ['nibs_log_format'],
    }),
  syslogHost: syslogHost()
    .optional()
    .register(names, {
      group: 'Files and log',
      description: 'Syslog server to forward the log to. Default: off, the log is not forwarded.',
      value: 'HOST[:PORT]|off',
      flags: ['syslog-host'],
      environment: ['NIBS_SYSLOG_HOST'],
      kernel: ['syslog_host', 'nibs_syslog_host'],
    }),
  syslogPort: port()
    .default(514)
    .register(names, {
      group: 'Files and log',
      description: 'Port of that server, where its address has none.',
      value: 'PORT',
      flags: ['syslog-port'],
      environment: ['NIBS_SYSLOG_PORT'],
      kernel: ['syslog_port', 'nibs_syslog_port'],
    }),
  syslogProtocol: choice(['udp', 'tcp'])
    .default('udp')
    .register(names, {
      group: 'Files and log',
      description:
        'How to speak to that server: UDP as every server takes it, or TCP, which loses nothing while the server is away for a minute.',
      value: 'udp|tcp',
      flags: ['syslog-protocol'],
      environment: ['NIBS_SYSLOG_PROTOCOL'],
      kernel: ['syslog_protocol', 'nibs_syslog_protocol'],
    }),
  syslogFormat: choice(['rfc5424', 'rfc5424-structured', 'rfc3164'])
    .default('rfc5424')
    .register(names, {
      group: 'Files and log',
      description:
        'Format of the messages: RFC 5424 with all fields in the text, which Smee, rsyslog and syslog-ng show whole; RFC 5424 with fields as structured data, which Smee drops; or RFC 3164.',
      value: 'FORMAT',
      flags: ['syslog-format'],
      environment: ['NIBS_SYSLOG_FORMAT'],
      kernel: ['syslog_format', 'nibs_syslog_format'],
    }),
  statusAddress: z
    .union([z.literal('off'), authority(42115)], 'must be host:port, for example 127.0.0.1:42115, or off')
    .default('127.0.0.1:42115')
    .register(names, {
      group: 'Files and log',
      description: 'Where /healthz, /metrics and /status are served; off: nowhere.',
      value: 'HOST:PORT|off',
      flags: ['status-address'],
      environment: ['NIBS_STATUS_ADDRESS'],
      kernel: ['nibs_status_address'],
    }),
  consoleView: z
    .union(
      [z.enum(['off', 'auto']), z.string().startsWith('/dev/')],
      'must be off, auto or a device, for example /dev/tty1',
    )
    .default('off')
    .register(names, {
      group: 'Files and log',
      description:
        'Console on which to show who the machine is and what it does: a picture on a screen, lines on a serial console; auto: all consoles of the kernel.',
      value: 'DEVICE|auto|off',
      flags: ['console-view'],
      environment: ['NIBS_CONSOLE_VIEW'],
      kernel: ['nibs_console_view'],
    }),

  httpProxy: proxyAddress()
    .optional()
    .register(names, {
      group: 'Proxies',
      description: 'Proxy for plain HTTP: a URL, or host:port.',
      value: 'URL',
      flags: ['http-proxy'],
      environment: ['http_proxy', 'HTTP_PROXY'],
      kernel: ['http_proxy', 'HTTP_PROXY'],
    }),
  httpsProxy: proxyAddress()
    .optional()
    .register(names, {
      group: 'Proxies',
      description: 'Proxy for HTTPS and gRPC.',
      value: 'URL',
      flags: ['https-proxy'],
      environment: ['https_proxy', 'HTTPS_PROXY'],
      kernel: ['https_proxy', 'HTTPS_PROXY'],
    }),
  proxyBypass: text()
    .optional()
    .register(names, {
      group: 'Proxies',
      description:
        'Hosts to reach without a proxy, separated by commas: names (with their subdomains), .subdomains, addresses, networks (10.0.0.0/8), each also with a port; * for all.',
      value: 'HOSTS',
      flags: ['proxy-bypass'],
      environment: ['no_proxy', 'NO_PROXY'],
      kernel: ['no_proxy', 'NO_PROXY'],
    }),
});

/** The agent's configuration; what a field means is said in {@link schema}. */
export type Config = Readonly<z.output<typeof schema>>;

export type SettingKey = keyof Config;

/** All settings with their names, in the order of the help. */
export const settings: readonly { readonly key: SettingKey; readonly names: Names; readonly defaultValue: unknown }[] =
  (Object.keys(schema.shape) as SettingKey[]).map((key) => {
    const field: z.ZodType = schema.shape[key];
    const named = names.get(field);
    if (named === undefined) throw new Error(`the setting ${key} has no names`);
    return { key, names: named, defaultValue: field.safeParse(undefined).data };
  });

/**
 * Flags of the Go workers that are accepted, so that the scripts which start those can start this agent, and have no effect here; `true`: takes a value.
 * Environment variables and kernel parameters that are not ours need no list: unknown ones are ignored.
 */
export const ignoredFlags: Readonly<Record<string, boolean>> = {
  'max-retry': true,
  'max-file-size': true,
  timeout: true,
  'grpc-retry-interval': true,

  'workflow-path': true,

  'kubernetes-namespace': true,
  'kubernetes-kubeconfig': true,
  'kubernetes-service-account': true,
};
