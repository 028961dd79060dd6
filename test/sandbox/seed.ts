/**
 * What the blog post "Provisioning Flatcar Container Linux with Tinkerbell" has a person type at
 * the provisioner, with the differences that a sandbox without Internet needs: the image comes from
 * a mirror (`-b`) and is signed with the mirror's own key (`-k`), which a third action puts beside
 * the Ignition config. The post itself, word for word: workflows/seed/commands.sh.
 */

/** A machine that the provisioner knows. */
export interface SeedMachine {
  /** UUID: the worker id. */
  readonly id: string;
  readonly mac: string;
  readonly address: string;
}

/** The post's hardware-data.json. */
export function seedHardware(machine: SeedMachine, gateway: string): unknown {
  return {
    id: machine.id,
    metadata: { facility: { facility_code: 'onprem' }, instance: {}, state: '' },
    network: {
      interfaces: [
        {
          dhcp: {
            arch: 'x86_64',
            ip: { address: machine.address, gateway, netmask: '255.255.255.248' },
            mac: machine.mac,
            uefi: false,
          },
          netboot: { allow_pxe: true, allow_workflow: true },
        },
      ],
    },
  };
}

/**
 * The post's Ignition config in the version that Debian's Ignition reads (3.3.0 in place of 2.1.0,
 * which only Flatcar's own translates).
 */
export function seedIgnition(authorizedKey: string): string {
  return JSON.stringify({
    ignition: { version: '3.3.0' },
    passwd: { users: [{ name: 'core', sshAuthorizedKeys: [authorizedKey] }] },
  });
}

/** The post's flatcar-template.yaml.tmpl; its one variable is `machine1`. */
export function seedTemplate(ignition: string, signingKey: string, mirrorUrl: string): string {
  const dump = (name: string, content: string, file: string) => `
      - name: "${name}"
        image: flatcar-install
        command:
          - sh
          - -c
          - echo '${Buffer.from(content).toString('base64')}' | base64 -d > /statedir/${file} # Decode to a file.`;
  return `version: '0.1'
name: flatcar-install
global_timeout: 1800
tasks:
  - name: "flatcar-install"
    worker: "{{.machine1}}"
    volumes:
      - /dev:/dev # Needed for accessing the disk so that we can install to it.
      - /statedir:/statedir # Needed for passing the Ignition config JSON and running flatcar-install.
    actions:${dump('dump-ignition', ignition, 'ignition.json')}${dump('dump-signing-key', signingKey, 'signing-key.asc')}
      - name: "flatcar-install"
        image: flatcar-install
        command:
          - /usr/local/bin/flatcar-install
          - -s # Install to smallest disk.
          - -i
          - /statedir/ignition.json
          - -b
          - ${mirrorUrl}
          - -k
          - /statedir/signing-key.asc
`;
}
