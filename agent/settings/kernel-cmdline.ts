/**
 * Splits a kernel command line (`/proc/cmdline`) into its parameters. Of two parameters of one name
 * the last is used, even if it is empty, so that appended arguments override those of the boot
 * server. `-` and `_` in names are the same, as for the kernel; names come out with `_`.
 *
 * Quoting as the kernel does it (lib/cmdline.c, next_arg): double quotes keep spaces together,
 * around the whole parameter (`"name=a b"`) or around its value (`name="a b"`); there is no escape
 * character. Everything after a lone `--` is meant for init and is read too, as boot loaders put it
 * there.
 *
 * @returns values by name; `true` for a parameter without `=`
 */
export function parseKernelCommandLine(commandLine: string): ReadonlyMap<string, string | true> {
  const parameters = new Map<string, string | true>();
  for (const [parameter] of commandLine.matchAll(/(?:"[^"]*"?|[^\s"])+/g)) {
    if (parameter === '--') continue;
    const unquoted = parameter.replaceAll('"', '');
    const [, name = '', value] = /^([^=]*)(?:=(.*))?$/s.exec(unquoted) ?? [];
    parameters.set(name.replaceAll('-', '_'), value ?? true);
  }
  return parameters;
}
