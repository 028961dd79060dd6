import { metaFlags } from './arguments.ts';
import type { Names } from './names.ts';
import { settings } from './settings.ts';

/** The manual page of the agent, in mdoc(7). */
export function agentManual(): string {
  const groups = Map.groupBy(settings, ({ names }) => names.group);
  const sections = [...groups].map(([group, entries]) =>
    section(
      group,
      entries.map(({ names, defaultValue }) => item(names, defaultValue)),
    ),
  );
  const others = Object.entries(metaFlags).map(
    ([flag, { value, description }]) => `${heading([`Fl -${flag}`], value)}${sentences(description)}`,
  );
  return `${head}${sections.join('')}${section('Configuration', others)}${foot}`;
}

const head = `.\\" Made by make generate from the table of settings.
.Dd November 29, 2026
.Dt TINK-AGENT 8
.Os
.Sh NAME
.Nm tink-agent ,
.Nm tink-worker
.Nd run the actions of Tinkerbell workflows on this machine
.Sh SYNOPSIS
.Nm
.Op Ar flags
.Nm
.Fl -transport Ns = Ns Cm file
.Fl -template Ar file
.Op Ar flags
.Nm
.Fl -print-config
.Nm
.Cm doctor
.Op Fl -json
.Op Fl -image Ar name
.Op Ar flags
.Nm
.Cm explain
.Op Ar setting ...
.Op Fl -json
.Op Ar flags
.Sh DESCRIPTION
.Nm
gets the actions of workflows from a tink server and runs each as a container.
It works until it receives SIGTERM or SIGINT.
A template from a file is run once.
.Pp
Sources of settings, a later one overrides an earlier one: defaults, the configuration file, the kernel command line, the environment, flags.
Each setting has three names of the same form:
.Fl -log-level ,
.Ev NIBS_LOG_LEVEL
in the environment,
.Li nibs_log_level=
on the kernel command line.
The further names are those of other programs; of several, the last one counts.
Flags may begin with one dash or two, and have their value after
.Sq =
or as the next word.
.Pp
.Cm doctor
looks at settings, disks, engine, registries, server, TLS and clock, and prints what is wrong and what to do.
Nothing is changed, and no work is taken.
.Cm explain
prints each setting, or those that are named, with its value, its source, the sources that it overrides, and its meaning.
`;

const foot = `.Sh FILES
.Bl -tag -width Ds
.It Pa /etc/tinkerbell/tink-worker.yaml
The configuration file, also with the suffix
.Pa .yml ,
.Pa .json
or
.Pa .toml .
Its keys are the long flags.
.El
.Sh EXIT STATUS
0 after a signal, or when all actions of a template from a file succeeded; 1 when one of them did not, the state directory cannot be used, or
.Cm doctor
found an error; 2 when a flag, the configuration or a template cannot be used; 70 on an internal error.
.Sh EXAMPLES
Try a template on this machine:
.Pp
.Dl tink-agent --transport=file --template=hello.yaml
.Pp
Show the values in force and their sources:
.Pp
.Dl tink-agent --print-config
.Pp
Completions for bash:
.Pp
.Dl tink-agent --completion=bash
.Sh SEE ALSO
.Xr flatcar-install 8
`;

function section(name: string, items: readonly string[]): string {
  return `.Ss ${name}\n.Bl -tag -width Ds\n${items.join('')}.El\n`;
}

function item(names: Names, defaultValue: unknown): string {
  const flags = [
    ...names.flags.map((flag) => `Fl -${flag}`),
    ...(names.letter === undefined ? [] : [`Fl ${names.letter}`]),
  ];
  const initial = defaultValue === undefined ? '' : `Default:\n.Li ${word(String(defaultValue))} .\n`;
  return [
    heading(flags, names.value),
    sentences(names.description),
    initial,
    `.br\n.Ev ${names.environment.join(' , ')} ;\n`,
    `.Li ${names.kernel.map((key) => `${key}=`).join(' , ')}\n`,
  ].join('');
}

function heading(flags: readonly string[], value: string | undefined): string {
  return `.It ${flags.join(' , ')}${value === undefined ? '' : ` Ar ${word(value)}`}\n`;
}

/** One a line, as mdoc wants it. */
function sentences(text: string): string {
  const lines = text.replaceAll('\\', '\\e').split(/(?<=[a-z)0-9]\.) (?=[A-Z])/);
  return lines.map((line) => `${/^[.']/.test(line) ? '\\&' : ''}${line}\n`).join('');
}

/** A value is a word of a macro: spaces and quotes would end it. */
function word(text: string): string {
  return text === '' || /[\s"]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
