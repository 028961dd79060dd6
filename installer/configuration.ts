import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { reasonOf } from '../errors/reason.ts';
import { runTool, ToolError } from '../tools/run-tool.ts';
import { installCloudConfig } from './configure/cloud-config.ts';
import { checkEfi } from './configure/efi.ts';
import { installIgnition } from './configure/ignition/install.ts';
import { checkKernelArguments, installKernelArguments, type KernelArguments } from './configure/kernel-arguments.ts';
import { installNetworkUnits, listNetworkUnits } from './configure/network.ts';
import { type ConfigurationNeeds, rehearseConfiguration, type Way } from './configure/rehearsal.ts';
import type { TargetDisk } from './disk/target-disk.ts';
import { InstallError } from './errors.ts';
import type { DownloadClient } from './fetch/client.ts';
import { fetchSmallFile } from './fetch/fetch.ts';
import {
  type IgnitionConfig,
  maxIgnitionBytes,
  nameOfConfig,
  readIgnitionFile,
  requireGoodIgnition,
} from './ignition-config.ts';
import type { ConfigurationPlan, Hash } from './plan.ts';
import { platforms } from './platforms.ts';
import type { Report } from './progress.ts';
import type { Release } from './release.ts';

/** What is written to the disk besides the image, read and checked. */
export interface Configuration {
  readonly ignition: IgnitionConfig | undefined;
  readonly cloudConfig: Uint8Array | undefined;
  readonly kernelArguments: KernelArguments | undefined;
  readonly copyNetwork: boolean;
  /** How the OEM partition can be changed here. */
  readonly way: Way;
  readonly needs: ConfigurationNeeds;
}

/** More than a grub.cfg with all arguments of a kernel command line. */
const argumentBytes = 16 * 1024;

/**
 * Reads or downloads the configs and checks them, because their errors would show only at first
 * boot. Also checks what else the configuration needs of this machine.
 * @param client for configs on servers; without it these are not checked
 * @param onFile the disk is a file. Default: false
 * @throws {InstallError} a config cannot be read or is not usable
 */
export async function readConfiguration(
  plan: ConfigurationPlan,
  client: DownloadClient | undefined,
  report: Report,
  signal: AbortSignal,
  onFile = false,
): Promise<Configuration> {
  if (onFile) refuseForFile(plan);
  const { kernelArguments } = plan;
  if (kernelArguments !== undefined) checkKernelArguments(kernelArguments);
  const { platform } = kernelArguments ?? {};
  if (platform !== undefined && !platforms.includes(platform))
    report.warn(`no known Ignition has code for the platform ${platform}: the first boot may fail`);
  const networkBytes = plan.copyNetwork ? (await listNetworkUnits()).sizeBytes : undefined;
  if (plan.uefiEntry) await checkEfi(signal);
  const ignition = await readIgnition(plan, client, report, signal);
  const cloudConfig =
    plan.cloudConfig === undefined ? undefined : await readCloudConfig(plan.cloudConfig, report, signal);
  const hasOem = ignition !== undefined || plan.ignitionUrl !== undefined || kernelArguments !== undefined;
  const needs = {
    oemBytes: hasOem ? (ignition?.bytes.length ?? 0) + argumentBytes : undefined,
    leastOemBytes: hasOem ? (ignition?.bytes.length ?? 0) : undefined,
    rootBytes:
      plan.copyNetwork || cloudConfig !== undefined ? (networkBytes ?? 0) + (cloudConfig?.length ?? 0) : undefined,
  };
  const way = await rehearseConfiguration(needs, signal, onFile);
  return { kernelArguments, ignition, cloudConfig, copyNetwork: plan.copyNetwork, way, needs };
}

/** What needs a mount, or is about the machine that this program runs on. */
function refuseForFile({ cloudConfig, copyNetwork, uefiEntry }: ConfigurationPlan): void {
  const options = [
    ...(cloudConfig === undefined ? [] : ['-c']),
    ...(copyNetwork ? ['-n'] : []),
    ...(uefiEntry ? ['-u'] : []),
  ];
  if (options.length === 0) return;
  throw new InstallError({
    what: 'install to',
    target: 'a file',
    why: `${options.join(' and ')} ${options.length === 1 ? 'needs' : 'need'} a disk`,
    hint: 'give the configuration with -i; or attach the file to a loop device (losetup), and give that with -d',
  });
}

