/**
 * Splits a kernel command line (`/proc/cmdline`) into its parameters. Where a parameter is given twice the last one wins, so that arguments which
 * somebody appends override what the boot server sends. A parameter without `=` has the value `''`.
 *
 * Quoting as the kernel does it (lib/cmdline.c, next_arg): double quotes keep blanks together, around the whole parameter (`"name=a b"`) or around its
 * value (`name="a b"`); there is no escape character. Everything after a lone `--` is meant for init and is read too, as boot loaders put it there.
 */
export function parseKernelCommandLine(commandLine: string): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>();
  for (const [parameter] of commandLine.matchAll(/(?:"[^"]*"?|[^\s"])+/g)) {
    if (parameter === '--') continue;
    const unquoted = parameter.replaceAll('"', '');
    const equals = unquoted.indexOf('=');
    const name = equals < 0 ? unquoted : unquoted.slice(0, equals);
    parameters.set(name, equals < 0 ? '' : unquoted.slice(equals + 1));
  }
  return parameters;
}
