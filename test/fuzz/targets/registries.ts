/** Answers of registries: manifests, configurations, challenges, tokens, errors. */
import { authorizationFor, parseChallenges, readText, refusal } from '../../../registry/authorization.ts';
import { RegistryError, type RegistryResponse } from '../../../registry/connection.ts';
import {
  chainIds,
  checkLayers,
  chooseManifest,
  contentLabels,
  parseImageConfiguration,
  parseManifest,
  UnusableImageError,
} from '../../../registry/manifest.ts';
import { jsonWith, wordsOf } from '../inputs.ts';
import { require, type Target } from '../target.ts';

const digest = `sha256:${'ab'.repeat(32)}`;
const layerType = 'application/vnd.oci.image.layer.v1.tar+gzip';
const manifestType = 'application/vnd.oci.image.manifest.v1+json';
const descriptor = { mediaType: layerType, digest, size: 100 };
const platform = { os: 'linux', architecture: 'amd64' };
const manifest = {
  mediaType: manifestType,
  config: { ...descriptor, mediaType: 'application/vnd.oci.image.config.v1+json' },
  layers: [descriptor],
};
const manifestKeys = [
  ...['schemaVersion', 'mediaType', 'config', 'layers', 'manifests', 'fsLayers', 'digest', 'size', 'platform', 'os'],
  ...['architecture', 'variant', 'annotations', 'rootfs', 'diff_ids', 'Env', 'Cmd', 'Entrypoint', 'User', 'WorkingDir'],
];

export const manifestTarget: Target = {
  name: 'registry-manifest',
  seeds: [
    JSON.stringify(manifest),
    JSON.stringify({
      manifests: [
        { ...descriptor, platform },
        { ...descriptor, platform: { ...platform, variant: 'v2' } },
      ],
    }),
    JSON.stringify({
      config: { Env: ['A=b'], User: '1:2', Cmd: null },
      rootfs: { type: 'layers', diff_ids: [digest] },
    }),
    '{"schemaVersion":1,"fsLayers":[]}',
  ],
  generated: jsonWith(manifestKeys, [digest, layerType, manifestType, 'linux', 'amd64', 'v1', 'sha512:']),
  words: [...manifestKeys.map((key) => `"${key}":`), digest, layerType],
  refusals: [UnusableImageError],
  check(input) {
    for (const read of [readManifest, readConfiguration]) {
      try {
        read(input);
      } catch (error) {
        if (!(error instanceof UnusableImageError)) throw error;
      }
    }
  },
};

function readManifest(input: Buffer): void {
  const document = parseManifest(input, undefined);
  const labels = contentLabels(document);
  const children = document.kind === 'index' ? document.manifests : [document.config, ...document.layers];
  require(Object.keys(labels).length === children.length, () =>
    `${children.length} children, ${JSON.stringify(labels)}`);
  for (const { digest, size } of children)
    require(/^sha\d+:[0-9a-f]+$/.test(digest) && Number.isSafeInteger(size) && size >= 0, () => `${digest} of ${size}`);
  const again = parseManifest(Buffer.from(JSON.stringify(withoutKind(document))), undefined);
  require(JSON.stringify(again) === JSON.stringify(document), () => 'the manifest reads otherwise');
  if (document.kind === 'index') chooseManifest(document, platform);
  else checkLayers(document);
}

function withoutKind<Document extends { readonly kind: string }>({ kind: _, ...document }: Document) {
  return document;
}

function readConfiguration(input: Buffer): void {
  const layers = [descriptor];
  const parsed = parseManifest(Buffer.from(JSON.stringify({ ...manifest, layers })), undefined);
  if (parsed.kind !== 'manifest') return;
  const { settings, diffIds } = parseImageConfiguration(input, parsed);
  require(diffIds.length === layers.length && chainIds(diffIds).length === layers.length, () =>
    'another number of layers');
  for (const text of [settings.User, settings.WorkingDir, ...settings.Env, ...settings.Cmd])
    require(typeof text === 'string', () => `${String(text)} is no text`);
}

const challengeWords = [
  ...[
    'Bearer ',
    'Basic ',
    'realm="https://auth.example/token"',
    'realm=',
    'service="a\\"b"',
    'scope="repository:a:pull"',
  ],
  ...[', ', '=', '"', '\\"', 'http://', 'file:///etc/passwd', '__proto__="a"', 'constructor=b', 'realm="'],
];
const answerKeys = ['token', 'access_token', 'errors', 'code', 'message', 'error', 'error_description', 'details'];

/** A challenge in the first line, the answers of all servers in the rest. */
export const registryAnswerTarget: Target = {
  name: 'registry-answers',
  seeds: [
    'Bearer realm="https://auth.example/token",service="registry",scope="repository:a:pull"\n{"token":"abc"}',
    'Basic realm="x", Bearer realm="http://auth.example/"\n{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}',
    'Bearer realm="https://a/",__proto__="b"\n{"access_token":"a\\nb"}',
    'Negotiate\n<html>',
  ],
  generated: wordsOf([...challengeWords, '\n', '{"token":"a"}']),
  words: [...challengeWords, ...answerKeys.map((key) => `"${key}":`)],
  refusals: [RegistryError],
  async check(input) {
    const lineEnd = input.indexOf('\n');
    // Node takes heads of 16 KiB.
    const header = input.subarray(0, Math.min(16 * 1024, lineEnd < 0 ? input.length : lineEnd)).toString('latin1');
    const body = lineEnd < 0 ? Buffer.alloc(0) : input.subarray(lineEnd + 1);
    const challenges = parseChallenges(header);
    for (const { scheme, parameters } of challenges) {
      require(scheme === scheme.toLowerCase() && scheme !== '', () => `the scheme ${scheme}`);
      for (const value of Object.values(parameters)) require(typeof value === 'string', () => 'a parameter is no text');
      require(Object.getPrototypeOf(parameters) === Object.prototype, () => 'the parameters have another prototype');
    }
    const secret = 'pass-7f3a';
    const asked: URL[] = [];
    const responseOf = (status: number, url: URL): RegistryResponse => ({
      ...{ url, status, headers: {}, discard() {} },
      async *chunks() {
        yield body;
      },
    });
    for (const login of [undefined, { username: 'u', password: secret }, { identityToken: secret }]) {
      try {
        const authorization = await authorizationFor(challenges, {
          ...{ repository: 'a/b', login, isSecure: true },
          async request(url) {
            asked.push(url);
            require(login === undefined || url.protocol === 'https:', () => `the login goes to ${url.href}`);
            return responseOf(asked.length % 2 === 0 ? 401 : 200, url);
          },
        });
        require(authorization === undefined || /^(?:Bearer|Basic) [\x21-\x7e]+$/.test(authorization), () =>
          `${authorization}`);
      } catch (error) {
        if (!(error instanceof RegistryError)) throw error;
        require(!error.message.includes(secret), () => `the password is in: ${error.message}`);
      }
    }
    for (const { protocol } of asked) require(/^https?:$/.test(protocol), () => `a request by ${protocol}`);
    for (const status of [401, 403, 404, 429, 500]) {
      const response = responseOf(status, new URL('https://registry.example/v2/?signature=secret'));
      const { message } = refusal(response, await readText(response, 65_536), 'missing: ');
      require(!message.includes('signature=secret'), () => 'the query is in the message');
    }
  },
};
