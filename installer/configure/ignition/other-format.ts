import { parse } from 'yaml';
import { z } from 'zod';

/** What a text is instead of an Ignition config, and what to do with it. */
export interface OtherFormat {
  readonly why: string;
  readonly hint?: string;
}

/** Keys of a Container Linux Config, of which any tells it from other YAML. */
const containerLinuxKeys = [
  ...['passwd', 'storage', 'systemd', 'networkd', 'etcd', 'flannel', 'locksmith', 'update', 'docker'],
];

/** Formats that people write and that something else translates; all of them have been given for Ignition by mistake. */
export function recogniseOtherFormat(text: string): OtherFormat | undefined {
  if (text.trim() === '') return { why: 'it is empty' };
  if (/^#cloud-config\b/.test(text)) {
    return { why: 'it is a cloud-config, not an Ignition config', hint: 'give it with -c' };
  }
  if (text.startsWith('#!')) return { why: 'it is a script, not an Ignition config', hint: 'give it with -c' };
  // What starts like JSON is meant to be JSON, although YAML would allow it.
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
  return keys.length > 0 ? { why: 'it is YAML, and an Ignition config is JSON' } : undefined;
}

function parseMapping(text: string): Record<string, unknown> {
  try {
    return z.record(z.string(), z.unknown()).catch({}).parse(parse(text));
  } catch {
    return {};
  }
}
