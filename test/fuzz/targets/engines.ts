/** What container engines and images say. */
import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolveUser } from '../../../agent/runtime/containerd/spec/container-user.ts';
import { SpecError } from '../../../agent/runtime/containerd/spec/spec-error.ts';
import { storedCredentialsFor } from '../../../agent/runtime/credentials.ts';
import { containerDetails, containerList } from '../../../agent/runtime/docker/container-responses.ts';
import { containerEvents } from '../../../agent/runtime/docker/events.ts';
import { demultiplex } from '../../../agent/runtime/docker/frames.ts';
import { OperationError } from '../../../errors/operation-error.ts';
import { RegistryConfigError, registryHosts } from '../../../registry/hosts.ts';
import { jsonWith, wordsOf } from '../inputs.ts';
import { require, type Target } from '../target.ts';

async function* pieces(input: Buffer): AsyncGenerator<Buffer> {
  const length = 1 + (input.length % 509);
  for (let at = 0; at < input.length; at += length) yield Buffer.from(input.subarray(at, at + length));
}

const frame = (type: number, text: string) =>
  Buffer.concat([Buffer.of(type, 0, 0, 0, 0, 0, 0, text.length), Buffer.from(text)]);

export const framesTarget: Target = {
  name: 'docker-output',
  seeds: [Buffer.concat([frame(1, 'out\n'), frame(2, 'err'), frame(1, '')]), frame(3, 'x'), frame(9, 'x')],
  async check(input) {
    let sizeBytes = 0;
    try {
      for await (const { bytes, stream } of demultiplex(pieces(input))) {
        require(stream === 'stdout' || stream === 'stderr', () => `the stream ${stream}`);
        sizeBytes += bytes.length;
      }
    } catch (error) {
      require(/^a frame of the output has the unknown type \d+$/.test((error as Error).message), () => String(error));
    }
    require(sizeBytes <= input.length, () => `${sizeBytes} bytes of ${input.length}`);
  },
};

const engineKeys = [
  ...[
    'Id',
    'Names',
    'Image',
    'Labels',
    'State',
    'Config',
    'Status',
    'Running',
    'ExitCode',
    'OOMKilled',
    'Error',
    'StartedAt',
  ],
  ...['FinishedAt', 'Action', 'Actor', 'Attributes', 'exitCode'],
];

export const engineAnswersTarget: Target = {
  name: 'docker-answers',
  seeds: [
    '[{"Id":"a","Names":["/b","/c/d"],"Image":"i","Labels":null,"State":"constructor"}]',
    '{"Id":"a","Config":{"Labels":{"__proto__":"b"}},"State":{"Running":false,"ExitCode":1,"StartedAt":"2026-01-01T00:00:00Z","FinishedAt":"0001-01-01T00:00:00Z"}}',
    '{"Action":"die","Actor":{"Attributes":{"exitCode":"x"}}}\n{"Action":"oom","Actor":{"Attributes":{}}}\n',
  ],
  generated: jsonWith(engineKeys, ['running', 'die', '2026-01-01T00:00:00Z', '137', '/name']),
  words: [...engineKeys.map((key) => `"${key}":`), '"2026-01-01T00:00:00Z"', '"running"'],
  // A line that is cut off.
  refusals: [SyntaxError],
  async check(input) {
    const text = input.toString();
    for await (const event of containerEvents(pieces(input)))
      require(event.kind !== undefined, () => 'an event without a kind');
    const value: unknown = JSON.parse(text);
    for (const { status } of containerList.safeParse(value).data ?? [])
      require(typeof status === 'string', () => `the status ${String(status)}`);
    const details = containerDetails.safeParse(value).data;
    require(details === undefined || typeof details.state.status === 'string', () => 'no status');
  },
};

