import { copyFile, mkdir, open, rename, rm } from 'node:fs/promises';
import { PlacedFileError, readPlacedFile } from '../files/read-placed-file.ts';

/** A file of the journal that is open at its end. */
export interface JournalFile {
  append(text: string): Promise<void>;
  /** Returns when all that was appended is on the disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Where the journal is kept. What was not synced may be lost when the machine stops: of a file its
 * end, of a directory any change. All methods throw the error of the file system.
 */
export interface JournalStorage {
  /** Does nothing if it exists. */
  makeDirectory(path: string): Promise<void>;
  /** The whole text of a file; empty if there is none. */
  read(path: string): Promise<string>;
  /** Makes an empty file in place of any other of that name. */
  create(path: string): Promise<JournalFile>;
  copy(from: string, to: string): Promise<void>;
  /** Replaces what is at `to`. A change of the directory, not of the file. */
  rename(from: string, to: string): Promise<void>;
  syncDirectory(path: string): Promise<void>;
}

/** It is compacted when a workflow ends, and has some hundred bytes for each action. */
const maxJournalBytes = 256 * 1024 * 1024;

/** The file system of the machine. Only the owner can read what it makes. */
export const fileSystem: JournalStorage = {
  async makeDirectory(path) {
    await mkdir(path, { recursive: true, mode: 0o700 });
  },
  async read(path) {
    try {
      return (await readPlacedFile(path, maxJournalBytes)).toString('utf8');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
      if (error instanceof PlacedFileError) throw new Error(`it ${error.message}`, { cause: error });
      throw error;
    }
  },
  async create(path) {
    // Not through a link, should the directory be one that others can write to.
    await rm(path, { force: true });
    const file = await open(path, 'wx', 0o600);
    return {
      append: (text) => file.appendFile(text),
      sync: () => file.sync(),
      close: () => file.close(),
    };
  },
  copy: copyFile,
  rename,
  async syncDirectory(path) {
    await using directory = await open(path, 'r');
    await directory.sync();
  },
};
