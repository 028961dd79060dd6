import { z } from 'zod';
import { Secret } from '../../log/redact.ts';
import { settingsOf } from '../names.ts';
import { boolean, choice, dockerHost, duration, mirrors, registryAccounts, string } from '../values.ts';

const setting = settingsOf('Registry and engine');

export const engineSettings = {
  dockerRegistry: setting(string().optional(), {
    name: 'docker-registry',
    description: 'Registry (host[:port][/path]) that images come from.',
    value: 'REGISTRY',
    flags: ['registry-name'],
    letter: 'r',
    environment: ['AGENT_REGISTRY_NAME', 'DOCKER_REGISTRY'],
    kernel: ['docker_registry'],
  }),
  registryUsername: setting(string().optional(), {
    name: 'registry-username',
    description: 'User name at that registry; sent to no other.',
    value: 'NAME',
    flags: ['registry-user'],
    letter: 'u',
    environment: ['AGENT_REGISTRY_USER', 'REGISTRY_USERNAME'],
    kernel: ['registry_username'],
  }),
  registryPassword: setting(
    string()
      .transform((value) => new Secret(value))
      .optional(),
    {
      name: 'registry-password',
      description: 'Password at that registry.',
      value: 'PASSWORD',
      flags: ['registry-pass'],
      letter: 'p',
      environment: ['AGENT_REGISTRY_PASS', 'REGISTRY_PASSWORD'],
      kernel: ['registry_password'],
    },
  ),
  registries: setting(registryAccounts().optional(), {
    name: 'registries',
    description:
      'User name and password at other registries, each sent only to this host[:port]. May be repeated, or a list separated by spaces. In a configuration file a mapping: {"HOST": {"username": "…", "password": "…"}}.',
    value: 'HOST=NAME:PASSWORD',
    flags: ['registry-credentials'],
    repeatable: true,
  }),
  registryPrefix: setting(choice(['auto', 'always', 'unqualified', 'never']).default('auto'), {
    name: 'registry-prefix',
    description:
      'Which image names get the registry as prefix: all, those that name no registry, or none. auto: all with servers up to v0.12, as tink-worker; none with current ones, as tink-agent, where the registry is for credentials only; with a template from a file, those that name no registry.',
    value: 'auto|always|unqualified|never',
  }),
  imageDirectory: setting(string().optional(), {
    name: 'image-directory',
    description:
      'Directory with archives of images (docker save), which are loaded into the engine when the agent starts, and deleted. No action looks for its image before. Not with containerd. Default: none.',
    value: 'DIRECTORY',
  }),
  registryMirrors: setting(mirrors().optional(), {
    name: 'registry-mirrors',
    description:
      'Mirror of a registry, tried first; its path is put in front of the names of images. May be repeated, or a list separated by commas.',
    value: 'REGISTRY=MIRROR',
    flags: ['registry-mirror'],
    repeatable: true,
  }),
  dockerConfig: setting(string().optional(), {
    name: 'docker-config',
    description: 'Directory with a config.json of the Docker client, with credentials for other registries.',
    value: 'DIRECTORY',
    environment: ['DOCKER_CONFIG'],
  }),
  runtime: setting(
    z
      .enum(
        ['docker', 'containerd'],
        'must be docker (any engine with the Docker API, also the service of Podman) or containerd; the kubernetes runtime is not supported: its jobs get no devices',
      )
      .default('docker'),
    {
      name: 'runtime',
      description: 'API of the container engine: docker (also the service of Podman), or containerd, as in CaptainOS.',
      value: 'KIND',
      environment: ['AGENT_RUNTIME'],
    },
  ),
  dockerHost: setting(dockerHost().default('unix:///var/run/docker.sock'), {
    name: 'docker-host',
    description: 'Address of the Docker API.',
    value: 'URL|PATH',
    flags: ['docker-socket'],
    environment: ['AGENT_DOCKER_SOCKET', 'DOCKER_HOST'],
  }),
  containerdSocket: setting(string().default('/run/containerd/containerd.sock'), {
    name: 'containerd-socket',
    description: 'Socket of containerd.',
    value: 'PATH',
    environment: ['AGENT_CONTAINERD_SOCKET'],
  }),
  containerdNamespace: setting(string().default('tinkerbell'), {
    name: 'containerd-namespace',
    description: 'Namespace in containerd for images and containers.',
    value: 'NAME',
    environment: ['AGENT_CONTAINERD_NAMESPACE'],
  }),
  containerdDataRoot: setting(string().default('/var/lib/nerdctl'), {
    name: 'containerd-data-root',
    description: 'Directory for the named volumes of actions that run in containerd.',
    value: 'DIRECTORY',
    environment: ['AGENT_CONTAINERD_DATA_ROOT'],
  }),
  containerdRegistryConfigPath: setting(string().default('/etc/containerd/certs.d'), {
    name: 'containerd-registry-config-path',
    description:
      'Directory with a hosts.toml for each registry (mirrors, certificates, plain HTTP), as in containerd; the certificates in /etc/docker/certs.d are trusted too.',
    value: 'DIRECTORY',
    environment: ['AGENT_CONTAINERD_REGISTRY_CONFIG_PATH'],
  }),
  network: setting(choice(['auto', 'host', 'none', 'default']).default('auto'), {
    name: 'network',
    description:
      "Container network mode of actions that name none: the machine's network (host), none, or the engine's default network (default). auto: default if the engine has a bridge, else host.",
    value: 'NETWORK',
  }),
  pullTimeoutSeconds: setting(duration().default(3600), {
    name: 'pull-timeout',
    description:
      'Time limit for pulling the image of an action, over all attempts and mirrors; it does not count as time of the action. After it the result is TIMEOUT, unless the engine has an older copy of the image.',
    value: 'DURATION',
  }),
  actionTimeoutSeconds: setting(duration().default(3600), {
    name: 'action-timeout',
    description: 'Time limit of actions that name none, or none above zero; as with tink-worker.',
    value: 'DURATION',
  }),
  stopGraceSeconds: setting(duration().default(5), {
    name: 'stop-grace',
    description: 'Time between the stop signal (SIGTERM, or the one that the image names) and SIGKILL.',
    value: 'DURATION',
  }),
  privileged: setting(boolean().default(true), {
    name: 'privileged',
    description:
      'Run actions privileged. False: with all capabilities that the machine grants and all devices, for test machines that refuse privileged containers.',
  }),
  engineStorage: setting(string().optional(), {
    name: 'engine-storage',
    description:
      'Directory in which the engine keeps images: before a pull the agent warns if the image cannot fit. Default: /var/lib/docker or /var/lib/containerd.',
    value: 'DIRECTORY',
  }),
  captureActionLogs: setting(boolean().default(true), {
    name: 'capture-action-logs',
    description: "Copy the output of actions to the agent's log.",
    environment: ['CAPTURE_ACTION_LOGS'],
  }),
};