/** Writes it to a disk that has the image. The partition table need not be written yet. */
export async function writeConfiguration(
  disk: TargetDisk,
  configuration: Configuration,
  report: Report,
  signal: AbortSignal,
): Promise<void> {
  const { ignition, cloudConfig, kernelArguments, copyNetwork, way } = configuration;
  if (ignition !== undefined) {
    report.phase('configure', 'Installing the Ignition config');
    await installIgnition(disk, ignition.bytes, signal, way);
  }
  if (cloudConfig !== undefined) {
    report.phase('configure', 'Installing the cloud-config');
    await installCloudConfig(disk, cloudConfig, signal);
  }
  if (kernelArguments !== undefined) {
    report.phase('configure', 'Setting the kernel arguments');
    for (const warning of await installKernelArguments(disk, kernelArguments, signal, way)) report.warn(warning);
  }
  if (copyNetwork) {
    report.phase('configure', 'Copying the network units');
    const names = await installNetworkUnits(disk, undefined, signal);
    report.detail(`copied ${names.join(', ')}`);
  }
}

async function readIgnition(
  plan: ConfigurationPlan,
  client: DownloadClient | undefined,
  report: Report,
  signal: AbortSignal,
): Promise<IgnitionConfig | undefined> {
  const { ignition: path, ignitionUrl: url, ignitionHash: hash } = plan;
  let name: string;
  let bytes: Uint8Array;
  if (url !== undefined) {
    if (client === undefined) return undefined;
    name = url.href;
    const what = { what: 'download the Ignition config', maxBytes: maxIgnitionBytes, secure: hash === undefined };
    bytes = await fetchSmallFile(client, [url], what, signal);
  } else if (path !== undefined) {
    name = nameOfConfig(path);
    bytes = await readIgnitionFile(path, signal);
  } else {
    return undefined;
  }
  if (hash !== undefined) requireHash(bytes, hash, name);
  const config = { name, bytes, reported: new Set<string>() };
  const willBeKnown = client !== undefined && plan.flatcar !== undefined;
  requireGoodIgnition(config, plan, { unchecked: plan.ignitionUnchecked === true, isFinal: !willBeKnown }, report);
  return config;
}

/**
 * Checks the Ignition config again when the release is known, as its Ignition reads it.
 * @throws {ConfigurationError}
 */
export function checkForRelease(
  { ignition }: Configuration,
  plan: ConfigurationPlan,
  { version, channel }: Release,
  report: Report,
): void {
  if (ignition === undefined || plan.flatcar === undefined) return;
  const reader = { flatcar: { version, channel }, ignitionVersion: plan.ignitionVersion };
  requireGoodIgnition(ignition, reader, { unchecked: plan.ignitionUnchecked === true, isFinal: true }, report);
}

function requireHash(bytes: Uint8Array, { algorithm, digest }: Hash, name: string): void {
  const found = createHash(algorithm).update(bytes).digest('hex');
  if (found === digest) return;
  const why = `its hash is ${algorithm}-${found}, but --ignition-hash is ${algorithm}-${digest}`;
  throw new InstallError({
    what: 'use the Ignition config',
    target: name,
    why,
    hint: 'check the file, or update the hash',
  });
}

/** Checked as by the original: with the program that will read it, if it is installed here. */
async function readCloudConfig(path: string, report: Report, signal: AbortSignal): Promise<Uint8Array> {
  const bytes = await read(path, 'the cloud-config', '-c', signal);
  try {
    await runTool('coreos-cloudinit', ['-from-file', path, '-validate'], { signal });
  } catch (error) {
    if (!(error instanceof ToolError && error.missing)) throw error;
    report.warn(`${path} is not checked: coreos-cloudinit is not installed`);
  }
  return bytes;
}

async function read(path: string, what: string, option: string, signal: AbortSignal): Promise<Uint8Array> {
  try {
    return await readFile(path, { signal });
  } catch (cause) {
    signal.throwIfAborted();
    throw new InstallError({
      what: `read ${what}`,
      target: path,
      why: reasonOf(cause),
      hint: `give a readable file with ${option}`,
      cause,
    });
  }
}
