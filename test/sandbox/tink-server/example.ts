/** Machines and templates that the tests share. */

export const MACHINE_ONE = {
  id: 'ce2e62ed-826f-4485-a39f-a82bb74338e2',
  mac: '08:00:27:00:00:01',
  address: '192.168.1.5',
};
export const MACHINE_TWO = {
  id: '0f7b6d0e-1f6b-4f3c-8d3e-5a1c6f9b2d47',
  mac: '08:00:27:00:00:02',
  address: '192.168.1.6',
};

/** What `tink hardware push` is given for a machine. */
export function hardwareJson(machine: typeof MACHINE_ONE): unknown {
  return {
    id: machine.id,
    metadata: { facility: { facility_code: 'onprem' }, instance: {}, state: '' },
    network: {
      interfaces: [
        {
          dhcp: {
            arch: 'x86_64',
            ip: { address: machine.address, gateway: '192.168.1.1', netmask: '255.255.255.248' },
            mac: machine.mac,
            uefi: false,
          },
          netboot: { allow_pxe: true, allow_workflow: true },
        },
      ],
    },
  };
}

/** A task: its name, the variable that names its worker, the names of its actions. */
export type ExampleTask = readonly [task: string, worker: string, actions: readonly string[]];

export function templateOf(...tasks: readonly ExampleTask[]): string {
  const lines = ["version: '0.1'", 'name: example', 'global_timeout: 1800', 'tasks:'];
  for (const [task, worker, actions] of tasks) {
    lines.push(`- name: ${task}`, `  worker: "{{.${worker}}}"`, '  volumes:', '  - /dev:/dev', '  actions:');
    for (const action of actions)
      lines.push(`  - name: ${action}`, '    image: busybox', '    timeout: 60', `    command: [echo, ${action}]`);
  }
  return lines.join('\n');
}
