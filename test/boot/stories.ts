import { failAlone, installAlone } from './install-alone.ts';
import { installOverIpv6 } from './install-ipv6.ts';
import { hang, killServices } from './mishaps.ts';
import type { StoryName } from './rows.ts';
import { logInBySsh } from './ssh-login.ts';
import type { Story } from './story.ts';

export const stories: Readonly<Record<StoryName, Story>> = {
  'installed alone': installAlone,
  'failed alone': failAlone,
  'installed over IPv6': installOverIpv6,
  'ssh login': logInBySsh,
  'services killed': killServices,
  'reset by the watchdog': hang,
};
