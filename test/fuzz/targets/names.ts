/** Short texts: the kernel command line, names of images, hosts and proxies, settings. */
import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadSettings } from '../../../agent/settings/config.ts';
import { parseKernelCommandLine } from '../../../agent/settings/kernel-cmdline.ts';
import { ConfigError } from '../../../agent/settings/sources.ts';
import { InstallError } from '../../../installer/errors.ts';
import { readSettings } from '../../../installer/image2disk/settings.ts';
import { formatAuthority, parseAuthority, splitAuthority } from '../../../net/authority.ts';
import { addressOfProxy, isSocks, ProxyError, proxyRulesOf } from '../../../net/proxy.ts';
import {
  ImageReferenceError,
  namesNoRegistry,
  parseReference,
  withRegistry,
} from '../../../registry/image-reference.ts';
import { printable, printableLines } from '../../../text/printable.ts';
import { wordsOf } from '../inputs.ts';
import { require, type Target } from '../target.ts';

export const kernelCommandLineTarget: Target = {
  name: 'kernel-command-line',
  seeds: [
    'BOOT_IMAGE=/vmlinuz console=ttyS0,115200 worker_id=08:00:27:00:00:01 grpc_authority=192.168.1.1:42113 -- quiet',
    'a="b c" "d=e f" g-h=1 g_h=2 tink_worker_image="x" = == "" "',
  ],
  generated: wordsOf(['a', '-', '_', '"', ' ', '=', '--', 'worker_id', '\n']),
  check(input) {
    const parameters = parseKernelCommandLine(input.toString());
    const written = [...parameters].map(([name, value]) => (value === true ? `"${name}"` : `"${name}=${value}"`));
    const again = parseKernelCommandLine(written.join(' '));
    require(JSON.stringify([...again]) === JSON.stringify([...parameters]), () =>
      `${JSON.stringify([...parameters])} reads as ${JSON.stringify([...again])}`);
  },
};

const settingsDirectory = mkdtempSync(join(tmpdir(), 'nibs-fuzz-'));
process.on('exit', () => rmSync(settingsDirectory, { recursive: true, force: true }));
const settingNames = [
  ...[
    'worker_id=',
    'grpc_authority=',
    'docker_registry=',
    'registry_username=',
    'registry_password=',
    'tinkerbell_tls=',
  ],
  ...['nibs_proxy=', 'HTTP_PROXY=', 'HTTPS_PROXY=', 'NO_PROXY=', 'syslog_host=', 'nibs_nats_server=', 'log_level='],
  ...['nibs_config=', 'NIBS_LOG_LEVEL=', 'MAX_RETRY=', 'RETRY_INTERVAL=', 'nibs_registry_mirrors=', 'nibs_registries='],
];

export const settingsTarget: Target = {
  name: 'settings',
  seeds: [
    'worker_id=08:00:27:00:00:01 grpc_authority=[fd00::1]:42113 docker_registry=192.168.1.1 tinkerbell_tls=false',
    'HTTP_PROXY=http://user:p%zz@proxy:3128 NO_PROXY=10.0.0.0/8,*.local log_level=constructor syslog_host=a:b:c',
    'nibs_nats_server=nats://u:%zz@host:4222 nibs_registry_mirrors=docker.io=a,b=c nibs_registries=a=b:c',
  ],
  words: settingNames,
  generated: wordsOf([...settingNames, ' ', 'http://', 'u:p@', 'host', ':', '1', 's', 'true', '%zz', 'docker.io=']),
  maxBytes: 4096,
  refusals: [ConfigError],
  async check(input) {
    const text = input.toString();
    const path = join(settingsDirectory, 'cmdline');
    await writeFile(path, input);
    const environment = Object.fromEntries(
      text.split(' ').map((entry) => [/^[^=]*/.exec(entry)?.[0] ?? '', entry.replace(/^[^=]*=?/, '')]),
    );
    for (const [kernelCommandLine, variables] of [
      [path, {}],
      ['/dev/null', environment],
    ] as const) {
      const flags = { flags: new Map(), kernelCommandLine } as unknown as Parameters<typeof loadSettings>[0];
      const { config, warnings } = await loadSettings(flags, variables, settingsDirectory);
      JSON.stringify(config);
      for (const value of Object.values(config)) {
        if (typeof value === 'object' && value !== null && 'secrets' in value) (value.secrets as () => unknown)();
        String(value);
      }
      for (const warning of warnings) require(warning !== '', () => 'an empty warning');
    }
  },
};

