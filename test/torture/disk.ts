/**
 * A disk for the journal. Reproduced of a file system: what a process has written survives the
 * process, and not the machine; after a loss of power a file has what was synced of it and any part
 * of what was appended since, and the directory is that of its last sync or a later one. Not
 * reproduced: blocks that change by themselves.
 */
import type { JournalFile, JournalStorage } from '../../agent/journal-storage.ts';
import type { Chance } from './chance.ts';
import type { Life } from './life.ts';

/** A sync that the journal leaves out, for a test of the simulation. */
export const MISSING_SYNCS = ['record', 'rewrite', 'directory'] as const;
export type MissingSync = (typeof MISSING_SYNCS)[number];

interface Inode {
  text: string;
  /** So many characters of it are on the disk. */
  synced: number;
  isPlaced: boolean;
}

export interface DiskOptions {
  readonly chance: Chance;
  /** Multiplies the odds of what goes wrong. */
  readonly severity: number;
  readonly missingSync?: MissingSync | undefined;
  readonly tell: (text: string) => void;
  /** Takes all that is written. */
  readonly onWrite: (text: string) => void;
  /** Kills the agent, or cuts the power. */
  readonly kill: (how: 'agent' | 'power', why: string) => void;
}

export class Disk {
  readonly #options: DiskOptions;
  #files = new Map<string, Inode>();
  #syncedDirectory = new Map<string, Inode>();

  constructor(options: DiskOptions) {
    this.#options = options;
  }

  /** @param size from 0 to 1: how much of what was not synced survives */
  losePower(size: number): void {
    // Half of the losses take all that was not synced.
    const kept = Math.max(0, size * 2 - 1);
    const directory = kept > 0.5 ? this.#files : this.#syncedDirectory;
    for (const inode of new Set([...this.#files.values(), ...this.#syncedDirectory.values()])) {
      inode.text = inode.text.slice(0, inode.synced + Math.floor((inode.text.length - inode.synced) * kept));
      inode.synced = inode.text.length;
    }
    this.#files = new Map(directory);
    this.#syncedDirectory = new Map(directory);
  }

  /** As at an orderly shutdown. */
  syncAll(): void {
    for (const inode of this.#files.values()) inode.synced = inode.text.length;
    this.#syncedDirectory = new Map(this.#files);
  }

  /** What a process sees of the disk. */
  storageFor(life: Life): JournalStorage {
    const step = (name: string, work: () => void) => life.guard(this.#step(life, name, work));
    return {
      makeDirectory: () => step('mkdir', () => {}),
      read: (path) => life.guard(Promise.resolve(this.#files.get(path)?.text ?? '')),
      create: async (path) => {
        const inode: Inode = { text: '', synced: 0, isPlaced: false };
        await step('create', () => this.#files.set(path, inode));
        return this.#open(inode, life, step);
      },
      copy: (from, to) =>
        step('copy', () => {
          this.#files.set(to, { text: this.#files.get(from)?.text ?? '', synced: 0, isPlaced: true });
        }),
      rename: (from, to) =>
        step('rename', () => {
          const inode = this.#files.get(from);
          if (inode === undefined) throw new Error('ENOENT: no such file or directory');
          this.#files.delete(from);
          this.#files.set(to, inode);
          inode.isPlaced = true;
        }),
      syncDirectory: () =>
        step('directory sync', () => {
          if (this.#options.missingSync !== 'directory') this.#syncedDirectory = new Map(this.#files);
        }),
    };
  }

  #open(inode: Inode, life: Life, step: (name: string, work: () => void) => Promise<void>): JournalFile {
    const { chance, severity, missingSync, onWrite, kill, tell } = this.#options;
    return {
      append: (text) =>
        step('append', () => {
          onWrite(text);
          const deviation = chance.at('journal part', [
            ['full', 0.002 * severity],
            ['killed', 0.002 * severity],
          ]);
          if (deviation === undefined || text === '') {
            inode.text += text;
            return;
          }
          inode.text += text.slice(0, Math.floor(text.length * deviation.size));
          if (deviation.what === 'killed') return kill('agent', 'in the middle of a write of the journal');
          tell('the disk is full in the middle of a record of the journal');
          throw new Error('ENOSPC: no space left on device');
        }),
      sync: () =>
        step('sync', () => {
          if (missingSync !== (inode.isPlaced ? 'record' : 'rewrite')) inode.synced = inode.text.length;
        }),
      close: () => life.guard(Promise.resolve()),
    };
  }

  async #step(life: Life, name: string, work: () => void): Promise<void> {
    if (!life.isAlive) return;
    const { chance, severity, kill, tell } = this.#options;
    const deviation = chance.at(`journal ${name}`, [
      ['killed before', 0.003 * severity],
      ['killed after', 0.003 * severity],
      ['power lost before', 0.003 * severity],
      ['power lost after', 0.003 * severity],
      ['failed', 0.003 * severity],
    ]);
    const fault = deviation?.what.startsWith('power') ? 'power' : 'agent';
    if (deviation?.what.endsWith('before')) return kill(fault, `before ${name} of the journal`);
    if (deviation?.what === 'failed') {
      tell(`${name} of the journal fails`);
      throw new Error('EIO: i/o error');
    }
    work();
    if (deviation?.what.endsWith('after')) kill(fault, `after ${name} of the journal`);
  }
}
