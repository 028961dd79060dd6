import type { Clock } from '../../clock/clock.ts';
import { splitAuthority } from '../../net/authority.ts';
import { proxyRulesFrom } from '../settings/proxies.ts';
import type { Config } from '../settings/settings.ts';
import { readTlsFiles } from '../settings/tls-files.ts';
import { Channel } from '../transport/grpc/channel.ts';
import { detectDialect } from '../transport/grpc/detect.ts';
import type { CertificateMemory } from '../transport/grpc/known-certificate.ts';
import { securityFor } from '../transport/grpc/server.ts';
import { readServerCertificate, type ServerCertificate } from '../transport/grpc/server-certificate.ts';
import { type Finding, finding, findingOf } from './finding.ts';

export interface ServerCheckOptions {
  readonly config: Config;
  readonly clock: Clock;
  /** The certificates that are known from the first time; nothing is written to it. */
  readonly certificates: (authority: string) => CertificateMemory;
}

const timeoutSeconds = 20;
/** A certificate that ends sooner is warned of. */
const renewalDays = 14;

/**
 * Whether the tink server answers, which protocol version it speaks, and how the connection is
 * protected. The server is asked for what the agent asks first, which changes nothing there.
 */
export async function checkServer(
  { config, clock, certificates }: ServerCheckOptions,
  signal: AbortSignal,
): Promise<Finding[]> {
  const { grpcAuthority: authority, workerId, dialect } = config;
  if (authority === undefined || workerId === undefined)
    return [finding('server', 'unchecked', 'its address or the worker ID is missing')];
  try {
    const protection = {
      ...{ dialect, certificateUrl: config.certUrl, tls: config.tls, verify: !config.insecureTls },
      ...(await readTlsFiles(config)),
    };
    const security = securityFor(protection);
    const memory = certificates(authority);
    const proxy = proxyRulesFrom(config);
    await using channel = new Channel({
      ...protection,
      ...{ clock, authority, proxy, tls: security, rpcTimeoutSeconds: timeoutSeconds },
      certificateMemory: { ...memory, write: async () => {} },
      acceptChangedCertificate: config.certificateChange === 'accept',
    });
    const protectionFound = await checkProtection(security, { authority, proxy, clock }, signal);
    return [...protectionFound, await askServer(channel, { authority, workerId, dialect }, signal)];
  } catch (error) {
    signal.throwIfAborted();
    return [findingOf('server', error, 'check the settings of the server')];
  }
}

async function askServer(
  channel: Channel,
  { authority, workerId, dialect }: { authority: string; workerId: string; dialect: Config['dialect'] },
  signal: AbortSignal,
): Promise<Finding> {
  try {
    const found = await detectDialect(channel, workerId, signal);
    const isOther = dialect !== 'auto' && dialect !== found && !(dialect === 'v0.7' && found === 'v0.2');
    if (isOther)
      return finding('server', 'error', `it speaks protocol version ${found}, but --dialect is ${dialect}`, {
        target: authority,
        advice: 'remove --dialect, or correct it',
      });
    return finding('server', 'ok', `it answers, with protocol version ${found}`, { target: authority });
  } catch (error) {
    signal.throwIfAborted();
    return findingOf('server', error, 'see the log of the server', authority);
  }
}

type Security = ReturnType<typeof securityFor>;
type Peer = Parameters<typeof readServerCertificate>[0];

async function checkProtection(security: Security, peer: Peer, signal: AbortSignal): Promise<Finding[]> {
  const { authority: target } = peer;
  const commanders = 'anyone in the network in between can run actions on this machine';
  if (security === 'plaintext')
    return [
      finding('tls', 'warning', `the connection is not encrypted: ${commanders}`, {
        target,
        advice: 'set tinkerbell_tls=true if the server has TLS',
      }),
    ];
  const certificate = await readServerCertificate(peer, signal);
  // That the server does not answer is the finding of its own check.
  if (certificate === undefined) return [finding('tls', 'unchecked', 'no TLS handshake with the server', { target })];
  const unverified =
    security === 'unverified'
      ? [
          finding('tls', 'warning', `the certificate is not verified: ${commanders}`, {
            target,
            advice: 'remove tinkerbell_insecure_tls, and name the authority with --tls-ca or grpc_cert_url=',
          }),
        ]
      : [];
  return [...unverified, judgeTime(certificate, peer)];
}

function judgeTime({ subject, validFrom, validUntil }: ServerCertificate, { authority: target, clock }: Peer): Finding {
  const now = clock.now();
  const day = (time: Date) => time.toISOString().slice(0, 10);
  const text = `certificate of ${subject}, valid from ${day(validFrom)} to ${day(validUntil)}`;
  const days = Math.floor((validUntil.getTime() - now.getTime()) / 86_400_000);
  if (now < validFrom)
    return finding('tls', 'error', `${text}: not valid yet, now is ${day(now)}`, { target, advice: setClock });
  if (days < 0)
    return finding('tls', 'error', `${text}: it has ended, now is ${day(now)}`, {
      target,
      advice: `renew the certificate of ${splitAuthority(target).host}, or ${setClock}`,
    });
  if (days < renewalDays)
    return finding('tls', 'warning', `${text}: ${days} days left`, { target, advice: 'renew the certificate' });
  return finding('tls', 'ok', text, { target });
}

const setClock = 'set the clock of the machine';
