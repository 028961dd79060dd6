/**
 * Options of Node that the executable always has. What both programs allocate much of is
 * short-lived; V8 would let 16 MiB of it gather before it looks, several times over. With 1 MiB an
 * agent spends a tenth of the CPU of an action on looking. An agent that waits for work would spend
 * more on tidying up whenever little happens than on waiting; it says itself when to look
 * (agent/memory-care.ts). Options that change how V8 compiles, or its interface (`--expose-gc`),
 * must not be here: with them V8 refuses the compiled code of Node's own modules, and the start of
 * the agent takes a sixth longer.
 *
 * SIGUSR1 would open a debugger, to which any user of the machine can connect.
 */
export const nodeOptions = ['--max-semi-space-size=4', '--no-memory-reducer', '--disable-sigusr1'];