/** Rules of distribution's package `reference` (regexp.go and normalize.go). */
function dockerTakes(text: string): boolean {
  if (/^[a-f0-9]{64}$/.test(text)) return false;
  const slash = text.indexOf('/');
  const first = text.slice(0, Math.max(0, slash));
  const isDomain = slash >= 0 && (/[.:]/.test(first) || first === 'localhost' || first.toLowerCase() !== first);
  let [domain, remainder] = isDomain ? [first, text.slice(slash + 1)] : ['docker.io', text];
  if (domain === 'index.docker.io') domain = 'docker.io';
  if (domain === 'docker.io' && !remainder.includes('/')) remainder = `library/${remainder}`;
  const separator = remainder.search(/[:@]/);
  const remote = separator > -1 ? remainder.slice(0, separator) : remainder;
  if (remote.toLowerCase() !== remote) return false;
  const match = dockerReference.exec(`${domain}/${remainder}`);
  if (match === null) return false;
  const { name = '', digest } = match.groups ?? {};
  if (name.slice(name.indexOf('/') + 1).length > 255) return false;
  return digest === undefined || /^(?:sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128})$/.test(digest);
}

const dockerReference = (() => {
  const component = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
  const domain = `(?:${component}(?:\\.${component})*|\\[(?:[a-fA-F0-9:]+)\\])(?::[0-9]+)?`;
  const path = '[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*';
  const digest = '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}';
  return new RegExp(
    `^(?<name>(?:${domain}/)?${path}(?:/${path})*)(?::(?<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?<digest>${digest}))?$`,
  );
})();

const digests = [`@sha256:${'0a'.repeat(32)}`, `@sha512:${'0a'.repeat(64)}`, `@sha256:${'0A'.repeat(32)}`];
const imageWords = [
  'docker.io',
  'index.docker.io',
  'localhost',
  'library',
  '[::1]',
  ':5000',
  ':latest',
  'UPPER',
  '__',
  '--',
];

export const imageReferenceTarget: Target = {
  name: 'image-reference',
  seeds: [
    ...['busybox', 'quay.io/tinkerbell/actions:v1.0', 'localhost:5000/a/b_c--d', '[::1]:5000/x@sha256:abc', 'A/b'],
    ...digests.map((digest) => `registry.example:443/a/b:tag${digest}`),
  ],
  words: [...imageWords, ...digests],
  generated: wordsOf([...imageWords, ...digests, '/', '/', ':', '@', 'a', '.', '-', '_'], 8),
  maxBytes: 8192,
  refusals: [ImageReferenceError],
  check(input) {
    const text = input.toString();
    for (const rule of ['always', 'unqualified', 'never'] as const)
      for (const registry of ['192.168.1.1:5000', 'https://a.b/c/', '', undefined]) withRegistry(text, registry, rule);
    namesNoRegistry(text);
    let reference: ReturnType<typeof parseReference>;
    try {
      reference = parseReference(text);
    } catch (error) {
      require(!dockerTakes(text), () => `Docker takes ${JSON.stringify(text)}: ${(error as Error).message}`);
      throw error;
    }
    require(dockerTakes(text), () => `Docker refuses ${JSON.stringify(text)}`);
    const { canonical, host, repository } = reference;
    const again = parseReference(canonical);
    require(JSON.stringify(again) === JSON.stringify(reference), () => `${canonical} reads otherwise`);
    require(host !== '' && !/\.\.|\/\/|^\/|\/$/.test(repository), () => `${host} and ${repository}`);
    require(URL.canParse(`https://${host}/v2/${repository}/`), () => `${host}/${repository} makes no URL`);
  },
};

export const authorityTarget: Target = {
  name: 'host-names',
  seeds: ['host', 'host:42113', '[fd00::1]:80', 'fd00::1', '[fe80::1%eth0]:1', 'a:b:c', '[]:1', 'host:99999', ':80'],
  words: ['[', ']', ':', '::', '%eth0', ':65535', ':65536', ':00080', 'xn--', '127.1'],
  maxBytes: 4096,
  check(input) {
    const text = input.toString();
    splitAuthority(text);
    const authority = parseAuthority(text);
    if (authority === undefined) return;
    const { host, port } = authority;
    require(host !== '' && !/\s/.test(host), () => `the host ${JSON.stringify(host)}`);
    require(port === undefined || (port > 0 && port < 65536), () => `the port ${port}`);
    const again = parseAuthority(formatAuthority(authority));
    require(again?.host === host && again.port === port, () => `${formatAuthority(authority)} reads otherwise`);
  },
};

/** Variables in lines of the form `NAME=value`. */
function environmentOf(input: Buffer): Record<string, string> {
  return Object.fromEntries(
    input
      .toString()
      .split('\n')
      .map((line) => [line.slice(0, Math.max(0, line.indexOf('='))), line.slice(line.indexOf('=') + 1)]),
  );
}

const proxyNames = ['HTTP_PROXY=', 'https_proxy=', 'ALL_PROXY=', 'NO_PROXY=', 'no_proxy='];

