/** One part of the report: the output of a command, or the content of files. */
export type Section =
  | { readonly title: string; readonly command: readonly [program: string, ...args: string[]] }
  | { readonly title: string; readonly directory: string; readonly files: RegExp };

const command = (...words: [string, ...string[]]): Section => ({ title: words.join(' '), command: words });
const shell = (title: string, script: string): Section => ({ title, command: ['sh', '-c', script] });
const files = (directory: string, pattern: RegExp): Section => ({
  title: `files of ${directory}`,
  directory,
  files: pattern,
});

/**
 * What the report contains, in its order: what the machine was asked to do, its log since power-on,
 * its devices, its network, its engine.
 */
export const sections: readonly Section[] = [
  files('/proc', /^(cmdline|version|uptime|meminfo|loadavg)$/),
  files('/etc', /^os-release$/),
  command('date', '-u'),
  files('/var/log', /^[\w.-]+$/),
  command('dmesg'),
  command('tink-agent', '--print-config'),
  files('/proc', /^(cpuinfo|modules|mounts|partitions|mdstat|interrupts)$/),
  command('lsblk', '--output', 'NAME,TYPE,SIZE,RO,RM,TRAN,MODEL,SERIAL,FSTYPE,LABEL,MOUNTPOINTS'),
  command('nibs-report', '--file-systems'),
  command('ls', '-l', '/dev/disk/by-id', '/dev/disk/by-path'),
  files(
    '/sys/class/dmi/id',
    /^(bios_(vendor|version|date)|board_(vendor|name)|product_(name|serial|uuid)|sys_vendor)$/,
  ),
  shell(
    'PCI devices',
    'for device in /sys/bus/pci/devices/*; do echo "$(basename $device) $(cat $device/modalias) $(readlink $device/driver)"; done',
  ),
  command('ip', 'address'),
  command('ip', '-s', 'link'),
  command('ip', 'route'),
  command('ip', '-6', 'route'),
  files('/etc', /^(resolv\.conf|hosts)$/),
  files('/run/systemd/network', /./),
  files('/run/systemd/netif/links', /./),
  files('/run/systemd/netif/leases', /./),
  files('/etc/docker', /^daemon\.json$/),
  command('docker', 'info'),
  command('docker', 'ps', '--all'),
  command('docker', 'images'),
  command('ps'),
];
