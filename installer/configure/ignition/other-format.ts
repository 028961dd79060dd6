import { parse } from 'yaml';
import { z } from 'zod';

/** The kind of a text that is not an Ignition config, and what to do with it. */
export interface OtherFormat {
  readonly why: string;
  readonly hint?: string;
}

/** Keys of a Container Linux Config. Other YAML has none of them. */
const containerLinuxKeys = [
  ...['passwd', 'storage', 'systemd', 'networkd', 'etcd', 'flannel', 'locksmith', 'update', 'docker'],
];

/**
 * Formats that people write and tools translate. All of them have been mistaken for Ignition
 * configs.
 */
export function recogniseOtherFormat(text: string): OtherFormat | undefined {
  if (text.trim() === '') return { why: 'it is empty' };
  if (/^#cloud-config\b/.test(text)) {
    return { why: 'it is a cloud-config, not an Ignition config', hint: 'give it with -c' };
  }
  if (text.startsWith('#!')) return { why: 'it is a script, not an Ignition config', hint: 'give it with -c' };
  // A text that starts like JSON is meant as JSON, although it may be YAML.
  if (/^\s*[{["]/.test(text)) return undefined;
  const keys = Object.keys(parseMapping(text));
  if (keys.includes('variant')) {
    return {
      why: 'it is a Butane config (YAML), not an Ignition config',
      hint: 'translate it with: butane --strict FILE',
    };
  }
  if (keys.some((key) => containerLinuxKeys.includes(key))) {
    return {
      why: 'it is a Container Linux Config or another YAML file, not an Ignition config',
      hint: 'translate it with ct, or write it as a Butane config and translate that with butane',
    };
  }
  return keys.length > 0 ? { why: 'it is YAML, but an Ignition config is JSON' } : undefined;
}

function parseMapping(text: string): Record<string, unknown> {
  try {
    // Otherwise the library prints its warnings, with what the text has for the terminal.
    return z
      .record(z.string(), z.unknown())
      .catch({})
      .parse(parse(text, { logLevel: 'error' }));
  } catch {
    return {};
  }
}
