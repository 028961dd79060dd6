import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { access, copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Architecture } from '../../debian/architecture.ts';
import { type Acceleration, findAcceleration } from './acceleration.ts';
import { SerialConsole } from './console.ts';
import { Monitor } from './qmp.ts';

/** A disk of the machine, backed by a raw file. */
export interface MachineDisk {
  /** The raw image; the machine writes into it. */
  readonly path: string;
  /**
   * What the guest sees: virtio /dev/vdX; sata, scsi, usb, megasas (LSI MegaRAID) and pvscsi
   * (VMware) /dev/sdX; nvme /dev/nvmeXn1; sd (a card) /dev/mmcblkX, without the serial number; cd
   * /dev/srX, read-only. Default: virtio.
   */
  readonly bus?: 'virtio' | 'sata' | 'scsi' | 'megasas' | 'pvscsi' | 'nvme' | 'usb' | 'sd' | 'cd';
  /** Serial number that the guest reads, at most 20 characters. Default: `disk<position>`. */
  readonly serial?: string;
  /**
   * True: the firmware tries this disk before the others. Default: false, they are tried in order.
   */
  readonly bootFirst?: boolean;
  /**
   * Takes all writes and flushes that reach the disk, for `readWriteLog`; replaced if it exists.
   * Default: none.
   */
  readonly writeLog?: string;
}

/** A network card and what it is plugged into. */
export interface MachineCard {
  readonly mac: string;
  /** QEMU's device name. Default: virtio-net-pci. */
  readonly model?: 'virtio-net-pci' | 'e1000' | 'e1000e' | 'vmxnet3' | 'rtl8139';
  /** False: UEFI boots by its own drivers and not by iPXE in the card. Default: true. */
  readonly optionRom?: boolean;
  readonly network:
    | {
        /** QEMU's own network, with DHCP. */
        readonly kind: 'user';
        /** Connections to `hostPort` on 127.0.0.1 go to `guestPort` of the machine. */
        readonly forward?: readonly { readonly hostPort: number; readonly guestPort: number }[];
        /** Served by TFTP at 10.0.2.2. */
        readonly tftpDirectory?: string;
        /** Name or URL that DHCP hands to a network boot. */
        readonly bootFile?: string;
        /**
         * True: the machine reaches the host's loopback at 10.0.2.2 and whatever the host reaches.
         * Default: false, no packet leaves.
         */
        readonly reachesHost?: boolean;
      }
    | {
        /** A tap device that exists already, in `namespace` of the options if that is given. */
        readonly kind: 'tap';
        readonly interface: string;
      }
    | {
        /** A cable to the other cards of this machine that have the same number. */
        readonly kind: 'cable';
        readonly number: number;
      };
}

export interface MachineOptions {
  /** Name in messages and of the files in `directory`. */
  readonly name: string;
  /**
   * Takes the console's log, QEMU's messages, the monitor's socket and UEFI's variables; made if
   * missing.
   */
  readonly directory: string;
  /** Direct start of a kernel, or what the firmware does: the devices it tries, in order. */
  readonly boot:
    | { readonly kind: 'kernel'; readonly kernel: string; readonly initramfs: string; readonly commandLine: string }
    | { readonly kind: 'firmware'; readonly order: readonly ('network' | 'disks')[] };
  /**
   * With secure-boot it is UEFI that starts only what is signed with a key that it has. Default:
   * bios; with aarch64 uefi, the only one there.
   */
  readonly firmware?: 'bios' | 'uefi' | 'secure-boot';
  /**
   * Whose keys the firmware has for Secure Boot: Microsoft's as machines are sold, or only the key
   * of Debian's package ovmf whose private part is public (/usr/share/ovmf). Default: microsoft.
   */
  readonly enrolledKeys?: 'microsoft' | 'snakeoil';
  /** Of its processor. Default: x86_64. */
  readonly architecture?: Architecture['name'];
  /** Default: 2048. */
  readonly memoryMiB?: number;
  /** Default: 2 with KVM; 1 emulated, because emulated ones share a thread. */
  readonly cpus?: number;
  readonly disks?: readonly MachineDisk[];
  readonly cards?: readonly MachineCard[];
  /** Network namespace (`ip netns`) to run in. */
  readonly namespace?: string;
  /** True: a reboot of the guest ends the machine (exit code 0). Default: false. */
  readonly endsOnReboot?: boolean;
  /** True: a graphics card, whose picture the monitor's `screendump` saves. Default: false. */
  readonly screen?: boolean;
  /** True: a watchdog (i6300esb) that resets the machine when it is not fed. Default: false. */
  readonly watchdog?: boolean;
  /**
   * What the machine's clock says when it starts, in UTC, as `1970-01-01T00:00:00`. Default: the
   * host's time.
   */
  readonly clock?: string;
  /** Default: {@link findAcceleration}. */
  readonly acceleration?: Acceleration;
  /** Ends the machine. */
  readonly signal?: AbortSignal;
}

