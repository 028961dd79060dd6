/**
 * Every text of the agent's sources that is part of a message to people, in the order of the files:
 * what it means, and after `>` what to do. docs/troubleshooting.md is made of it.
 *
 * `part:` is a part of a sentence such as `cannot {what} {target}: {why} ({hint})`; `normal:` needs
 * nothing to be done; `internal:` is no message for people.
 */
export const agentMessages: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  '../registry/image-reference.ts': {
    'its digest is malformed': 'part: what is wrong with the name of an image',
    'its tag is malformed': 'part: what is wrong with the name of an image',
    ' (it must be lower case)': 'part: what is wrong with the name of an image',
    'the repository "…" is malformed…': 'part: what is wrong with the name of an image',
    'the registry "…" is malformed': 'part: what is wrong with the name of an image',
    'it is the id of one': 'part: a template names an image by its id',
    'its repository has more than … characters': 'part: what is wrong with the name of an image',
    '"…" is not the name of an image: …': 'no engine could pull it > correct the image in the template',
  },
  'agent.ts': {
    'the agent stops: …': 'normal: it has received a signal, or its template has ended',
    'an action requested it': 'part: the file /worker/reboot is there',
    'ask the server for work': 'part: what could not be done; the agent tries again',
    'compact the journal': 'part: what could not be done; the agent tries again',
    'record that the work is done': 'part: what could not be done; the agent tries again',
    'the workflow is done, and the server has acknowledged it': 'normal: --finish follows',
    'the server requests an action that has ended (…); reporting its result again':
      'normal: the server did not get the first report',
    'record an end': 'part: what could not be done; the agent tries again',
    'remove the container of a stopped action': 'part: what could not be done; the agent tries again',
    'record the start of an action': 'part: what could not be done; the agent tries again',
    'the action was interrupted, and its result is unknown; policy: …':
      'an agent before this one, or the machine, ended amid the action > nothing, or set --interrupted fail where an action must not run twice',
    'record the end of an action': 'part: what could not be done; the agent tries again',
    'report the start of an action': 'part: what could not be done; the agent tries again',
    'the action is not run: …':
      'the server refused its start: the workflow has ended or was deleted > create a new workflow',
    'forget a workflow': 'part: what could not be done; the agent tries again',
    'the action starts: image …, workflow …': 'normal: an action',
    'the agent failed': 'an internal error > report it with the log',
    'the action ended: …: …': 'an action failed, or timed out > the reason is behind the result',
    'record in the journal': 'part: what did not come in time',
    'cannot record that the action is stopped: …':
      'the disk of the journal is full or broken, and the agent stops > free space; if the agent was killed too, look at the result of the action',
    'report the end of an action': 'part: what could not be done; the agent tries again',
    'the server has acknowledged ……': 'normal: the report of an action has arrived',
    '; the workflow is done': 'part: it was the last action',
    'record an acknowledgement': 'part: what could not be done; the agent tries again',
    'the server rejected the result of the action (…) as obsolete: …':
      'the workflow ended or was deleted while the action ran > nothing',
    'cannot …: …; trying again': 'a step failed for a reason that may pass > see the reason; actions go on meanwhile',
    'cannot …: …': 'part: the form of many errors',
    'could … again after … s, at attempt …': 'normal: what failed before has succeeded',
    'interrupted: the agent had to stop and stopped the action, and interrupted actions do not run again':
      '--interrupted fail is set > run the workflow again if its actions allow that',
    'interrupted: the agent or the machine stopped while the action ran, and interrupted actions do not run again':
      '--interrupted fail is set > run the workflow again if its actions allow that',
  },
  'create-runtime.ts': {
    'cannot unmount what an earlier agent left: …':
      'a layer of an image is still mounted > restart the machine if it happens again',
  },
  'create-transport.ts': {
    'anyone in the network in between can run actions on this machine': 'part: why it is warned of',
    'the connection to … is not encrypted: … (set tinkerbell_tls=true)':
      'plaintext was chosen by a setting > set tinkerbell_tls=true if the server has TLS',
    'the certificate of … is not verified: … (remove tinkerbell_insecure_tls)':
      'a setting switches the verification off > name the authority with --tls-ca or grpc_cert_url= instead',
    'the connection to the NATS server is not encrypted: … (use tls://)':
      'the address has no tls:// and the server offers no TLS > give the server a certificate',
    '… … the NATS server': 'normal: connected to or disconnected from the NATS server',
  },
  'doctor/clock-check.ts': {
    'it agrees with …': 'normal: doctor, clock',
    'it shows …, … s … …': 'doctor: the clock is wrong > set it, or give the machine a time server',
    'the configuration names no web server': 'part: doctor has nothing to compare the clock with',
    'no web server of it tells the time': 'part: doctor has nothing to compare the clock with',
    'it shows …, and …': 'doctor: the clock could not be compared > compare it yourself',
    'set the clock, or give the machine a time server by DHCP option 42 or ntp_servers= on the kernel command line':
      'part: advice',
  },
  'doctor/containerd-engine.ts': { 'containerd … at …, namespace …': 'normal: doctor, engine' },
  'doctor/disk-check.ts': {
    'give a directory that can be written to with …': 'part: advice',
    'its file system is full': 'doctor: the journal could not be written > free space, or give another directory',
    'in memory: it does not survive a restart of the machine': 'part: doctor, where the journal is',
    'on a disk': 'part: doctor, where the journal is',
    '…, … free': 'normal: doctor, disks',
    'it cannot be written to: …': 'doctor: a directory is read-only or cannot be made > give another directory',
    'images in …': 'part: what doctor has looked at',
    'give the machine more memory or the engine a disk, or remove images that are not needed': 'part: advice',
    'its file system cannot be asked: …': 'doctor: the directory of the engine is not visible > nothing',
    'disks of the machine': 'part: what doctor has looked at',
    'there is none that an operating system could be installed to':
      'doctor: the kernel shows no disk > look at the controller in the firmware setup, load its driver with modules=',
    'check the controller in the firmware setup, and load its driver with modules= on the kernel command line':
      'part: advice',
  },
  'doctor/docker-engine.ts': {
    'read the version of': 'part: what could not be done',
    '… … at …, storage driver …': 'normal: doctor, engine',
  },
  'doctor/doctor.ts': { 'none is needed: work comes from a template': 'normal: doctor, server' },
  'doctor/engine-check.ts': {
    'answer of the engine': 'part: what did not come in time',
    'the engine, which would reach it, does not answer':
      'doctor: registries were not looked at > see what is wrong with the engine first',
    'none is configured: images come from the registries in their names': 'normal: doctor, registry',
    'start the engine, or name its address with --docker-host (now …); for containerd set --runtime containerd':
      'part: advice',
    'start containerd, or name its socket with --containerd-socket (now …)': 'part: advice',
    'without a login': 'part: how the registry was asked',
    'with the configured login': 'part: how the registry was asked',
    'the engine reaches it …': 'normal: doctor, registry',
    'it asks for a login, or hides that an image does not exist':
      'doctor: the registry refused, and no login is configured for it > set user name and password, or try an image with --image',
    'set registry_username= and registry_password=, or try an image of it: tink-agent doctor --image …/NAME':
      'part: advice',
    'the engine has pulled it': 'normal: doctor, the image of --image',
    'answer of the registry': 'part: what did not come in time',
    'check the name or address of the registry, name resolution, and the route to it': 'part: advice',
    "give the engine the registry's authority: nibs_registry_ca=…=URL in the boot image, /etc/docker/certs.d/…/ca.crt elsewhere":
      'part: advice',
    'give the registry a certificate, or list it in insecure_registries= in the boot image, "insecure-registries" of daemon.json elsewhere':
      'part: advice',
    'correct the file that the message names': 'part: advice',
    'see the log of the registry': 'part: advice',
  },
  'doctor/finding.ts': {
    'cannot … …: …': 'part: the form of many errors',
    '…to do: …': 'part: advice',
    'errors: …, warnings: …, not checked: …': 'normal: the last line of doctor',
  },
  'doctor/nats-check.ts': {
    'its address or the worker ID is missing': 'doctor: the server was not looked at > set what the settings lack',
    'the connection is not encrypted': 'doctor: NATS without TLS > use tls:// if the server has it',
    'use tls:// if it has TLS': 'part: advice',
    'answer of the NATS server': 'part: what did not come in time',
    'it takes the subscription of this worker': 'normal: doctor, NATS server',
    'check the address of the NATS server, its user and password, and the route to it': 'part: advice',
  },
  'doctor/server-check.ts': {
    'its address or the worker ID is missing': 'doctor: the server was not looked at > set what the settings lack',
    'check the settings of the server': 'part: advice',
    'it speaks protocol version …, but --dialect is …':
      'doctor: the agent would not be understood > remove --dialect, or correct it',
    'remove --dialect, or correct it': 'part: advice',
    'it answers, with protocol version …': 'normal: doctor, server',
    'see the log of the server': 'part: advice',
    'anyone in the network in between can run actions on this machine': 'part: why it is warned of',
    'the connection is not encrypted: …': 'doctor: plaintext > set tinkerbell_tls=true if the server has TLS',
    'set tinkerbell_tls=true if the server has TLS': 'part: advice',
    'no TLS handshake with the server': 'doctor: no certificate was seen > see what is wrong with the server',
    'the certificate is not verified: …':
      'doctor: a setting switches the verification off > name the authority instead',
    'remove tinkerbell_insecure_tls, and name the authority with --tls-ca or grpc_cert_url=': 'part: advice',
    'certificate of …, valid from … to …': 'normal: doctor, TLS',
    '…: not valid yet, now is …': 'doctor: the clock of this machine or of the maker is wrong > set the clock',
    '…: it has ended, now is …': 'doctor: no agent connects any more > renew the certificate of the server',
    'renew the certificate of …, or …': 'part: advice',
    '…: … days left': 'doctor: the certificate of the server ends soon > renew it',
    'renew the certificate': 'part: advice',
    'set the clock of the machine': 'part: advice',
  },
  'doctor/settings-check.ts': {
    'correct the value, or remove it; "tink-agent explain" shows the value in force': 'part: advice',
  },
  'journal.ts': {
    '… is damaged in line …; it is kept as …, and the journal continues with the readable lines':
      'the machine lost power amid a write, or the disk is damaged > look at the disk if it happens again',
    'is the state directory writable?': 'part: advice',
    'open the journal': 'part: without its journal the agent could run an action twice, so it ends',
    'write to the journal': 'part: the disk is full or broken; the agent waits and tries again',
  },
  'log/runtime-log.ts': {
    'pulling the image': 'normal: an action',
    'pulling …: … of … MB': 'normal: an action',
    'image pulled in … s': 'normal: an action',
    'images loaded in … s: …': 'normal: archives of --image-directory',
    '…: waiting for the container of an earlier agent': 'normal: the agent was restarted amid an action',
    '…: container started': 'normal: an action',
  },
  'main.ts': {
    'stopped before all was checked: … ': 'doctor was interrupted > start it again',
    'the agent starts': 'normal: the first line',
    'it received …': 'part: why the agent stops',
  },
  'power/kexec.ts': {
    'no action has loaded one (kexec -l), and none is configured':
      'part: --finish kexec without a kernel; set --kexec-kernel or load one in an action',
    'configure one with --kexec-kernel': 'part: advice',
    'the initrd …': 'part: what could not be read',
    'the running kernel is locked down, as with Secure Boot: it loads only kernels that are signed with a key that it has':
      'part: kexec is not possible; the machine restarts through the firmware',
    'load the kernel': 'part: what could not be done',
  },
  'power/power.ts': {
    '… succeeded, but the machine is still up after … s':
      'the reboot command has no effect, as in a container > run the agent where it may restart the machine, or set --sysrq',
    'kexec failed, rebooting instead: …': 'the kernel could not be loaded > correct the settings nibs_kexec_…',
    '…, and sysrq: …':
      'part: the kernel does not take that request either; restart the machine by its management controller',
    '…, and neither did sysrq': 'part: the kernel refuses too; restart the machine by its management controller',
  },
  'report/file-systems.ts': { '… (…): … of … KiB free ': 'normal: nibs-report --file-systems' },
  'report/on-failure.ts': {
    'a report of the machine was sent to ……': 'normal: nibs_report_url is set, and an action failed',
    'no report of the machine was sent: …': 'the web server did not take the report > let it accept PUT at that URL',
  },
  'report/program.ts': {
    'Usage: nibs-report [--output FILE] [--send [--url URL]]        nibs-report --file-systems  Reports the state of the machine as text: log since power-on, devices, network, container engine. Secrets are masked.    -o, --output FILE  write it to this file (default: standard output)       --send         store it by HTTP PUT at the URL of nibs_report_url       --url URL      with --send: at this URL       --file-systems report only the file systems and their free space   -h, --help         this help ':
      'internal: the help',
    '--url is only for --send: give --send too': 'wrong arguments of nibs-report > give --send too',
    'there is no URL': 'part: nibs-report --send',
    'set nibs_report_url, or give --url': 'part: advice',
    '… is not an HTTP URL': 'part: nibs-report --send',
  },
  'report/sections.ts': {
    'files of …': 'normal: a heading of nibs-report',
    'for device in /sys/bus/pci/devices/*; do echo "$(basename $device) $(cat $device/modalias) $(readlink $device/driver)"; done':
      'internal: a command of nibs-report',
  },
  'report/send.ts': {
    'the report to ……': 'part: what could not be sent',
    'the server answered … …': 'part: why the report was not sent',
    'the server must accept PUT at that URL': 'part: advice',
  },
  'run-template.ts': {
    'the workflow has ended: …': 'normal: a template from a file',
    'it runs a template from a file': 'part: why the machine is not restarted',
  },
  'runtime/container-runtime.ts': {
    'the container … is still there': 'part: why the container of a stopped action could not be removed',
    'could not be run': 'part: no container could be made of the action; the reason follows',
    'removing the container … (…), left over from an earlier agent': 'normal: the agent was killed before',
    'the … command could not be run: …': 'on-timeout or on-failure of the template failed > correct the command',
    'another program removed its container': 'part: something else uses the engine; the result of the action is lost',
  },
  'runtime/container.ts': {
    'the container has exited': 'part: why a request was refused',
    'cannot remove the container …: …; it is removed before the next action':
      'the engine is busy or broken > restart the engine if it happens again',
    'the limit is over': 'part: the action took longer than its timeout',
    'end of the container': 'part: what did not come in time',
    'cannot stop the container …: …':
      'the process in it does not end, as one that waits for a device > restart the machine',
  },
  'runtime/containerd/container-store.ts': {
    'the container …': 'part: what was asked for',
    'it does not exist': 'part: another program has removed it',
  },
  'runtime/containerd/create-container.ts': {
    'there is no image …': 'part: another program has removed it amid the action',
    'the container …': 'part: what could not be made',
  },
  'runtime/containerd/engine.ts': {
    'the container …': 'part: what was asked for',
    'read the output of': 'part: what could not be done',
    'it has exited already': 'part: why a request was refused',
    'the image …': 'part: what was asked for',
    'the images in …': 'part: what was asked for',
    'containerd has no request for it': 'part: --image-directory is for engines with the API of Docker',
    'import them with ctr --namespace NAME images import': 'part: advice',
  },
  'runtime/containerd/exit-recorder.ts': {
    'cannot record the exit of the container …: …':
      'an agent that is started after this one would not know the exit code > nothing, unless it happens again',
  },
  'runtime/containerd/image/content.ts': {
    'containerd ended a write before it was complete': 'part: the disk of containerd is full, or it was stopped',
  },
  '../registry/manifest.ts': {
    'the image has a manifest of schema 1, which is not supported any more: rebuild it with Docker 1.10 or newer':
      'the image is very old > rebuild it',
    'the registry has no image manifest under this name': 'it is another artefact > correct the image in the template',
    'no matching manifest for … in the manifest list entries (…)':
      'the image is for other architectures > build it for this one',
    'layer … (…) is not distributable: fetching it from its vendor is not supported':
      'an image for Windows > correct the image in the template',
    'layer … has the unsupported media type "…"': 'the image is no container image > correct it',
    'invalid image config: it does not have the format of the OCI specification': 'a broken image > build it again',
    'its configuration describes … layers and its manifest …': 'a broken image > build it again',
  },
  'runtime/containerd/image/pull.ts': {
    'its image index is nested too deep': 'a broken image > build it again',
  },
  'runtime/containerd/image/start-pull.ts': {
    'put the certificate of its authority at …/…/ca.crt, or name it in the hosts.toml there; is the clock right?':
      'part: advice',
    'set server = "http://…" in …/…/hosts.toml': 'part: advice',
  },
  'runtime/containerd/image/unpack.ts': {
    'layer … cannot be unpacked: …':
      'the disk of containerd is full, or the image is broken > free space, or build it again',
    'layer … unpacks to …, not to … as the image says': 'a broken image > build it again',
  },
  'runtime/containerd/network/cni.ts': {
    'is not the name of a plug-in': 'part: a file in /etc/cni/net.d',
    'is not a name': 'part: a file in /etc/cni/net.d',
    'the network configuration …': 'part: a file in /etc/cni/net.d',
    'the default network of actions reaches only this machine: no address translation (…)':
      'the kernel or iptables lacks NAT > set --network host, or load the modules',
    'container … to the network …': 'part: what could not be done',
    'container … from the network …': 'part: what could not be done',
    'it is not a valid container id': 'part: what a plug-in refuses',
    'plug-in … (…): …': 'part: a CNI plug-in has failed, with its own words',
    'plug-in … (…) printed … instead of a result': 'part: a broken CNI plug-in',
    'plug-in … not found in …': 'part: install the CNI plug-ins, or set --network host',
    'the network namespace …': 'part: what could not be made',
  },
  'runtime/containerd/network/container-networks.ts': {
    'with containerd it can be "host", "none" or "default"': 'part: what the network of an action can be',
    'the network …': 'part: what could not be used',
    'a network for the container': 'part: what could not be made',
    'there are no plug-ins for it (bridge, host-local and loopback in …)':
      'part: install the CNI plug-ins, or set --network host',
    'the network "host" needs none': 'part: advice',
  },
  'runtime/containerd/network/network-files.ts': { '::1tlocalhost ip6-localhost ip6-loopback': 'internal: /etc/hosts' },
  'runtime/containerd/output-pipes.ts': {
    'exec 8<>… 9<>…': 'internal: a shell script',
    '/bin/cat <&3 >&8 5>&- &': 'internal: a shell script',
    '/bin/cat <&4 >&9 5>&- &': 'internal: a shell script',
    'exec 3<&- 4<&- 5>&-': 'internal: a shell script',
    'make the pipe': 'part: what could not be done',
  },
  'runtime/containerd/record.ts': {
    'its process is gone and its exit status is unknown': 'part: containerd was down when the action ended',
  },
  '../registry/authorization.ts': {
    'the registry names no valid token service: …': 'the registry is misconfigured > correct its token service',
    'the token service … answered without a token': 'the registry is misconfigured > see the log of its token service',
    'refusing to send credentials without TLS to the token service …':
      'the registry has TLS and its token service has not > give that TLS too',
    'unauthorized: authentication required: ': 'part: the registry wants a login, or another one',
    'denied: requested access to the resource is denied: ': 'part: the login may not pull this image',
    'too many requests: ': 'part: a limit of the registry; use a mirror or a login',
    '…… answered ……': 'part: what the registry said',
  },
  '../registry/connection.ts': {
    'the connection to … broke: …': 'part: the network or the registry; the agent tries again',
    'cannot … …: …': 'part: the form of many errors',
    '… timed out after … s without data': 'part: the network or the registry; the agent tries again',
    'server gave HTTP response to HTTPS client':
      'part: the registry has no TLS; list it as insecure or give it a certificate',
  },
  '../registry/hosts.ts': {
    'must be a file with certificate and key, or a list of [certificate, key]': 'part: what is wrong in a hosts.toml',
    '…, line …': 'part: where something is wrong',
    '… is not a URL': 'part: what is wrong in a hosts.toml',
    'it must be in PEM format: …': 'part: what is wrong with a certificate',
  },
  '../registry/digest.ts': {
    'unsupported digest: …': 'part: the image is named by a digest of an unknown algorithm',
  },
  '../registry/endpoint.ts': {
    '… sent another part than that from byte …': 'part: the server does not resume as it says; use another one',
    '… is too long for a manifest': 'part: the server is no registry, or hostile',
    'blob not found: ': 'part: the registry has lost a layer; push the image again',
    '… is larger than … bytes': 'part: the registry sends something else than it announced',
    '… has … of … bytes': 'part: the registry sends something else than it announced',
    '… has the wrong content: its digest is …, not …': 'part: damaged in the registry or on the way; push it again',
  },
  '../registry/repository.ts': {
    '…; resuming after … bytes': 'normal: a download broke off',
    'the content is wrong: its digest is …, not …': 'part: damaged in the registry or on the way; push it again',
    'no host of the registry configuration may be asked': 'a hosts.toml allows neither pull nor resolve > correct it',
    '… is larger than … bytes': 'part: the registry sends something else than it announced',
    '… has … of … bytes': 'part: the registry sends something else than it announced',
  },
  'runtime/containerd/spec/container-user.ts': {
    'the image has no user … in /etc/passwd': 'part: correct USER in the image',
    'the image has no group … in /etc/group': 'part: correct USER in the image',
    '… in the image': 'part: a file of the image',
    'too many links': 'part: a file of the image that links lead to in a circle',
  },
  'runtime/containerd/spec/oci-spec.ts': {
    'the image has neither ENTRYPOINT nor CMD, and the action has no command': 'part: give the action a command',
    'the environment variable …': 'part: what cannot be used',
    'it has no name': 'part: a variable such as "=value"',
    'with containerd there is only "host"': 'part: the pid of the action',
    'the PID mode …': 'part: what cannot be used',
    '… is bound already': 'part: two volumes have the same target',
    'it is not of the form source:target[:options]': 'part: a volume of the action',
    '… is neither an absolute path nor the name of a volume': 'part: a volume of the action',
    'its target must be an absolute path, and not /': 'part: a volume of the action',
    'unknown option …': 'part: a volume of the action',
    'options … and … exclude each other': 'part: a volume of the action',
    '… at …': 'part: a volume of the action',
    'there is no …': 'part: the source of a volume is missing on this machine',
  },
  'runtime/credentials.ts': {
    'it is not the JSON that "docker login" writes': 'part: correct config.json of --docker-config',
    'read registry credentials from': 'part: what could not be done',
  },
  'runtime/docker/client.ts': {
    'docker-modem has no buildRequest() any more: see whether it still describes each request':
      'internal: for developers',
  },
  'runtime/docker/create-options.ts': {
    'b *:* rwm': 'internal: a rule for devices',
    'c *:* rwm': 'internal: a rule for devices',
  },
  'runtime/docker/engine.ts': {
    'the container …': 'part: what was asked for',
    'read the output of': 'part: what could not be done',
    'read the log of': 'part: what could not be done',
    'read the events of': 'part: what could not be done',
    'the image …': 'part: what was asked for',
    'no such image': 'part: what the engine says',
    'unexpected response of the engine: …: …': 'part: the engine is no Docker, or a much newer one',
  },
  'runtime/docker/frames.ts': {
    'a frame of the output has the unknown type …': 'part: the engine is no Docker, or a much newer one',
  },
  'runtime/docker/load-images.ts': { 'the images in …': 'part: what could not be loaded' },
  'runtime/docker/pull.ts': {
    'put the certificate of its authority at /etc/docker/certs.d/…/ca.crt; is the clock right?': 'part: advice',
    'add … to the engine\'s "insecure-registries"': 'part: advice',
    'Podman takes no IPv6 address in the name of an image': 'part: why the image cannot be pulled',
    'name the registry by a host name, or take a boot image with Docker (make initramfs ENGINE=docker)': 'part: advice',
    'the engine ended the pull early: …': 'the engine was stopped, or its disk is full > see its log',
  },
  'runtime/docker/wait.ts': { 'no such container': 'part: what the engine says' },
  'runtime/engine-connection.ts': {
    'the container engine at … answers again': 'normal: it was away',
    'cannot reach the container engine at …: …; trying again':
      'the engine is not running, or elsewhere > start it, or set --docker-host or --containerd-socket',
  },
  'runtime/image-archives.ts': {
    'cannot load the images in …: …':
      'an archive of --image-directory is no archive of images > write it with docker save',
  },
  'runtime/images.ts': {
    '…; using the local copy':
      'an image could not be pulled, and the engine has one of that name > see the reason if it must be new',
    '… is not put in front of images that a current server sends: name them in full, or set --registry-prefix':
      'the template was made for a server up to v0.12 > name images in full, or set nibs_registry_prefix=always',
    'no success within … s…': 'part: the time for a pull is over; raise --pull-timeout',
    '; the last attempt: …': 'part: why the last attempt failed',
    '…; asking the next registry': 'a mirror failed > see the reason',
    '… cannot be reached': 'part: a registry',
    '…; trying again': 'a pull failed for a reason that may pass > see the reason if it goes on',
    'no progress for … s': 'part: the pull hangs; it is started again',
  },
  'runtime/outcome.ts': {
    'containerd 1.7 and newer do not keep the exit code of a container that ends while containerd is down':
      'part: why the exit code is not known',
    ' | before that: …': 'part: the lines before the last one',
    'timed out after … s':
      'the action took longer than its timeout > raise timeout in the template, or see why it hangs',
    'exit code …, or lost (…)': 'the engine was restarted when the action ended > see the log of the action',
    'out of memory (exit code …)': 'the kernel ended the action > give the machine more memory',
    'exit code …': 'the program of the action failed > its last lines of output follow',
    'ended by … (exit code …)': 'a signal ended the action > see what sent it: the engine, the kernel or a person',
    'engine error: …': 'the engine could not start the program > correct command, volumes or image',
    'the container engine was unavailable meanwhile': 'part: why the result is uncertain',
  },
  'runtime/output-copy.ts': {
    'the rest of the output of … is lost: …': 'the engine broke the connection > nothing; the action goes on',
    "earlier output of the container … cannot be read back: the engine's log driver sends it elsewhere":
      'the agent was restarted amid an action > look at the log server of the engine',
  },
  'runtime/pull-error.ts': {
    '… refuses the credentials': 'part: user name or password is wrong',
    'there are no credentials for …': 'part: set registry_username= and registry_password=, or nibs_registries=',
    '…: check user name and password of the registry': 'part: advice',
    'HTTPS failed before for a reason that the engine hides':
      'part: the registry is listed as insecure; remove it from that list to see the reason',
    'the registry has the image for other architectures only': 'part: build the image for this architecture',
    'push the image, or correct its name in the template': 'part: advice',
  },
  'settings/arguments.ts': {
    'Configuration file (YAML or JSON, TOML if its name ends in .toml; keys are the long flags). Default: the first of tink-worker.yaml, .yml, .json and .toml in /etc/tinkerbell that exists. Also NIBS_CONFIG, nibs_config=.':
      'internal: the help',
    'File to read instead of /proc/cmdline. Only as a flag or NIBS_KERNEL_COMMAND_LINE.': 'internal: the help',
    'Print the values in force and their sources, then exit.': 'internal: the help',
    'Print the completions of a shell, then exit.': 'internal: the help',
    'With doctor and explain: print JSON.': 'internal: the help',
    'With doctor: an image that the engine pulls as for an action.': 'internal: the help',
    'Print the version, then exit.': 'internal: the help',
    'Print this help, then exit.': 'internal: the help',
    '--json is for the commands doctor and explain': 'wrong flags > leave it out',
    '--image is for the command doctor': 'wrong flags > leave it out',
    "option '--completion' does not know '…': give one of …": 'wrong flags > name one of these shells',
    '| flags | environment | kernel command line | default | meaning | |---|---|---|---|---| …': 'internal: a page',
    '[flags]        … doctor [--json] [--image NAME] [flags]        … explain [SETTING...] [--json] [flags]':
      'internal: the help',
    'Executes workflows: gets actions from a tink server and runs each as a container.': 'internal: the help',
    'doctor checks settings, disks, engine, registries, server, TLS and clock, and says what to do; exit code 1 if it found an error. explain prints each setting with its value, source and meaning. Neither changes anything.':
      'internal: the help',
    'Sources of settings, a later one overrides an earlier one: defaults, the configuration file, the kernel command line, the environment, flags. Each setting has three names of the same form: --log-level, NIBS_LOG_LEVEL in the environment, nibs_log_level= on the kernel command line. After "Also" are further names, from other programs.':
      'internal: the help',
  },
  'settings/config.ts': {
    'nothing that would go through it is connected to': 'part: a proxy that cannot be used; correct it',
    'the variable in it was not replaced by its value':
      'part: a boot script has left a variable in the value; correct the script',
    '… (…): …; it is …': 'a value cannot be used > correct it where the parentheses say',
    'used instead: … (…)': 'part: the value in force',
    'no template: --transport file needs --template': 'wrong flags > give --template FILE',
    'no server: give its host:port as grpc_authority= on the kernel command line, as environment variable TINKERBELL_GRPC_AUTHORITY or as flag --grpc-authority':
      'no work is possible > set grpc_authority=',
    'no server: --transport nats needs --nats-server': 'no work is possible > set nibs_nats_server=',
    'no worker ID: give worker_id= (or the MAC address of the boot interface as hw_addr=, packet_bootdev_mac= or BOOTIF=) on the kernel command line, environment variable WORKER_ID or flag --worker-id':
      'no work is possible > set worker_id=',
    '# warning: …': 'part: --print-config and explain',
    'there is no setting …: see --help': 'explain was given another word > name a setting by its long flag',
  },
  'settings/names.ts': {
    'Without a server': 'internal: the help',
    'Registry and engine': 'internal: the help',
    'Files and log': 'internal: the help',
    'the setting … has no names': 'internal: for developers',
  },
  'settings/sources.ts': {
    '…; it is ignored': 'part: something that the agent goes on without',
    'cannot read the kernel command line from …: …': 'the file of --kernel-command-line > correct its name',
    'must be a mapping of settings': 'part: a configuration file',
    'cannot read the configuration file …: …': 'it is missing or no YAML, JSON or TOML > correct it',
    'configuration file …: there is no setting … (see --help); it is ignored':
      'a misspelt or foreign setting > correct or remove it',
    '… in the file …': 'part: where a value came from',
    'kernel command line, …': 'part: where a value came from',
    'environment variable …': 'part: where a value came from',
  },
  'settings/tls-files.ts': {
    'tls-cert is …, but there is no tls-key: a certificate is of no use without its key':
      'settings > set --tls-key too',
    'tls-key is …, but there is no tls-cert: a key is of no use without its certificate':
      'settings > set --tls-cert too',
    '…: cannot use … (it must be in PEM format): …':
      'a file of --tls-ca, --tls-cert or --tls-key is missing or something else > correct it; the agent does not go on without',
  },
  'settings/values.ts': {
    'must be text': 'part: what a value must be',
    'must not be empty': 'part: what a value must be',
    'must be a path from the root, for example /boot/vmlinuz': 'part: what a value must be',
    'must be host:port, for example …': 'part: what a value must be',
    '192.168.1.1:… or [fd00::1]:…': 'part: an example',
    '192.168.1.1:514, or only 192.168.1.1': 'part: an example',
    'must be a port': 'part: what a value must be',
    'must be a URL, for example http://192.168.1.1:42114/cert': 'part: what a value must be',
    'must be true or false': 'part: what a value must be',
    'must be a duration, for example 5s, 1m30s or a number of seconds': 'part: what a value must be',
    'must be more than 0': 'part: what a value must be',
    'must be at most a year': 'part: what a value must be',
    'must be ……': 'part: what a value must be',
    'must be a MAC address, for example 08:00:27:00:00:01': 'part: what a value must be',
    'it is no address of a NATS server': 'part: what is wrong with a value',
    'must be host:port, or nats://user:password@host:port with special characters as in URLs, tls:// for TLS; other protocols are not supported':
      'part: what a value must be',
    'must be REGISTRY=MIRROR, for example docker.io=192.168.1.1:5000/hub': 'part: what a value must be',
    'must be host or host:port': 'part: what a value must be',
    'must be a mapping with username and password': 'part: what a value must be',
    'must be HOST=USERNAME:PASSWORD': 'part: what a value must be',
    'must be NAME=VALUE, the name of letters, digits and underscores': 'part: what a value must be',
    'must be unix:///path, tcp://host:port, or the path of a socket': 'part: what a value must be',
  },
  'status/console-view.ts': {
    'cannot show the status on …: …':
      'the console cannot be written to > set nibs_console_view= to another device, or off',
    'nibs … on … (…)': 'normal: the view on a console',
    '; last: …': 'part: the view on a console',
    'nibs …: ……': 'normal: the view on a console',
    '…: … since … UTC': 'normal: the view on a console',
    'waiting for the server': 'the server has not answered yet > see the lines below, or run tink-agent doctor',
    ', … % of … MB': 'part: the view on a console',
    '…: … after … s': 'normal: the view on a console',
  },
  'status/server.ts': {
    'Use the address of this machine, or its host name. ':
      'the status page was asked under another name (421) > use the address',
    'Only GET is answered here. ': 'the status page (405) > use GET',
    'There are /healthz, /metrics and /status. ': 'the status page (404) > use one of these',
  },
  'status/used-memory.ts': { '^…: *(\\d+) kB$': 'internal: a pattern' },
  'storage.ts': {
    'the image … cannot fit: it has at least …, and … had … free (give the machine more memory or the engine a disk)':
      'the pull will fail > give the machine more memory, or use a smaller image',
  },
  'syslog/connection.ts': { 'it closed the connection': 'part: the syslog server' },
  'syslog/message.ts': { '… [meta sequenceId="…"]… ': 'internal: the format of a message' },
  'syslog/syslog.ts': {
    'the agent stops': 'part: why no more is sent',
    'the syslog server …:… (…)': 'part: where the log is sent',
    'cannot reach …: …; messages are spooled and sent later':
      'the syslog server is away > start it, or correct syslog_host=',
    '… is reachable again': 'normal: the syslog server',
    '… earlier messages were lost: the syslog server was unreachable and the spool was full':
      'the log has a gap > see the consoles or /var/log of the machine',
  },
  'telemetry.ts': {
    '… log lines dropped: the reader was too slow': 'standard output is read too slowly > nothing; actions do not wait',
    'the server speaks the dialect …': 'normal: the protocol version was detected',
    'the server answers': 'normal: the first answer',
    '/healthz, /metrics and /status are served on port … of …': 'normal: the status pages',
    'cannot serve /status at …: … (choose another address with --status-address)':
      'another program has the port > set --status-address',
  },
  'template/document.ts': {
    'it is nested too deep': 'a list of actions that no program writes > correct it',
  },
  'template/render.ts': {
    'cannot use the hardware file …: …': 'the file of --hardware is no Hardware > correct it',
    'the template cannot be filled in: …': 'it needs too much memory > see for loops in it',
    '…: … (give it with --set …=…)': 'a variable has no value > give it with --set',
    ' (give it with --hardware)': 'part: advice',
  },
  'template/template.ts': {
    'the template is empty': 'part: what is wrong with a template, at its line and column',
    'the template must have at least one task': 'part: what is wrong with a template, at its line and column',
    'the task must name its worker': 'part: what is wrong with a template, at its line and column',
    'the task "…" has no actions': 'part: what is wrong with a template, at its line and column',
    '… must have a name': 'part: what is wrong with a template, at its line and column',
    'the name must have less than … bytes, not …': 'part: what is wrong with a template, at its line and column',
    'the action must name an image': 'part: what is wrong with a template, at its line and column',
    '… has no "…": current servers take that for a limit that is over at once':
      'a template without a timeout > give it one',
    'the variable …': 'part: what is wrong with a template, at its line and column',
    'there is a second … of the name "…"': 'part: what is wrong with a template, at its line and column',
  },
  'template/wasi.ts': {
    'exit code …: …': 'internal: the template engine',
    'the memory is not set': 'internal: the template engine',
  },
  'template/yaml.ts': {
    '… must be a mapping (key: value), not …': 'part: what is wrong with a template, at its line and column',
    '… knows no "…"; ignored': 'a misspelt key in a template > correct or remove it',
    '… must be a list, not …': 'part: what is wrong with a template, at its line and column',
    'an item of … is nothing; ignored': 'an empty item in a template > remove it',
    '… must be text, not …': 'part: what is wrong with a template, at its line and column',
    'item … of …': 'part: where something is wrong',
    '… must be a whole number without quotes': 'part: what is wrong with a template, at its line and column',
    'a key of … must be text': 'part: what is wrong with a template, at its line and column',
    '… has the key "…" twice': 'part: what is wrong with a template, at its line and column',
    '… has the key "<<" twice': 'part: what is wrong with a template, at its line and column',
    '"<<" merges a mapping, or a list of mappings, into …':
      'part: what is wrong with a template, at its line and column',
    'with its aliases the document has more than … characters': 'part: a hostile or broken document',
    'with its aliases the document has more than … values': 'part: a hostile or broken document',
    'a single value': 'part: what was found instead',
  },
  'transport/accept-action.ts': {
    'a variable of its environment has … bytes; a program can get …': 'part: write the value to a file in the action',
    'the name of its … has … characters, more than …': 'part: an action of the server',
    'the action of the server': 'part: what was refused',
  },
  'transport/file/file.ts': {
    'the hardware file': 'part: what could not be read',
    'cannot read … …: …': 'a file of the command line is missing > correct its name',
    'this is worker …': 'part: why tasks are left out',
    'global_timeout, … s, is over': 'part: raise it in the template',
    'the workflow has ended': 'part: of the last event',
    'all actions have succeeded': 'normal: the last event',
    'the agent was stopped': 'part: of the last event',
    'the template has no actions to run': 'nothing is run > see --id',
    'no task of the template is for worker …, only for … (correct --id, or the value that names the worker)':
      'nothing is run > correct --id, or the value that names the worker',
  },
  'transport/grpc/certificate.ts': {
    "fetch the server's certificate from": 'part: the certificate URL',
    'HTTP status … … (check the certificate URL)': 'part: correct grpc_cert_url=',
    'it is …, so it is not a certificate': 'part: correct grpc_cert_url=',
    'no response in time': 'part: the web server of the certificate is slow or down',
    '… (check the certificate URL)': 'part: correct grpc_cert_url=',
  },
  'transport/grpc/channel.ts': {
    'change the proxy, or name the server in NO_PROXY':
      'a server behind a proxy that cannot be used > change the proxy, or name the server in NO_PROXY',
    '… at …': 'part: what was called, and where',
    'the stream has more than … messages': 'part: a hostile or broken server',
  },
  'transport/grpc/current.ts': {
    'the server says: …': 'normal: why there is no work, in words of the server',
    '… of workflow …: the server says: …': 'part: why a report was refused',
    'the action … of the server': 'part: what was refused',
    'it lacks an image, a name or an id': 'part: correct the template',
  },
  'transport/grpc/dialect.ts': { 'there is no dialect …': 'internal: for developers' },
  'transport/grpc/failure.ts': {
    'the server speaks TLS: set tinkerbell_tls=true': 'plaintext is set > set tinkerbell_tls=true',
    'the server does not speak TLS: set tinkerbell_tls=false':
      'TLS is the default > set tinkerbell_tls=false if the network is trusted',
    'the clock is wrong': 'part: the certificate is not valid yet; see the whole message',
    "the server's certificate is not trusted: check the certificate URL, the server's name and the machine's clock":
      'another authority, another name or a wrong clock > set grpc_cert_url= or --tls-ca, or the name that the certificate has',
    'is the server running, and reachable from this machine?':
      'nothing listens there, or no route > start it, correct grpc_authority=, or the firewall',
    'the server or the network is too slow or down': 'no answer in time > see the server and the network',
  },
  'transport/grpc/known-certificate.ts': {
    "trust the server's certificate from": 'part: the certificate URL',
    'it has changed: its SHA-256 fingerprint was … and is now …':
      'the server has another certificate than at the first time, or another machine pretends to be it > see the hint',
    'if the change is legitimate, set nibs_certificate_change=accept for one start…': 'part: advice',
    ', or remove …': 'part: advice',
  },
  'transport/grpc/legacy-client.ts': { 'Marshal called with nil': 'internal: words of old servers' },
  'transport/grpc/legacy.ts': {
    'workflow … waits for worker … to run …': 'normal: another machine of the workflow has its turn',
    'workflow … has no action to run': 'normal: why there is no work',
    'the server has no workflow for worker …':
      'the worker ID is unknown, or no workflow was created > create one, compare worker_id=',
    '… of workflow …: …': 'part: which action',
    'send with start': 'internal: words of gRPC',
  },
  'transport/grpc/server-certificate.ts': { 'the connection was closed': 'internal: doctor' },
  'transport/grpc/server.ts': {
    'get work from': 'part: what could not be done',
    'it speaks no protocol version of tink v0.1 to v0.12 and not that of later Tinkerbell servers':
      'part: the address is that of something else',
    'is it another service?': 'part: correct grpc_authority=',
  },
  'transport/grpc/standing.ts': {
    'workflow … is in an unknown state': 'normal: why there is no work',
    'workflow … ended: action … is …': 'normal: why there is no work: an action failed; create a new workflow',
    'workflow … succeeded': 'normal: why there is no work',
    'send with start': 'internal: words of gRPC',
    'the server has recorded its success': 'part: why a report is obsolete',
    'the server has recorded its failure': 'part: why a report is obsolete',
    'the server has recorded that it timed out': 'part: why a report is obsolete',
    'the server is at a later action of the workflow': 'part: why a report is obsolete',
    'the server is at an earlier action of the workflow': 'part: why a report is obsolete',
    'the workflow has ended': 'part: why a report is obsolete',
    'the workflow does not exist any more': 'part: why a report is obsolete',
    'the workflow has no such action any more': 'part: why a report is obsolete',
    'the workflow has ended, or is no longer for this worker': 'part: why a report is obsolete',
  },
  'transport/grpc/workflow-data.ts': {
    'the data of workflow … to …': 'part: what could not be written',
    'the server does not take the data of workflow …: …':
      'the file /workflow/data is too large or no JSON > correct the action',
    'the data of workflow … is not sent to the server: … …':
      'the file /workflow/data cannot be used > correct the action',
    'is not a JSON object': 'part: what is wrong with /workflow/data',
    'cannot be read: …': 'part: what is wrong with /workflow/data',
  },
  'transport/nats/action-list.ts': {
    'the list of actions': 'part: what was refused',
    'the list has no actions': 'part: what is wrong with a list',
    'the list has … actions, more than …': 'part: what is wrong with a list',
    'an earlier action has the same id': 'part: what is wrong with a list',
    '…: … more of these': 'part: what is wrong with a list',
    'the id must not end like that of a further attempt (.attempt-2)': 'part: what is wrong with a list',
    'the action must name an image': 'part: what is wrong with a list',
    'a variable must have a "key", its name, without "="': 'part: what is wrong with a list',
    '"…" must not be negative': 'part: what is wrong with a list',
  },
  'transport/nats/bounded-transport.ts': {
    'the server has sent more than its INFO before TLS': 'part: an attacker in the network, or no NATS server',
    'the connection is no longer wanted': 'internal: the agent stops',
    'the server does not read: … bytes wait to be sent': 'part: the NATS server hangs; the agent connects again',
    'the connection was closed while TLS was started': 'part: see the log of the NATS server',
    'the peer is not a NATS server: its INFO has no end': 'part: correct nibs_nats_server=',
    'the connection was closed without an answer': 'part: see the log of the NATS server',
    'the server has sent what is not of the protocol of NATS': 'part: correct nibs_nats_server=',
    'the server sends a message of … bytes, more than …': 'part: a hostile or broken server',
    'the server sends a line of more than … bytes': 'part: a hostile or broken server',
  },
  'transport/nats/bus.ts': {
    'the NATS server must be given as host:port or as nats://[user:password@]host:port':
      'settings > correct --nats-server',
    'the NATS server must be given as nats:// or tls://, not as …//': 'settings > correct --nats-server',
    'a % must be written as %25': 'part: advice',
    'user and password in the address of the NATS server must be URL-encoded: …':
      'settings > write special characters as in URLs',
    'the NATS server …': 'part: where something failed',
    'the connection is lost; reconnecting': 'part: the agent goes on by itself',
    '… at …': 'part: where something failed',
    'the connection is closed': 'internal: the agent stops',
    'the server does not support TLS, which is required': 'part: give the server TLS, or use nats://',
    '… reports: …': 'the NATS server refuses something > see its permissions for this user',
    'the peer is not a NATS server: its INFO has no end': 'part: correct nibs_nats_server=',
    'the peer is not a NATS server': 'part: correct nibs_nats_server=',
    'the connection was closed without an answer': 'part: see the log of the NATS server',
  },
  'transport/nats/nats.ts': {
    'no list of actions waits; they come on …': 'normal: why there is no work, and the subject to publish a list on',
    'the transport is closed': 'internal: the agent stops',
    '… is given up; it must be sent again': 'the agent was stopped amid a list > send the list again',
    'the list cannot be used: …': 'part: correct the sender',
    'it has … bytes, more than …': 'part: what is wrong with a list',
    'too many others are still to be read': 'part: why a list was refused; send it later',
    'list on …': 'part: which list',
    '… is dropped: … others wait already': 'too many lists wait > send it again later',
    '… more lists cannot be used: too many come at once': 'a sender floods > stop it',
    'what follows … is not run: … of …': 'an action of the list failed > send the rest again after the cause is mended',
    'the list of … actions (workflow …)': 'part: which list',
    'attempt … failed, another follows: …': 'the list allows several attempts > nothing',
    '"…" is not a NATS subject: stream, worker and name must not be empty or contain spaces, * or >':
      'settings > correct --nats-stream, --nats-actions, --nats-events or the worker ID',
  },
  'transport/nats/read-list-thread.ts': { 'this module runs in a worker thread only': 'internal: for developers' },
  'transport/nats/read-list.ts': {
    'its thread ended without an answer': 'part: a list needs too much memory',
    '…: it takes more than … MiB to read': 'part: a list needs too much memory',
  },
  'watch.ts': {
    'the action is stopped: …': 'the server has ended or deleted the workflow > create a new one if that was not meant',
  },
};
