import type { Command, Option } from 'commander';

export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

/** What the value of an option is completed with; `undefined`: nothing. */
type Values = 'files' | 'directories' | readonly string[] | undefined;

/** An option as the shells see it. */
interface Completed {
  readonly flags: readonly string[];
  /** `undefined`: a switch. */
  readonly value: { readonly name: string; readonly isOptional: boolean; readonly words: Values } | undefined;
  readonly isVariadic: boolean;
  readonly isRepeatable: boolean;
  readonly description: string;
}

/**
 * The completions of a program, as a script to be sourced by the shell, or to be put into its
 * directory of completions.
 * @param command the definition of the options; its name is that of the program
 * @param suggestions words for values, by the attribute name of the option. Without them a value
 *   named `a|b` is one of these words, one named `file`, `path` or `device` is a file, and one named
 *   `directory` a directory
 * @param commands what the first word may be, and the words that may follow it
 */
export function completionScript(
  shell: Shell,
  command: Command,
  suggestions: Readonly<Record<string, readonly string[]>> = {},
  commands: Readonly<Record<string, readonly string[]>> = {},
): string {
  const options = command
    .createHelp()
    .visibleOptions(command)
    .map((option) => completed(option, suggestions));
  return scripts[shell](command.name(), options, Object.entries(commands));
}

function completed(option: Option, suggestions: Readonly<Record<string, readonly string[]>>): Completed {
  // `option.optional` is also true for `--server <HOST[:PORT]>`.
  const [, bracket, name] = / ([<[])(.+?)(?:\.\.\.)?[>\]]$/.exec(option.flags) ?? [];
  const words = suggestions[option.attributeName()] ?? valuesOf(name ?? '');
  return {
    flags: [option.short, option.long].filter((flag) => flag !== undefined),
    value: name === undefined ? undefined : { name, isOptional: bracket === '[', words },
    isVariadic: option.variadic,
    isRepeatable: /may be repeated/i.test(option.description),
    description: summaryOf(option.description),
  };
}

function valuesOf(name: string): Values {
  if (/^[a-z]+(\|[a-z]+)+$/.test(name)) return name.split('|');
  if (/^(files?|path|device)$/i.test(name)) return 'files';
  return /^directory$/i.test(name) ? 'directories' : undefined;
}