/** A running virtual machine. Disposing it ends it at once, as pulling its plug. */
export interface Machine extends AsyncDisposable {
  readonly console: SerialConsole;
  /** Raw bytes of the serial console, kept after the end. */
  readonly consoleLog: string;
  readonly acceleration: Acceleration;
  readonly monitor: Monitor;
  /** QEMU's process. */
  readonly pid: number;
  /** QEMU's exit code: 0 after a power-off; -1 when it was killed. Never rejects. */
  readonly exited: Promise<number>;
  /** Types on the serial console. */
  type(text: string): void;
}

/**
 * Starts a virtual machine; returns as soon as its monitor answers.
 * @throws {Error} it does not start; with QEMU's message
 */
export async function startMachine(options: MachineOptions): Promise<Machine> {
  await mkdir(options.directory, { recursive: true });
  const files = {
    console: join(options.directory, `${options.name}.console.log`),
    monitor: join(options.directory, `${options.name}.monitor`),
    variables: join(options.directory, `${options.name}.efivars.fd`),
  };
  await Promise.all(Object.values(files).map((path) => rm(path, { force: true })));
  for (const { writeLog } of options.disks ?? []) if (writeLog !== undefined) await writeFile(writeLog, '');
  const isArm = options.architecture === 'aarch64';
  const { firmware = isArm ? 'uefi' : 'bios' } = options;
  if (firmware !== 'bios') await copyFile(emptyVariables(options), files.variables);
  const acceleration = options.acceleration ?? (isArm ? 'tcg' : await findAcceleration());
  const cpus = options.cpus ?? (acceleration === 'tcg' ? 1 : 2);
  const countsInstructions =
    acceleration === 'tcg' && cpus === 1 && options.boot.kind === 'kernel' && firmware === 'bios';

  const child = spawnInNamespace(options, [
    ...['-name', options.name, '-nodefaults', '-display', 'none', '-no-user-config'],
    ...(options.screen === true ? ['-vga', 'std'] : ['-vga', 'none']),
    ...(isArm ? armMachine : x86Machine(options)),
    ...[
      '-accel',
      acceleration === 'tcg' ? emulation : acceleration,
      ...(isArm ? [] : ['-cpu', acceleration === 'kvm' ? 'host' : emulatedProcessor]),
      ...(countsInstructions ? ['-icount', instructionClock] : []),
    ],
    ...['-m', String(options.memoryMiB ?? 2048), '-smp', String(cpus)],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...['-qmp', `unix:${files.monitor},server=on,wait=off`],
    ...['-device', 'virtio-rng-pci'],
    ...(options.endsOnReboot === true ? ['-no-reboot'] : []),
    ...(options.clock === undefined ? [] : ['-rtc', `base=${options.clock}`]),
    ...(options.watchdog === true ? ['-device', 'i6300esb', '-action', 'watchdog=reset'] : []),
    ...(firmware === 'bios' ? [] : uefiArguments(options, files.variables)),
    ...bootArguments(options),
    ...(options.disks ?? []).flatMap((disk, position) => diskArguments(disk, position, options)),
    ...(options.cards ?? []).flatMap((card, position) => cardArguments(card, position, options)),
  ]);
  return await watch(child, files, acceleration, options);
}

/**
 * All processors of the machine in one thread. With a thread each, QEMU (7.2) now and then never
 * gets beyond an instruction that the guest's kernel is just patching, as it does when the first
 * container turns the accounting of memory on: both processors are stuck for good ("soft lockup").
 */
const emulation = 'tcg,thread=single';

/**
 * The clock of an emulated machine advances by a nanosecond with each instruction, and with the
 * host's when the machine is idle. On a busy host the machine then has as many timer interrupts,
 * time-outs and polls as on an idle one: with the host's clock it needed three times the processor
 * time there. Its time of day goes slow meanwhile. Not for firmware: OVMF waits in busy loops, and
 * took 164 s instead of 10. Not for several processors: two that were both busy made no progress in
 * 310 s.
 */
const instructionClock = 'shift=0,sleep=on';

/**
 * `setpriv` makes the kernel end the machine when this process ends, however it ends: no machine
 * outlives its test.
 */
