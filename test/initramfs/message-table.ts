/**
 * Every message of the boot image's own scripts, by file, as test/agent/message-table.ts has those
 * of the agent. On the consoles `nibs:` is in front and the uptime behind.
 */
export const bootMessages: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'early/init': {
    init: 'normal: the kernel has started the first process',
    'cannot load the drivers for the root file system':
      'the image is damaged, or kernel and initramfs are of different builds > serve both files of one build',
    'cannot mount …': 'the image is damaged, or the machine has too little memory > load it again; 1 GiB is the least',
    'cannot mount the root file system': 'the machine has too little memory, or the image is damaged > as above',
    '…; restarting in 60 s': 'part: nothing can run; the machine restarts, perhaps with another image',
  },
  'engine-docker/lib/nibs/engine': { 'engine ready': 'normal: actions can run' },
  'engine-podman/lib/nibs/engine': { 'engine ready': 'normal: actions can run' },
  'system/lib/nibs/cards': {
    'kernel command line: …; using DHCP instead':
      'an argument of the network is unusable > correct it; the machine asks by DHCP meanwhile',
  },
  'system/lib/nibs/clock': {
    'no time source has answered yet, continuing at …':
      'no time server and no web server answered in three seconds > name one by DHCP option 42 or ntp_servers=',
    'the time of …, …, is before the time of this image: ignored': 'a time server is wrong > correct its clock',
    'the time of …, …, is more than 20 years after the time of this image: ignored':
      'a time server is wrong > correct its clock',
    'clock set by …: it was … s …': 'normal: the clock',
  },
  'system/lib/nibs/devices': {
    'kernel command line: the module … of modules= cannot be loaded':
      'the image has no such module, or Secure Boot refuses it > correct modules=, or add it with make initramfs MODULES=',
    'drivers loaded, network cards: …': 'normal: without a card at the end, the driver of the network card is missing',
  },
  'system/lib/nibs/functions': { 'nibs: … (… s)': 'part: the form of each message on a console' },
  'system/lib/nibs/install': {
    'the script of the installation was killed: ending its installer': 'normal: the installation starts again',
    'installing: flatcar-install …': 'normal: nibs_install',
    'installation failed with status …: …': 'nibs_install has failed > the reason follows; look it up below',
    'a report of the machine was sent': 'normal: nibs_report_url is set',
    'nothing has been installed; nibs_shell offers a shell, nibs_install_retry=SECONDS another try':
      'nibs_install has failed, and the machine stays as it is > see the reason above',
    'installing again in … s': 'normal: nibs_install_retry is set',
    'installed: …': 'normal: the machine restarts or is powered off',
  },
  'system/lib/nibs/network-configuration': {
    'no network card has the name or address …; found: …':
      'interface=, hw_addr= or ipam= names another card > correct it; the cards of the machine are listed',
    'a VLAN ID is a number from 1 to 4094, not …': 'vlan_id= or ipam= is wrong > correct it',
    'cannot use the address …: …': 'ip= or ipam= is wrong > correct it',
    '… is not an address': 'part: what is wrong with ip= or ipam=',
    '… is not a netmask': 'part: what is wrong with ip= or ipam=',
    'the gateway … is not an address': 'part: what is wrong with ip= or ipam=',
    'a name server is missing': 'part: what is wrong with ipam=',
    'the name server … is not an address': 'part: what is wrong with ip= or ipam=',
    'kernel command line: the option … of bond= is not known: ignored': 'bond= is misspelt > correct it',
  },
  'system/lib/nibs/network-state': {
    '… has the address ……': 'normal: the address of a card has changed',
    '… has lost the address …: …':
      'the cable, the switch or the DHCP server > see which; the card asks again by itself',
  },
  'system/lib/nibs/network-wait': {
    'still no address: …':
      'DHCP does not answer, or no card has a link > the states of the cards follow: cable, VLAN, DHCP server',
    'network up … on …': 'normal: the network',
  },
  'system/lib/nibs/provision': {
    'drivers are still starting devices, continuing': 'normal: a slow controller; its disks may appear later',
    'agent starts': 'normal: messages of the agent follow',
  },
  'system/lib/nibs/registry': {
    'no certificate for the registry … from … yet, retrying':
      'the web server with the authority is away > start it, or correct nibs_registry_ca= or packet_base_url=',
    'registry …: trusting the certificate from …': 'normal: the authority of a registry',
    'registry …: no certificate at …': 'the web server has no such file (404) > normal where the registry needs none',
  },
  'system/lib/nibs/shutdown': { 'shutting down': 'normal: the machine ends' },
  'system/lib/nibs/site': {
    'added by the site: files: …, files with certificates: …, images: …': 'normal: a second initramfs',
    'added by the site: … has no certificate in PEM format: ignored':
      'a file of CERTIFICATES= is something else > correct it',
  },
  'system/lib/nibs/ssh': {
    'a key for ssh was given, but this image has no SSH server (make initramfs SSH=dropbear)':
      'nibs_ssh_key= has no effect > build the image with SSH=dropbear',
    'SSH server on port 22, host key …': 'normal: the SSH server',
  },
  'system/lib/nibs/start': {
    'Secure Boot: the kernel is locked down, kexec loads only signed kernels': 'normal: a machine with Secure Boot',
  },
  'system/lib/nibs/supervise': {
    '… exited with status …, restarting it in … s':
      'a service has ended > once is nothing; if it goes on, see /var/log of the machine (nibs_shell)',
  },
};
