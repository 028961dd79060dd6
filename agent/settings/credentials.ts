import { looksSecret } from '../log/secret-names.ts';
import { passwordsInUrls } from '../log/secrets-in-value.ts';
import type { Config } from './settings.ts';
import { RegistryAccounts } from './values.ts';

/** User name and password at one registry. */
interface RegistryCredentials {
  /** `host[:port]`. */
  readonly host: string;
  readonly username: string;
  readonly password: string;
}

/**
 * Credentials for all registries of the configuration. The main registry may be given with a path,
 * as a prefix of image names; its credentials belong to the host.
 */
export function registryCredentialsFrom(config: Config): RegistryCredentials[] {
  const { dockerRegistry, registryUsername, registryPassword, registries = new RegistryAccounts() } = config;
  const others = [...registries].map(([host, { username, password }]) => ({
    host,
    username,
    password: password.reveal(),
  }));
  const [host] = dockerRegistry?.replace(/^https?:\/\//, '').split('/') ?? [];
  if (host === undefined || registryUsername === undefined || registryPassword === undefined) return others;
  return [{ host, username: registryUsername, password: registryPassword.reveal() }, ...others];
}

/**
 * Values of the configuration that no output may show: passwords, also those in URLs, and template
 * variables with the name of a secret.
 */
export function secretsFrom(config: Config): string[] {
  const {
    registryPassword,
    registries = new RegistryAccounts(),
    natsServer,
    httpProxy,
    httpsProxy,
    allProxy,
    templateVariables,
    dockerHost,
    certUrl,
    reportUrl,
  } = config;
  const passwords = [registryPassword, ...[...registries.values()].map(({ password }) => password)];
  return [
    ...passwords.flatMap((password) => password?.reveal() ?? []),
    ...[natsServer, httpProxy, httpsProxy, allProxy].flatMap((url) => url?.secrets() ?? []),
    ...[dockerHost, certUrl, reportUrl].flatMap((url) => passwordsInUrls(url ?? '')),
    ...[...(templateVariables ?? [])].flatMap(([name, value]) => (looksSecret(name) ? [value] : [])),
  ];
}
