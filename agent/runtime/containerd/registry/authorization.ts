import { z } from 'zod';
import type { EngineAuthentication } from '../../credentials.ts';
import { type Answer, type Question, RegistryError, shown } from './connection.ts';

/** One way to authenticate that a server offers (RFC 9110 §11.3). */
export interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: Readonly<Record<string, string>>;
}

export interface Authorizing {
  /** What the registry calls the image. */
  readonly repository: string;
  /** `undefined`: the server may know us as nobody. */
  readonly credentials: EngineAuthentication | undefined;
  /** The registry itself is spoken to over TLS. */
  readonly isSecure: boolean;
  ask(url: URL, question: Question): Promise<Answer>;
}

/**
 * Answers the challenges of a registry: Basic with the credentials (RFC 7617), Bearer with a token from the service that the registry names (CNCF
 * distribution, "Token Authentication Specification" and "Oauth2 Token Authentication").
 * @returns the header Authorization; `undefined` if nothing that we have answers any of them.
 * @throws {RegistryError} the token service gives none.
 */
export async function authorizationFor(
  challenges: readonly Challenge[],
  authorizing: Authorizing,
): Promise<string | undefined> {
  for (const { scheme, parameters } of challenges) {
    if (scheme === 'bearer') return `Bearer ${await fetchToken(parameters, authorizing)}`;
    const basic = scheme === 'basic' && basicAuthorization(authorizing.credentials);
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

function basicAuthorization(credentials: EngineAuthentication | undefined): string | undefined {
  if (credentials?.username === undefined) return undefined;
  return `Basic ${Buffer.from(`${credentials.username}:${credentials.password ?? ''}`).toString('base64')}`;
}

/** The two kinds of service call it differently. */
const tokenAnswer = z
  .object({ token: z.string().optional(), access_token: z.string().optional() })
  .transform(({ token, access_token: accessToken }) => token || accessToken)
  .pipe(z.string());

async function fetchToken(challenge: Challenge['parameters'], authorizing: Authorizing): Promise<string> {
  const { realm = '', service } = challenge;
  if (!URL.canParse(realm)) throw new RegistryError(`the registry names no token service: ${realm}`, undefined);
  const url = new URL(realm);
  const scopes = new Set([
    `repository:${authorizing.repository}:pull`,
    ...(challenge['scope'] ? [challenge['scope']] : []),
  ]);
  const answer = await authorizing.ask(...tokenQuestion(url, service, [...scopes], authorizing));
  const body = await readText(answer, 1024 * 1024);
  if (answer.status !== 200) throw refusal(answer, body, '');
  const token = tokenAnswer.safeParse(parseJson(body));
  if (!token.success) throw new RegistryError(`the token service ${shown(url)} answered without a token`, undefined);
  return token.data;
}

function tokenQuestion(
  realm: URL,
  service: string | undefined,
  scopes: readonly string[],
  { credentials, isSecure }: Authorizing,
): [URL, Question] {
  const headers = { accept: 'application/json' };
  if (credentials !== undefined && isSecure && realm.protocol !== 'https:') {
    throw new RegistryError(`the token service ${shown(realm)} would get the credentials without TLS`, undefined);
  }
  if (credentials?.identitytoken !== undefined) {
    const form = new URLSearchParams({ grant_type: 'refresh_token', client_id: 'nibs', scope: scopes.join(' ') });
    if (service !== undefined) form.set('service', service);
    form.set('refresh_token', credentials.identitytoken);
    return [realm, { headers, form }];
  }
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set('service', service);
  for (const scope of scopes) url.searchParams.append('scope', scope);
  const authorization = basicAuthorization(credentials);
  return [url, { headers, ...(authorization && { privateHeaders: { authorization } }) }];
}

const explanation = z.union([
  // Distribution specification, "Error Codes".
  z
    .object({ errors: z.array(z.object({ code: z.string().optional(), message: z.string().optional() })).min(1) })
    .transform(({ errors }) => errors.map(({ code, message }) => message || code).join(', ')),
  // RFC 6749 §5.2, and what others say.
  z
    .object({
      error_description: z.string().optional(),
      error: z.string().optional(),
      details: z.string().optional(),
      message: z.string().optional(),
    })
    .transform((said) => said.error_description ?? said.details ?? said.message ?? said.error ?? ''),
]);

/** In the Docker Engine's words. @param missing What it is that is not there if the answer is 404. */
export function refusal({ url, status }: Answer, body: string, missing: string): RegistryError {
  const meaning: Readonly<Record<number, string>> = {
    401: 'unauthorized: authentication required: ',
    403: 'denied: requested access to the resource is denied: ',
    404: missing,
    429: 'too many requests: ',
  };
  const said = explanation.safeParse(parseJson(body));
  const why = said.success && said.data !== '' ? `: ${said.data}` : '';
  return new RegistryError(`${meaning[status] ?? ''}${shown(url)} answered ${status}${why}`, status);
}

/** At most so many bytes of the body. */
export async function readText(answer: Answer, limitBytes: number): Promise<string> {
  const read: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of answer.chunks()) {
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