function spawnInNamespace(options: MachineOptions, machineArguments: readonly string[]): ChildProcess {
  const command = [
    ...['setpriv', '--pdeathsig', 'KILL'],
    ...(options.namespace === undefined ? [] : ['ip', 'netns', 'exec', options.namespace]),
    ...[`qemu-system-${options.architecture ?? 'x86_64'}`, ...machineArguments],
  ];
  const [program = '', ...rest] = command;
  return spawn(program, rest, { stdio: ['pipe', 'pipe', 'pipe'] });
}

async function watch(
  child: ChildProcess,
  files: { console: string; monitor: string },
  acceleration: Acceleration,
  options: MachineOptions,
): Promise<Machine> {
  const serial = new SerialConsole();
  let complaints = '';
  // Not QEMU's own logfile: that has a byte twice whenever this process is slow to read.
  const log = createWriteStream(files.console);
  child.stdout?.on('data', (bytes: Uint8Array) => {
    log.write(bytes);
    serial.feed(bytes);
  });
  child.stderr?.on('data', (bytes: Uint8Array) => {
    complaints += String(bytes);
  });
  child.stdin?.on('error', () => {}); // typed at a machine that has just ended: `exited` says so
  const ended = Promise.withResolvers<number>();
  child.on('error', (error) => {
    complaints += error.message;
    ended.resolve(-1);
  });
  child.on('close', (code) => ended.resolve(code ?? -1));
  const exited = ended.promise.then(async (code) => {
    await new Promise<void>((resolve) => log.end(resolve));
    serial.end(`machine ${options.name} ended with code ${code}${complaints === '' ? '' : `: ${complaints.trim()}`}`);
    return code;
  });
  const pullPlug = (): void => void child.kill('SIGKILL');
  options.signal?.addEventListener('abort', pullPlug, { once: true });
  void exited.then(() => options.signal?.removeEventListener('abort', pullPlug));

  const started = new AbortController();
  const monitor = await Promise.race([
    connectMonitor(files.monitor, started.signal),
    exited.then(() => undefined),
  ]).catch((error: unknown) => {
    pullPlug();
    throw new Error(`cannot start machine ${options.name}: its monitor does not answer; ${complaints.trim()}`, {
      cause: error,
    });
  });
  const { pid } = child;
  if (monitor === undefined || pid === undefined) {
    started.abort();
    throw new Error(`cannot start machine ${options.name}: ${complaints.trim() || 'it ended at once'}`);
  }
  return {
    console: serial,
    consoleLog: files.console,
    acceleration,
    monitor,
    pid,
    exited,
    type: (text) => void child.stdin?.write(text),
    async [Symbol.asyncDispose]() {
      pullPlug();
      await exited;
      await monitor[Symbol.asyncDispose]();
      await rm(files.monitor, { force: true });
    },
  };
}

/**
 * QEMU makes the socket a moment after it starts, and says so in no other way than by the socket
 * being there.
 */
