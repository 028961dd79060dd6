import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, cp, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';

/** A machine that DHCP knows. */
export interface Lease {
  readonly mac: string;
  readonly address: string;
}

export interface DhcpOptions {
  /** Takes the log, the leases and the files that TFTP serves. */
  readonly directory: string;
  readonly interface: string;
  /** The provisioner's own address: router, TFTP server. */
  readonly address: string;
  readonly netmask: string;
  readonly leases: readonly Lease[];
  /** The boot file for a machine that already runs iPXE. */
  readonly scriptUrl: string;
  /** The boot file for the PXE of UEFI. Default: ipxe.efi. */
  readonly uefiFile?: string;
  /** For UEFI HTTP boot. Default: such machines get no boot file. */
  readonly httpBootUrl?: string;
  /**
   * Directory with an iPXE of Tinkerbell's, undionly.kpxe and ipxe.efi, which names itself by the
   * user class Tinkerbell and is loaded by any other. Default: Debian's; the iPXE of a card serves
   * too.
   */
  readonly ipxeFiles?: string;
  /** Options that machines get as from this server. Default: none of these. */
  readonly optionsAs?: 'boots' | 'smee';
  /** Served by TFTP besides iPXE: this directory. */
  readonly tftpFiles?: string;
  /** What the DNS server knows: name → address. Of other names it knows nothing. */
  readonly names: Readonly<Record<string, string>>;
}

/**
 * DHCP, DNS and TFTP by dnsmasq, as boots of the original provisioner answers: a card's own PXE
 * gets iPXE by TFTP (BIOS: undionly.kpxe, UEFI: ipxe.efi), and iPXE gets the script's URL. UEFI
 * HTTP boot (option 60 HTTPClient) gets a URL, as from smee. Runs in the network namespace of this
 * process.
 */
export async function startDhcp(options: DhcpOptions): Promise<AsyncDisposable & { readonly logPath: string }> {
  const tftpDirectory = join(options.directory, 'tftp');
  await mkdir(tftpDirectory, { recursive: true });
  if (options.tftpFiles !== undefined) await cp(options.tftpFiles, tftpDirectory, { recursive: true });
  const ipxeFiles = options.ipxeFiles ?? '/usr/lib/ipxe';
  for (const file of ['undionly.kpxe', 'ipxe.efi']) await copyFile(join(ipxeFiles, file), join(tftpDirectory, file));

  const logPath = join(options.directory, 'dnsmasq.log');
  await using log = await open(logPath, 'w');
  const child = spawn(
    'setpriv',
    [
      ...[
        '--pdeathsig',
        'KILL',
        'dnsmasq',
        '--conf-file=/dev/null',
        '--keep-in-foreground',
        '--log-facility=-',
        '--log-dhcp',
        '--user=root',
      ],
      ...['--no-resolv', '--no-hosts', '--log-queries'],
      ...Object.entries(options.names).map(([name, address]) => `--host-record=${name},${address}`),
      ...[`--interface=${options.interface}`, '--bind-interfaces', '--dhcp-authoritative', '--no-ping'],
      ...[`--dhcp-leasefile=${join(options.directory, 'dnsmasq.leases')}`, '--pid-file='],
      ...[
        `--dhcp-range=${options.address},static,${options.netmask}`,
        `--dhcp-option=option:router,${options.address}`,
      ],
      ...options.leases.map(({ mac, address }) => `--dhcp-host=${mac},${address},infinite`),
      ...['--enable-tftp', `--tftp-root=${tftpDirectory}`],
      ...[
        options.ipxeFiles === undefined ? '--dhcp-match=set:ipxe,175' : '--dhcp-userclass=set:ipxe,Tinkerbell',
        '--dhcp-match=set:efi64,option:client-arch,7',
        '--dhcp-match=set:efi64,option:client-arch,9',
      ],
      ...[
        `--dhcp-boot=tag:ipxe,${options.scriptUrl}`,
        `--dhcp-boot=tag:!ipxe,tag:efi64,${options.uefiFile ?? 'ipxe.efi'}`,
        '--dhcp-boot=tag:!ipxe,tag:!efi64,tag:!http,undionly.kpxe',
        '--dhcp-match=set:http,option:client-arch,16',
      ],
      ...(options.optionsAs === undefined ? [] : serverOptions[options.optionsAs](options.address)),
      ...(options.httpBootUrl === undefined
        ? []
        : ['--dhcp-option-force=tag:http,60,HTTPClient', `--dhcp-boot=tag:http,${options.httpBootUrl}`]),
    ],
    { stdio: ['ignore', log.fd, log.fd] },
  );
  await once(child, 'spawn');
  return { logPath, [Symbol.asyncDispose]: () => end(child) };
}

/** PXE's "boot at once from the file" in the vendor options, and iPXE's syslog server. */
const noDiscovery = (address: string) => [
  '--dhcp-option-force=43,06:01:08',
  `--dhcp-option=option:log-server,${address}`,
];

/**
 * Boots at 58ab499 (ipxe/dhcp_options.go, dhcp/pxe.go) names itself a PXE server to iPXE, and tells
 * it in encapsulated options (no-pxedhcp) to wait for no other; smee at 9111b51
 * (smee/internal/dhcp/handler/reservation/option.go) does neither.
 */
const serverOptions = {
  boots: (address: string) => [
    ...noDiscovery(address),
    ...['--dhcp-option-force=tag:ipxe,60,PXEClient', '--dhcp-option-force=tag:ipxe,175,b0:01:01'],
  ],
  smee: noDiscovery,
} as const;

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await exited;
}
