/**
 * How to log in to a registry: with a password, or with a token that a login got before (OAuth 2
 * refresh token).
 */
export type RegistryLogin =
  | { readonly username: string; readonly password: string }
  | { readonly identityToken: string };
