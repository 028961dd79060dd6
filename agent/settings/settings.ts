import { z } from 'zod';
import { type Names, namesOf } from './names.ts';
import { behaviourSettings } from './table/behaviour.ts';
import { engineSettings } from './table/engine.ts';
import { filesAndLogSettings } from './table/files-and-log.ts';
import { proxySettings } from './table/proxies.ts';
import { serverSettings } from './table/server.ts';
import { templateSettings } from './table/template.ts';

/**
 * Every setting, with its type, default and names. The one table feeds flags, environment, kernel
 * command line, configuration file, `--help` and docs/settings.md.
 *
 * A setting `log-level` has the names `--log-level`, `NIBS_LOG_LEVEL` and `nibs_log_level`. The
 * table lists only names from other programs: tink-worker v0.1 to v0.12, tink-agent, and the kernel
 * command lines of OSIE, HookOS and CaptainOS.
 */
export const schema = z.object({
  ...serverSettings,
  ...templateSettings,
  ...engineSettings,
  ...behaviourSettings,
  ...filesAndLogSettings,
  ...proxySettings,
});

/** The agent's configuration. Each field has its meaning in the table of its setting. */
export type Config = Readonly<z.output<typeof schema>>;

export type SettingKey = keyof Config;

/** All settings with their names, in the order of the help. */
export const settings: readonly { readonly key: SettingKey; readonly names: Names; readonly defaultValue: unknown }[] =
  (Object.keys(schema.shape) as SettingKey[]).map((key) => {
    const field: z.ZodType = schema.shape[key];
    return { key, names: namesOf(key, field), defaultValue: field.safeParse(undefined).data };
  });

/**
 * Flags of the Go programs that are ignored, so that scripts which start those can start this
 * agent. `true`: takes a value. Unknown environment variables and kernel arguments need no list.
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