const directory = mkdtempSync(join(tmpdir(), 'nibs-fuzz-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

/** `USER`, then what links lead to, then passwd and group, separated by lines `=====`. */
export const imageUserTarget: Target = {
  name: 'image-user',
  seeds: [
    'app:users\n=====\n\n=====\nroot:x:0:0::/:/bin/sh\napp:x:1000:100::/:/bin/sh\n=====\nusers:x:100:app\n',
    '1000\n=====\n../../../../../etc\n=====\na:x:4294967296:1\n=====\nb:x:1:a,b\n',
    'constructor:__proto__\n=====\n/etc/link\n=====\n:::\n=====\n\n',
  ],
  words: ['\n=====\n', ':x:', ':0:', '../', '/', 'etc', '4294967295'],
  refusals: [SpecError],
  async check(input) {
    const [user = '', link = '', passwd = '', group = ''] = input.toString().split('\n=====\n');
    const root = join(directory, 'root');
    await rm(root, { recursive: true, force: true });
    await mkdir(join(root, 'etc'), { recursive: true });
    const target = link.split('\n')[0]?.replaceAll('\0', '') ?? '';
    if (target !== '' && target.length < 200) {
      await symlink(target, join(root, 'etc/passwd'));
      await symlink(target, join(root, 'etc/link'));
    } else await writeFile(join(root, 'etc/passwd'), passwd);
    await writeFile(join(root, 'etc/group'), group);
    const { uid, gid, additionalGids } = await resolveUser(user, root);
    for (const id of [uid, gid, ...additionalGids])
      require(Number.isInteger(id) && id >= 0 && id < 2 ** 31, () => `the id ${id}`);
    const isOfMachine = user.startsWith('daemon') && !passwd.includes('daemon');
    require(!isOfMachine, () => 'a user of this machine');
  },
};

const hostWords = [
  ...[
    'server = "https://a"\n',
    '[host."https://b:5000"]\n',
    'capabilities = ["pull"]\n',
    'skip_verify = true\n',
    'ca = "x"\n',
  ],
  ...[
    '[host."http://c".header]\n',
    'override_path = true\n',
    '[header]\n',
    'x = ["a"]\n',
    '"""',
    '[[',
    ']]',
    '= ',
    '1979-05-27',
  ],
];

export const hostsFileTarget: Target = {
  name: 'registry-hosts-file',
  seeds: [
    hostWords.slice(0, 4).join(''),
    `${hostWords[1]}${hostWords[6]}${hostWords[5]}${hostWords[8]}`,
    'server = "::"',
    '[__proto__]\na=1',
  ],
  generated: wordsOf(hostWords),
  words: hostWords,
  refusals: [RegistryConfigError],
  async check(input) {
    const path = join(directory, 'certs.d/registry.example');
    await mkdir(path, { recursive: true });
    await writeFile(join(path, 'hosts.toml'), input);
    const hosts = await registryHosts('registry.example', {
      registryConfigPath: join(directory, 'certs.d'),
      dockerCertsPath: undefined,
    });
    require(hosts.length > 0, () => 'no host');
    for (const { url } of hosts) require(/^https?:$/.test(url.protocol) && url.host !== '', () => url.href);
  },
};

export const loginsTarget: Target = {
  name: 'docker-logins',
  seeds: [
    `{"auths":{"https://index.docker.io/v1/":{"auth":"${Buffer.from('user:pass:word').toString('base64')}"}}}`,
    '{"auths":{"registry.example":{"identitytoken":"t"},"__proto__":{"auth":"YTpi"}}}',
    '{"auths":{}}',
  ],
  generated: jsonWith(
    ['auths', 'docker.io', 'auth', 'identitytoken', 'https://index.docker.io/v1/'],
    ['YTpi', 'YQ==', 'token'],
  ),
  words: ['"auths":', '"docker.io":', '"auth":', '"identitytoken":', '"YTpi"'],
  refusals: [OperationError],
  async check(input) {
    await writeFile(join(directory, 'config.json'), input);
    for (const host of ['docker.io', 'registry.example', '__proto__', 'constructor']) {
      const login = await storedCredentialsFor(host, directory);
      const texts = Object.values(login ?? {});
      require(texts.every((text) => typeof text === 'string'), () => `the login ${JSON.stringify(login)}`);
    }
  },
};
