/** A millisecond of work, or several where the tables do not fit into the processor's caches. */
const statesAtOnce = 4000;

/** The state before the first byte. */
export const startState = 0;

/**
 * Finds any number of secrets in one pass over the bytes of a text, however many they are: the
 * automaton of Aho and Corasick (Efficient String Matching, CACM 18.6, 1975). A server chooses how
 * many secrets an action has and what they look like; neither may hold the agent up.
 */
export class SecretAutomaton {
  /** State after a byte at the start. */
  readonly fromStart = new Int32Array(256);
  readonly #parent: Int32Array;
  readonly #byte: Uint8Array;
  /** How many bytes of a secret a state has seen. */
  readonly #depth: Int32Array;
  /** The state of the longest other beginning of a secret that a state ends with. */
  readonly #fallback: Int32Array;
  /** Length of the longest secret that a state ends with; 0: none. */
  readonly #matched: Int32Array;
  /** Hash table with linear probing: the states by parent and byte. 0: free. */
  readonly #table: Int32Array;
  #states = 1;
  #maxDepth = 0;

  private constructor(all: readonly Uint8Array[]) {
    const maxStates = all.reduce((sum, { length }) => sum + length, 1);
    this.#parent = new Int32Array(maxStates);
    this.#byte = new Uint8Array(maxStates);
    this.#depth = new Int32Array(maxStates);
    this.#fallback = new Int32Array(maxStates);
    this.#matched = new Int32Array(maxStates);
    this.#table = new Int32Array(2 ** Math.ceil(Math.log2(maxStates * 2 + 2)));
  }

  /**
   * Makes an automaton in small steps, between which other work can be done.
   * @param secrets none of them empty
   */
  static *make(secrets: readonly Uint8Array[]): Generator<void, SecretAutomaton> {
    const automaton = new SecretAutomaton(secrets);
    yield;
    yield* automaton.#insertAll(secrets);
    yield* automaton.#link();
    return automaton;
  }

  /** The state after one more byte. */
  next(state: number, byte: number): number {
    let from = state;
    while (from !== startState) {
      const to = this.#find(from, byte);
      if (to !== 0) return to;
      from = this.#fallback[from] ?? startState;
    }
    return this.fromStart[byte] ?? startState;
  }

  /** Length of the longest secret that ends here, in bytes; 0: none. */
  matchedBytes(state: number): number {
    return this.#matched[state] ?? 0;
  }

  /** Length of the longest beginning of a secret that ends here, in bytes. */
  pendingBytes(state: number): number {
    return this.#depth[state] ?? 0;
  }

  *#insertAll(secrets: readonly Uint8Array[]): Generator<void, void> {
    let done = 0;
    for (const secret of secrets) {
      let state = startState;
      for (const byte of secret) {
        const known = this.#find(state, byte);
        state = known === 0 ? this.#add(state, byte) : known;
        if (++done % statesAtOnce === 0) yield;
      }
      this.#matched[state] = secret.length;
    }
  }

  #add(parent: number, byte: number): number {
    const state = this.#states++;
    this.#parent[state] = parent;
    this.#byte[state] = byte;
    const depth = (this.#depth[parent] ?? 0) + 1;
    this.#depth[state] = depth;
    this.#maxDepth = Math.max(this.#maxDepth, depth);
    let slot = this.#slot(parent, byte);
    while (this.#table[slot] !== 0) slot = (slot + 1) & (this.#table.length - 1);
    this.#table[slot] = state;
    if (parent === startState) this.fromStart[byte] = state;
    return state;
  }

  #find(parent: number, byte: number): number {
    if (parent === startState) return this.fromStart[byte] ?? 0;
    for (let slot = this.#slot(parent, byte); ; slot = (slot + 1) & (this.#table.length - 1)) {
      const state = this.#table[slot] ?? 0;
      if (state === 0 || (this.#parent[state] === parent && this.#byte[state] === byte)) return state;
    }
  }

  #slot(parent: number, byte: number): number {
    const mixed = Math.imul(Math.imul(parent, 0x9e3779b1) ^ Math.imul(byte + 1, 0x85ebca6b), 0xc2b2ae35);
    return (mixed ^ (mixed >>> 15)) & (this.#table.length - 1);
  }

  /** A state falls back to a shallower one: the states are linked in the order of their depth. */
  *#link(): Generator<void, void> {
    const order = yield* this.#byDepth();
    for (const [index, state] of order.entries()) {
      if (index % statesAtOnce === statesAtOnce - 1) yield;
      const parent = this.#parent[state] ?? startState;
      if (parent !== startState)
        this.#fallback[state] = this.next(this.#fallback[parent] ?? startState, this.#byte[state] ?? 0);
      if (this.#matched[state] === 0) this.#matched[state] = this.#matched[this.#fallback[state] ?? 0] ?? 0;
    }
  }

  /** Counting sort; without the start. */
  *#byDepth(): Generator<void, Int32Array> {
    const begins = new Int32Array(this.#maxDepth + 2);
    for (let state = 1; state < this.#states; state++) {
      const depth = this.#depth[state] ?? 0;
      begins[depth + 1] = (begins[depth + 1] ?? 0) + 1;
      if (state % statesAtOnce === 0) yield;
    }
    for (let depth = 1; depth < begins.length; depth++) {
      begins[depth] = (begins[depth] ?? 0) + (begins[depth - 1] ?? 0);
      if (depth % statesAtOnce === 0) yield;
    }
    const order = new Int32Array(this.#states - 1);
    for (let state = 1; state < this.#states; state++) {
      const depth = this.#depth[state] ?? 0;
      const at = begins[depth] ?? 0;
      order[at] = state;
      begins[depth] = at + 1;
      if (state % statesAtOnce === 0) yield;
    }
    return order;
  }
}