export const proxyTarget: Target = {
  name: 'proxy-rules',
  seeds: [
    'HTTP_PROXY=http://user:p%40ss@proxy:3128\nNO_PROXY=10.0.0.0/8,.local,*.example.com,[fd00::1]:443,host:80',
    'ALL_PROXY=socks5://[::1]:1080\nNO_PROXY=*',
    'https_proxy=socks4://a\nno_proxy=::ffff:10.0.0.1, fd00::/8 300.1.1.1/33 1.2.3.4/999',
  ],
  words: [
    ...proxyNames,
    'http://',
    'https://',
    'socks5h://',
    'fd00::/8',
    '10.0.0.0/8',
    '::ffff:1.2.3.4',
    '%25',
    '%en0',
  ],
  maxBytes: 4096,
  refusals: [ProxyError],
  check(input) {
    const environment = environmentOf(input);
    const rules = proxyRulesOf(environment);
    for (const host of [
      'localhost',
      '127.0.0.2',
      '10.0.0.1',
      '::1',
      'fd00::1',
      'fe80::1%eth0',
      'a.example.com',
      'ß.de',
    ]) {
      for (const protocol of ['http:', 'https:'] as const) {
        const proxy = rules({ protocol, host, port: 443 });
        if (proxy === undefined) continue;
        require(!/^(?:localhost|127\.|::1)/.test(host), () => `${host} by the proxy ${proxy.href}`);
        const address = addressOfProxy(proxy);
        require(address.host !== '' && Number.isInteger(address.port), () => `the address ${JSON.stringify(address)}`);
        isSocks(proxy);
      }
    }
  },
};

const image2diskNames = [
  ...[
    'IMG_URL=',
    'DEST_DISK=',
    'COMPRESSED=',
    'RETRY_ENABLED=',
    'RETRY_DURATION_MINUTES=',
    'IMG_SHA256=',
    'IMG_SIG_URL=',
  ],
  ...[
    'IMG_CHECKSUM_URL=',
    'IMG_SIG_KEY=',
    'DEST_NEVER=',
    'DEST_MIN_SIZE=',
    'DEST_WAIT_SECONDS=',
    'FORMAT=',
    'READ_BACK=',
  ],
];

export const image2diskTarget: Target = {
  name: 'image2disk-settings',
  seeds: [
    'IMG_URL=http://192.168.1.2/ubuntu.raw.gz\nDEST_DISK=/dev/sda\nCOMPRESSED=true',
    'IMG_URL=registry.example/debian:raw.gz\nDEST_DISK=size>=400GB,rotational=constructor\nREGISTRY_USERNAME=a\nREGISTRY_PASSWORD=b',
    `IMG_URL=file:///a%00b\nDEST_DISK=smallest\nIMG_SHA256=${'0'.repeat(64)}\nDEST_MIN_SIZE=5constructor`,
  ],
  words: [...image2diskNames, 'http://', 'oci://', 'file://', 'smallest', 'model=', 'size>=', 'kB', 'true'],
  generated: wordsOf(
    [...image2diskNames.map((name) => `\n${name}`), 'http://', 'a', '/', 'oci://', 'true', '5', 'GB'],
    16,
  ),
  maxBytes: 4096,
  refusals: [InstallError],
  check(input) {
    const environment = environmentOf(input);
    const { target, retryMinutes, progressSeconds } = readSettings(environment, () => {}, 5);
    const { minBytes = 0, waitSeconds = 0 } = target as { minBytes?: number; waitSeconds?: number };
    for (const number of [minBytes, waitSeconds, retryMinutes, progressSeconds])
      require(number >= 0 && Number.isFinite(number), () => `a setting is ${number}`);
  },
};

export const printableTarget: Target = {
  name: 'printable',
  seeds: ['plain', '\x1b[31mred\x1b[0m', '\x1b]0;title\x07text', '\x9b2J\u202eabc\u2028', 'a\r\nb\tc', '\ud800x'],
  words: ['\x1b', '\x1b[', '\x1b]', '\x07', '\x1b\\', '\x9c', '\x9b', '\x9d', '\x1bP', 'm', ';'],
  check(input) {
    const text = [...input].map((byte) => String.fromCharCode(byte)).join('') + input.toString();
    for (const limit of [10, 16 * 1024]) {
      const shown = printable(text, limit);
      require(shown.length <= limit, () => `${shown.length} characters, more than ${limit}`);
      require(!/[\p{Cc}\u2028\u2029\u202a-\u202e]/u.test(shown) && shown.isWellFormed(), () => JSON.stringify(shown));
      require(printable(shown, limit) === shown, () => `${JSON.stringify(shown)} changes again`);
    }
    for (const [index, line] of printableLines(text).split('\n').entries())
      require(index === 0 || line === '' || line.startsWith('  '), () => `the line ${JSON.stringify(line)}`);
  },
};
