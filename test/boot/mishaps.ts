import type { engines } from '../../initramfs/package-sets.ts';
import { engineOfImage } from './engine-of-image.ts';
import { embeddedImage, makeSecondInitramfs } from './second-initramfs.ts';
import { machineArguments, startSite } from './site.ts';
import { type Scene, startBootImage, whileItRuns } from './story.ts';

/** A service by the name of its program, and what the console shows when it has been killed. */
interface Service {
  readonly program: string;
  readonly message: RegExp;
}

const ended = (name: string) => new RegExp(`nibs: ${name} exited with status 137, restarting it`);

const services: readonly Service[] = [
  { program: 'systemd-networkd', message: ended('network manager') },
  { program: 'systemd-udevd', message: ended('device manager') },
  { program: 'tink-agent', message: ended('agent') },
  { program: 'provision', message: /nibs: agent starts/ },
];

const servicesOfEngine: Readonly<Record<(typeof engines)[number], readonly Service[]>> = {
  podman: [{ program: 'podman', message: ended('container engine') }],
  docker: [
    { program: 'dockerd', message: ended('container engine') },
    { program: 'containerd', message: ended('containerd') },
  ],
};

/** The action goes on, and is run once. The next one finds the engine. */
export async function killServices(scene: Scene): Promise<void> {
  const { directory } = scene;
  const second = await makeSecondInitramfs(directory);
  const action = { image: embeddedImage, volumes: ['/worker:/worker'] };
  const script = 'echo started >>/worker/starts; until [ -e /worker/go ]; do sleep 0.1; done';
  await using site = await startSite(directory, { http: {} }, [
    { ...action, command: ['sh', '-ec', script] },
    { ...action, command: ['sh', '-ec', 'test "$(cat /worker/starts)" = started'] },
  ]);
  await using machine = await startBootImage(scene, {
    kernelArguments: [machineArguments],
    secondInitramfs: second.path,
  });
  await whileItRuns(machine, scene, async (signal) => {
    const waitFor = (pattern: RegExp, after = machine.console.lines.at(-1)) =>
      machine.console.waitForLine(pattern, { signal, ...(after !== undefined && { after }) });
    // What is typed before the shell has started is lost.
    await machine.console.waitForLine(/action: container started/, { signal });
    machine.type('\nuntil grep -qs started /worker/starts; do sleep 0.1; done; echo the action "has started"\n');
    await waitFor(/the action has started$/);
    for (const { program, message } of [...servicesOfEngine[await engineOfImage()], ...services]) {
      const before = machine.console.lines.at(-1);
      machine.type(`kill -9 $(pidof ${program})\n`);
      await waitFor(message, before);
      machine.type(`until pidof ${program} >/dev/null; do sleep 0.1; done; echo ${program} is "back"\n`);
      await waitFor(new RegExp(`${program} is back$`), before);
    }
    // init starts it again, without a message.
    machine.type('old=$(pidof watchdog); kill -9 $old\n');
    machine.type('until new=$(pidof watchdog) && [ $new != $old ]; do sleep 0.1; done\n');
    machine.type('echo watchdog is "back"; touch /worker/go\n');
    await waitFor(/watchdog is back$/);
    await site.waitForSuccess(signal);
  });
}

/** What feeds the watchdog is stopped, as all programs of a machine that hangs are. */
export async function hang(scene: Scene): Promise<void> {
  await using site = await startSite(scene.directory, { http: {} });
  await using machine = await startBootImage(scene, { kernelArguments: [machineArguments] });
  await whileItRuns(machine, scene, async (signal) => {
    await site.waitForPoll(signal);
    machine.type('\nuntil ls -l /proc/$(pidof watchdog)/fd | grep /dev/watchdog; do sleep 0.1; done\n');
    machine.type('kill -STOP $(pidof watchdog)\n');
    await machine.monitor.waitForEvent('WATCHDOG', { signal });
  });
  const code = await machine.exited;
  if (code !== 0) throw new Error(`the machine ended with code ${code}`);
}