/** The first part of the description, without the defaults of the machine that made the script. */
function summaryOf(description: string): string {
  const [summary = ''] = description.split(/(?<=[^.]{8})\. |; | \((?:site )?default: /);
  return summary.replace(/[.:]$/, '');
}

/** Names of commands with the words that may follow each. */
type Commands = readonly (readonly [string, readonly string[]])[];

const scripts: Readonly<Record<Shell, (program: string, options: readonly Completed[], commands: Commands) => string>> =
  {
    bash: bashScript,
    zsh: zshScript,
    fish: fishScript,
  };

/**
 * Needs no other package. Readline splits words also at `=` and `:` (COMP_WORDBREAKS): they are
 * joined again, and of a reply only what follows the last colon is inserted.
 */
function bashScript(program: string, options: readonly Completed[], commands: Commands): string {
  const name = functionName(program);
  const complete = (words: Values) => {
    if (words === undefined) return ':';
    if (typeof words !== 'string') return `${name}_words '${words.join(' ')}'`;
    return `${name}_paths ${words === 'files' ? '-f' : '-d'}`;
  };
  const values = options.flatMap(({ flags, value }) => {
    if (value === undefined) return [];
    // An optional value is part of the word of its option.
    const inWord = flags.filter((flag) => flag.startsWith('--')).map((flag) => `${flag}=`);
    const patterns = value.isOptional ? inWord : [...flags, ...inWord];
    return [`    ${patterns.join(' | ')}) ${complete(value.words)} ;;\n`];
  });
  const isOperand = variadicFlags(options).map((flag) => `[[ " \${words[*]} " == *" ${flag} "* ]]`);
  const operands = isOperand.length === 0 ? '' : `      elif ${isOperand.join(' || ')}; then ${complete('files')}\n`;
  const names = commands.map(([word]) => word);
  const first = names.length === 0 ? '' : `      elif ((\${#words[@]} == 1)); then ${complete(names)}\n`;
  const following = commands
    .filter(([, words]) => words.length > 0)
    .map(([word, words]) => `      elif [[ \${words[0]} == ${word} ]]; then ${complete(words)}\n`);
  return `# Completion of ${program} for bash.

${name}_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$value"); }

${name}_paths() {
  mapfile -t COMPREPLY < <(compgen "$1" -- "$value")
  compopt -o filenames 2>/dev/null
}

${name}() {
  local i word option value words=()
  for ((i = 1; i <= COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if ((i > 1)) && [[ $word == [:=]* || \${COMP_WORDS[i - 1]} == *[:=] ]]; then
      words[\${#words[@]} - 1]+=$word
    else
      words+=("$word")
    fi
  done
  word=\${words[\${#words[@]} - 1]}
  value=$word option=
  ((\${#words[@]} > 1)) && option=\${words[\${#words[@]} - 2]}
  [[ $word == --*=* ]] && option=\${word%%=*}= value=\${word#*=}
  COMPREPLY=()
  case $option in
${values.join('')}    --*=) ;;
    *)
      if [[ $word == -* ]]; then ${name}_words '${options.flatMap(({ flags }) => flags).join(' ')}'
${operands}${first}${following.join('')}      elif [[ -z $word ]]; then ${name}_words '${options.flatMap(({ flags }) => flags.slice(-1)).join(' ')}'
      fi
      ;;
  esac
  if [[ $value == *:* && $COMP_WORDBREAKS == *:* ]]; then
    value=\${value%"\${value##*:}"}
    COMPREPLY=("\${COMPREPLY[@]#"$value"}")
  fi
}

complete -F ${name} ${program}
`;
}

/** Works as a file in `fpath` and when it is sourced. */
function zshScript(program: string, options: readonly Completed[], commands: Commands): string {
  const name = functionName(program);
  const action = (words: Values) => {
    if (words === undefined) return ' ';
    if (typeof words !== 'string') return `(${words.join(' ')})`;
    return words === 'files' ? '_files' : '_directories';
  };
  const specs = options.flatMap(({ flags, value, isVariadic, isRepeatable, description }) => {
    const help = `[${description.replaceAll(/[\\[\]:]/g, '\\$&')}]`;
    const others = isRepeatable ? '*' : `(${flags.join(' ')})`;
    return flags.map((flag) => {
      if (value === undefined || isVariadic) return `${others}${flag}${help}`;
      const [before, colons] = value.isOptional ? ['=-', '::'] : [flag.startsWith('--') ? '=' : '+', ':'];
      return `${others}${flag}${before}${help}${colons}${value.name.replaceAll(':', '\\:')}:${action(value.words)}`;
    });
  });
  if (commands.length > 0) specs.push(`1::command:(${commands.map(([word]) => word).join(' ')})`);
  for (const [word, words] of commands)
    if (words.length > 0) specs.push(`*:argument:{ [[ $words[2] == ${word} ]] && compadd -- ${words.join(' ')} }`);
  for (const flag of variadicFlags(options)) specs.push(`*:file:{ (( $words[(I)${flag}] )) && _files }`);
  return `#compdef ${program}

${name}() {
  _arguments -s -S \\
${specs.map((spec) => `    ${quoted(spec, `'\\''`)}`).join(' \\\n')}
}

if [ "$funcstack[1]" = ${name} ]; then ${name} "$@"; else compdef ${name} ${program}; fi
`;
}

function fishScript(program: string, options: readonly Completed[], commands: Commands): string {
  const lines = options.map(({ flags, value, description }) => {
    const names = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
    const parts = ['complete', '-c', program, ...names];
    if (value !== undefined && !value.isOptional) parts.push(value.words === 'files' ? '-r -F' : '-x');
    if (value?.words === 'directories') parts.push("-a '(__fish_complete_directories)'");
    else if (typeof value?.words === 'object') parts.push(`-a ${quoted(value.words.join(' '), `\\'`)}`);
    return `${parts.join(' ')} -d ${quoted(description.replaceAll('\\', '\\\\'), `\\'`)}\n`;
  });
  const operands = variadicFlags(options).map(
    (flag) => `complete -c ${program} -n '__fish_contains_opt ${flag.replace(/^--/, '')}' -F\n`,
  );
  const first = commands.map(([word]) => `complete -c ${program} -n __fish_use_subcommand -a ${word}\n`);
  const following = commands
    .filter(([, words]) => words.length > 0)
    .map(
      ([word, words]) => `complete -c ${program} -n '__fish_seen_subcommand_from ${word}' -a '${words.join(' ')}'\n`,
    );
  const head = `# Completion of ${program} for fish.\ncomplete -c ${program} -f\n`;
  return [head, ...first, ...following, ...operands, ...lines].join('');
}

function functionName(program: string): string {
  return `_${program.replaceAll('-', '_')}`;
}

/** Options after which files may stand up to the end of the line. */
function variadicFlags(options: readonly Completed[]): readonly string[] {
  return options.filter(({ isVariadic }) => isVariadic).flatMap(({ flags }) => flags);
}

function quoted(text: string, quote: string): string {
  return `'${text.replaceAll("'", quote)}'`;
}
