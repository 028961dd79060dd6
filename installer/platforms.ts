/**
 * Platforms that Ignition has code for (`internal/providers` of Ignition 2.26), and the names that
 * Flatcar translates to them (`ignition-setup-pre.sh` of its bootengine) or handles itself.
 */
export const platforms: readonly string[] = [
  ...['akamai', 'aliyun', 'applehv', 'aws', 'azure', 'azurestack', 'cloudstack', 'digitalocean', 'ec2', 'exoscale'],
  ...['gce', 'gcp', 'hetzner', 'hyperv', 'ibmcloud', 'kubevirt', 'metal', 'nutanix', 'nvidiabluefield', 'openstack'],
  ...['oraclecloud', 'packet', 'powervs', 'proxmoxve', 'pxe', 'qemu', 'scaleway', 'upcloud', 'virtualbox', 'vmware'],
  ...['vultr', 'zvm'],
];