async function connectMonitor(path: string, signal: AbortSignal): Promise<Monitor> {
  for (;;) {
    try {
      await access(path);
      return await Monitor.connect(path, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      await delay(20, undefined, { signal });
    }
  }
}

function x86Machine({ screen, firmware }: MachineOptions): string[] {
  return ['-machine', `q35,graphics=${screen === true ? 'on' : 'off'}${firmware === 'secure-boot' ? ',smm=on' : ''}`];
}

/**
 * QEMU's usual one, and the instruction that a server's processor has for random numbers: without
 * it the kernel gathers them for seconds, and programs that need some wait.
 */
const emulatedProcessor = 'qemu64,+rdrand';

/** The signatures of pointers as QEMU makes them, not the standard, whose emulation is slow. */
const armMachine: readonly string[] = ['-machine', 'virt', '-cpu', 'max,pauth-impdef=on'];

/** UEFI's variables of a new machine. */
function emptyVariables({ architecture, firmware, enrolledKeys = 'microsoft' }: MachineOptions): string {
  if (architecture === 'aarch64') return '/usr/share/AAVMF/AAVMF_VARS.fd';
  const keys = { microsoft: '.ms', snakeoil: '.snakeoil' }[enrolledKeys];
  return `/usr/share/OVMF/OVMF_VARS_4M${firmware === 'secure-boot' ? keys : ''}.fd`;
}

function uefiArguments({ architecture, firmware }: MachineOptions, variables: string): string[] {
  const isSecure = firmware === 'secure-boot';
  const x86Code = `/usr/share/OVMF/OVMF_CODE_4M${isSecure ? '.secboot' : ''}.fd`;
  const code = architecture === 'aarch64' ? '/usr/share/AAVMF/AAVMF_CODE.fd' : x86Code;
  return [
    ...['-drive', `if=pflash,format=raw,unit=0,readonly=on,file=${code}`],
    ...['-drive', `if=pflash,format=raw,unit=1,file=${variables}`],
    // Only the firmware may write the variables: an operating system must not enrol keys.
    ...(isSecure ? ['-global', 'driver=cfi.pflash01,property=secure,value=on'] : []),
  ];
}

function bootArguments({ boot }: MachineOptions): string[] {
  if (boot.kind === 'firmware') return ['-boot', 'menu=off,strict=on'];
  return ['-kernel', boot.kernel, '-initrd', boot.initramfs, '-append', boot.commandLine];
}

/**
 * The rank among all that the firmware tries: devices of a kind keep the order in which they were
 * given.
 */
function bootIndex(kind: 'network' | 'disks', position: number, { boot }: MachineOptions): string {
  const rank = boot.kind === 'firmware' ? boot.order.indexOf(kind) : -1;
  return rank < 0 ? '' : `,bootindex=${rank * 100 + position + 1}`;
}

function diskArguments(disk: MachineDisk, position: number, options: MachineOptions): string[] {
  const id = `disk${position}`;
  const common = `drive=${id},serial=${disk.serial ?? id}${bootIndex('disks', disk.bootFirst === true ? 0 : position + 1, options)}`;
  const device = {
    virtio: ['-device', `virtio-blk-pci,${common}`],
    sata: ['-device', `ide-hd,bus=ide.${position},${common}`],
    scsi: scsiDisk('virtio-scsi-pci', position, common),
    megasas: scsiDisk('megasas', position, common),
    pvscsi: scsiDisk('pvscsi', position, common),
    nvme: ['-device', `nvme,${common}`],
    usb: ['-device', `qemu-xhci,id=usb${position}`, '-device', `usb-storage,bus=usb${position}.0,${common}`],
    sd: ['-device', `sdhci-pci,id=sd${position}`, '-device', `sd-card,drive=${id}`],
    cd: ['-device', `ide-cd,bus=ide.${position},${common}`],
  }[disk.bus ?? 'virtio'];
  // discard=unmap: a hole that the guest punches is a hole in the file too; cache=unsafe: no test
  // outlives the host's power.
  const access = disk.bus === 'cd' ? 'media=cdrom,readonly=on' : 'discard=unmap,cache=unsafe';
  const drive =
    disk.writeLog === undefined
      ? `format=raw,${access},file=${disk.path}`
      : loggingDrive({ path: disk.path, writeLog: disk.writeLog });
  return ['-drive', `if=none,id=${id},${drive}`, ...device];
}

/**
 * The log counts each entry at once, so that it is whole when the machine is killed. With
 * cache=unsafe it would have no flushes.
 */
function loggingDrive({ path, writeLog }: Required<Pick<MachineDisk, 'path' | 'writeLog'>>): string {
  return [
    'driver=blklogwrites,cache=writeback,discard=unmap,log-super-update-interval=1',
    `file.driver=raw,file.file.driver=file,file.file.filename=${path}`,
    `log.driver=file,log.filename=${writeLog}`,
  ].join(',');
}

function scsiDisk(controller: string, position: number, common: string): string[] {
  return ['-device', `${controller},id=scsi${position}`, '-device', `scsi-hd,bus=scsi${position}.0,${common}`];
}

function cardArguments(card: MachineCard, position: number, options: MachineOptions): string[] {
  const id = `net${position}`;
  const { model = 'virtio-net-pci' } = card;
  // A card without a speed takes no part in LACP.
  const speed = model === 'virtio-net-pci' ? ',speed=10000,duplex=full' : '';
  const device = `${model}${speed},netdev=${id},mac=${card.mac}${bootIndex('network', position, options)}${card.optionRom === false ? ',romfile=' : ''}`;
  return ['-netdev', networkArgument(id, card), '-device', device];
}

function networkArgument(id: string, { network }: MachineCard): string {
  switch (network.kind) {
    case 'tap':
      return `tap,id=${id},ifname=${network.interface},script=no,downscript=no`;
    case 'cable':
      return `hubport,id=${id},hubid=${network.number}`;
    case 'user':
      return [
        `user,id=${id}`,
        ...(network.reachesHost !== true ? ['restrict=on'] : []),
        ...(network.tftpDirectory === undefined ? [] : [`tftp=${network.tftpDirectory}`]),
        ...(network.bootFile === undefined ? [] : [`bootfile=${network.bootFile}`]),
        ...(network.forward ?? []).map((forward) => `hostfwd=tcp:127.0.0.1:${forward.hostPort}-:${forward.guestPort}`),
      ].join(',');
  }
}
