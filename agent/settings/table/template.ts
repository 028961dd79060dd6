import { settingsOf } from '../names.ts';
import { string, templateVariables } from '../values.ts';

const setting = settingsOf('Without a server');

export const templateSettings = {
  template: setting(string().optional(), {
    name: 'template',
    description:
      'Template to run with --transport file. Events go to stdout as JSON lines, the log to stderr. --worker-id selects the tasks of one worker; without it, all tasks run.',
    value: 'FILE',
  }),
  templateVariables: setting(templateVariables().optional(), {
    name: 'set',
    description: 'Value of a template variable, {{.NAME}}. May be repeated. In a configuration file a mapping.',
    value: 'NAME=VALUE',
    repeatable: true,
  }),
  hardware: setting(string().optional(), {
    name: 'hardware',
    description:
      'File that describes the machine, for {{.hardware}}, {{.Hardware}} and {{.references}} in the template: a Hardware manifest and the objects that it refers to, or the JSON that tink hardware push took; JSON or YAML.',
    value: 'FILE',
  }),
};
