/** tink-agent's word for a text that it looked for and did not find. */
export const unknown = 'unknown';
