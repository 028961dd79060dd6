import type { MachineFiles } from './machine-files.ts';

const directory = '/sys/firmware/devicetree/base';

/**
 * What a machine's device tree says of it; absent is what it has no property for. (Devicetree
 * Specification v0.4, section 2.3 and 3.2.)
 */
export interface FirmwareDescription {
  readonly model?: string | undefined;
  readonly serial?: string | undefined;
  /** The vendor in the first, most specific entry of `compatible`. */
  readonly vendor?: string | undefined;
  /** The last, least specific entry of `compatible`. */
  readonly soc?: string | undefined;
  /** Of the boot loader U-Boot. */
  readonly uboot?: string | undefined;
}

/** `undefined` where the machine has no device tree. */
export async function firmwareDescription(files: MachineFiles): Promise<FirmwareDescription | undefined> {
  if (!(await files.isDirectory(directory))) return undefined;
  const [model, serial, uboot, compatible] = await Promise.all(
    ['model', 'serial-number', 'chosen/u-boot,version', 'compatible'].map((name) => readStrings(files, name)),
  );
  return {
    model: model?.[0],
    serial: serial?.[0],
    uboot: uboot?.[0],
    vendor: compatible?.[0]?.split(',')[0] || undefined,
    soc: compatible?.findLast((entry) => entry !== ''),
  };
}

/** A property is a list of strings, each with a zero byte at its end. */
async function readStrings(files: MachineFiles, name: string): Promise<string[] | undefined> {
  const text = (await files.bytes(`${directory}/${name}`))?.toString('utf8');
  return text
    ?.replace(/\0+$/, '')
    .split('\0')
    .map((string) => string.trim());
}
