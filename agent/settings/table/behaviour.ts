import { settingsOf } from '../names.ts';
import { absolutePath, absolutePaths, boolean, choice, string } from '../values.ts';

const setting = settingsOf('Behaviour');

export const behaviourSettings = {
  interrupted: setting(choice(['rerun', 'fail']).default('rerun'), {
    name: 'interrupted',
    description:
      'What to do with an action that was running when the agent or the machine stopped: run it again, or report it as failed.',
    value: 'rerun|fail',
  }),
  finish: setting(choice(['none', 'reboot', 'poweroff', 'kexec']).default('none'), {
    name: 'finish',
    description:
      'What to do once the server has acknowledged the success of the last action of a workflow and no other workflow waits. kexec starts the kernel that an action has loaded (kexec -l), or the one configured here; if that fails, the machine reboots.',
    value: 'none|reboot|poweroff|kexec',
  }),
  kexecDevice: setting(string().optional(), {
    name: 'kexec-device',
    description:
      'Device with the kernel to start (BLOCK_DEVICE of the action kexec), or LABEL= or UUID= of its file system; it is mounted read-only. Default: the kernel is a file of the running system.',
    value: 'DEVICE',
  }),
  kexecFsType: setting(string().optional(), {
    name: 'kexec-fs-type',
    description: 'Type of the file system on that device (FS_TYPE). Default: detected.',
    value: 'TYPE',
  }),
  kexecKernel: setting(absolutePath().optional(), {
    name: 'kexec-kernel',
    description:
      'Kernel to start (KERNEL_PATH), a path on that device. Default: only a kernel that an action has loaded is started.',
    value: 'PATH',
  }),
  kexecInitramfs: setting(absolutePaths().optional(), {
    name: 'kexec-initramfs',
    description:
      'Initramfs of that kernel (INITRD_PATH), a path on that device. May be repeated, or a list separated by commas: the kernel unpacks them in this order. Default: none.',
    value: 'PATH',
    repeatable: true,
  }),
  kexecCmdline: setting(string().optional(), {
    name: 'kexec-cmdline',
    description:
      'Command line of that kernel (CMD_LINE); on the kernel command line within double quotes. Default: empty.',
    value: 'TEXT',
  }),
  kexecCommand: setting(string().default('kexec'), {
    name: 'kexec-command',
    description: 'The program kexec of kexec-tools.',
    value: 'PROGRAM',
  }),
  rebootCommand: setting(string().default('reboot'), {
    name: 'reboot-command',
    description: 'Command that reboots the machine; words separated by spaces.',
    value: 'COMMAND',
  }),
  poweroffCommand: setting(string().default('poweroff'), {
    name: 'poweroff-command',
    description: 'Command that powers the machine off; words separated by spaces.',
    value: 'COMMAND',
  }),
  sysrq: setting(boolean().default(false), {
    name: 'sysrq',
    description:
      'If that command fails, or the machine is still up 30 seconds after it, sync and write to /proc/sysrq-trigger. The boot image switches this on.',
  }),
};
