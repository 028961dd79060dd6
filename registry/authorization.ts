import { z } from 'zod';
import { RegistryError, type RegistryRequest, type RegistryResponse, redactUrl } from './connection.ts';
import type { RegistryLogin } from './login.ts';
import type { PullFailure } from './pull-failure.ts';

/** One way to authenticate that a server offers (RFC 9110 §11.3). */
export interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** What an authorization is for. */
export interface AuthorizationContext {
  /** Name of the image at the registry. */
  readonly repository: string;
  /** `undefined`: without credentials. */
  readonly login: RegistryLogin | undefined;
  /** The registry itself is reached over TLS. */
  readonly isSecure: boolean;
  request(url: URL, request: RegistryRequest): Promise<RegistryResponse>;
}

/**
 * Answers the challenges of a registry: Basic with the credentials (RFC 7617), Bearer with a token
 * from the service that the registry names (CNCF distribution, "Token Authentication Specification"
 * and "Oauth2 Token Authentication").
 * @returns the header Authorization; `undefined`: the login fits none of them.
 * @throws {RegistryError} the token service gives none.
 */
export async function authorizationFor(
  challenges: readonly Challenge[],
  context: AuthorizationContext,
): Promise<string | undefined> {
  for (const { scheme, parameters } of challenges) {
    if (scheme === 'bearer') return `Bearer ${await fetchToken(parameters, context)}`;
    const basic = scheme === 'basic' && basicAuthorization(context.login);
    if (basic) return basic;
  }
  return undefined;
}

/** Format: RFC 9110 §11.6.1; several challenges stand in one header, and so do their parameters. */
export function parseChallenges(header: string): Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  const parts = header.matchAll(/([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))|([\w-]+)/g);
  for (const [, name, quoted, token, scheme] of parts) {
    if (scheme !== undefined) challenges.push({ scheme: scheme.toLowerCase(), parameters: {} });
    const current = challenges.at(-1)?.parameters;
    if (name !== undefined && current) current[name.toLowerCase()] = quoted?.replaceAll(/\\(.)/g, '$1') ?? token ?? '';
  }
  return challenges;
}

function basicAuthorization(login: RegistryLogin | undefined): string | undefined {
  if (login === undefined || !('username' in login)) return undefined;
  return `Basic ${Buffer.from(`${login.username}:${login.password}`).toString('base64')}`;
}

/** The two kinds of service have different names for it. */
const tokenResponse = z
  .object({ token: z.string().optional(), access_token: z.string().optional() })
  .transform(({ token, access_token: accessToken }) => token || accessToken)
  // What can stand in a header (RFC 6750, 2.1, and the tokens of services that are not so strict).
  .pipe(z.string().regex(/^[\x21-\x7e]+$/));

async function fetchToken(challenge: Challenge['parameters'], context: AuthorizationContext): Promise<string> {
  const { realm = '', service } = challenge;
  const url = URL.parse(realm);
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    throw new RegistryError(`the registry names no valid token service: ${JSON.stringify(realm.slice(0, 100))}`);
  const scopes = new Set([
    `repository:${context.repository}:pull`,
    ...(challenge['scope'] ? [challenge['scope']] : []),
  ]);
  const response = await context.request(...tokenRequest(url, service, [...scopes], context));
  const body = await readText(response, 1024 * 1024);
  if (response.status !== 200) throw refusal(response, body, '');
  const token = tokenResponse.safeParse(parseJson(body));
  if (!token.success) throw new RegistryError(`the token service ${redactUrl(url)} answered without a token`);
  return token.data;
}

function tokenRequest(
  realm: URL,
  service: string | undefined,
  scopes: readonly string[],
  { login, isSecure }: AuthorizationContext,
): [URL, RegistryRequest] {
  const headers = { accept: 'application/json' };
  if (login !== undefined && isSecure && realm.protocol !== 'https:') {
    throw new RegistryError(`refusing to send credentials without TLS to the token service ${redactUrl(realm)}`);
  }
  if (login !== undefined && 'identityToken' in login) {
    const form = new URLSearchParams({ grant_type: 'refresh_token', client_id: 'nibs', scope: scopes.join(' ') });
    if (service !== undefined) form.set('service', service);
    form.set('refresh_token', login.identityToken);
    return [realm, { headers, form }];
  }
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set('service', service);
  for (const scope of scopes) url.searchParams.append('scope', scope);
  const authorization = basicAuthorization(login);
  return [url, { headers, ...(authorization && { privateHeaders: { authorization } }) }];
}

const explanation = z.union([
  // Distribution specification, "Error Codes".
  z
    .object({ errors: z.array(z.object({ code: z.string().optional(), message: z.string().optional() })).min(1) })
    .transform(({ errors }) => errors.map(({ code, message }) => message || code).join(', ')),
  // RFC 6749 §5.2, and the fields of other servers.
  z
    .object({
      error_description: z.string().optional(),
      error: z.string().optional(),
      details: z.string().optional(),
      message: z.string().optional(),
    })
    .transform((said) => said.error_description ?? said.details ?? said.message ?? said.error ?? ''),
]);

/**
 * In the Docker Engine's words.
 * @param missing What is missing if the status is 404.
 */
export function refusal({ url, status }: RegistryResponse, body: string, missing: string): RegistryError {
  const meanings: Readonly<Record<number, readonly [string, PullFailure]>> = {
    401: ['unauthorized: authentication required: ', 'unauthorized'],
    403: ['denied: requested access to the resource is denied: ', 'unauthorized'],
    404: [missing, 'not-found'],
    429: ['too many requests: ', 'temporary'],
  };
  const [meaning, reason] = meanings[status] ?? ['', 'temporary'];
  const said = explanation.safeParse(parseJson(body));
  const why = said.success && said.data !== '' ? `: ${said.data}` : '';
  return new RegistryError(`${meaning}${redactUrl(url)} answered ${status}${why}`, { reason, isRefusal: true });
}

/** The body, or its beginning. */
export async function readText(response: RegistryResponse, limitBytes: number): Promise<string> {
  const read: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of response.chunks()) {
    read.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes >= limitBytes) break;
  }
  return Buffer.concat(read).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // A server in between speaks HTML.
    return undefined;
  }
}
