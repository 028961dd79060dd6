/**
 * A file system whose files are the backing files of the disks under test: the kernel's own loop
 * driver makes block devices of them, and each write, zeroing and flush of such a device arrives
 * here as a request. It speaks the protocol of `/dev/fuse` (linux/fuse.h, version 7.31), as much of
 * it as loop devices and an installation to a file need; all integers are those of a little-endian
 * machine. There are no directories below the root, no times and no permissions.
 */
import { readSync, writeSync } from 'node:fs';

const opcodes = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  open: 14,
  read: 15,
  write: 16,
  statfs: 17,
  release: 18,
  fsync: 20,
  flush: 25,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  access: 34,
  interrupt: 36,
  destroy: 38,
  batchForget: 42,
  fallocate: 43,
} as const;

const errors = { EIO: 5, ENOENT: 2, ENOSYS: 38, ENOSPC: 28, ENODEV: 19 } as const;

export type ErrorName = keyof typeof errors;

/** A file, as a disk sees it. A method returns the name of the error that the request gets. */
export interface ServedFile {
  readonly name: string;
  readonly sizeBytes: number;
  read(offsetBytes: number, into: Uint8Array): ErrorName | undefined;
  write(bytes: Uint8Array, offsetBytes: number): ErrorName | undefined;
  /** The range reads as zeroes afterwards. */
  zero(offsetBytes: number, lengthBytes: number): ErrorName | undefined;
  flush(): ErrorName | undefined;
}

const headerBytes = 40;
const replyHeaderBytes = 16;
const attributeBytes = 88;
const maxWriteBytes = 1024 * 1024;
const rootNode = 1;
/** Node numbers of the files begin here, in the order of the files. */
const firstNode = 2;

const regularFile = 0o100600;
const directory = 0o040755;
/** FUSE_BIG_WRITES and FUSE_MAX_PAGES. */
const initFlags = (1 << 5) | (1 << 22);
/** FOPEN_DIRECT_IO: no request stays in the page cache of the file. */
const openDirect = 1;
const maxPages = maxWriteBytes / 4096;

/**
 * Answers requests one after another until the file system is unmounted. It blocks its thread.
 * @param device `/dev/fuse`, with which the file system was mounted
 * @param onRequest is called before each request is answered
 */
export function serve(device: number, files: readonly ServedFile[], onRequest: () => void): void {
  const request = Buffer.alloc(headerBytes + 4096 + maxWriteBytes);
  for (;;) {
    const length = readRequest(device, request);
    if (length === undefined) return;
    onRequest();
    const answer = answerTo(request.subarray(0, length), files);
    if (answer !== undefined) send(device, request.readBigUInt64LE(8), answer);
  }
}

/** @returns its length; `undefined` at the end of the file system */
function readRequest(device: number, into: Buffer): number | undefined {
  for (;;) {
    try {
      return readSync(device, into);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'ENODEV' || code === 'EBADF') return undefined;
      // The request was interrupted before it was read.
      if (code !== 'ENOENT' && code !== 'EINTR' && code !== 'EAGAIN') throw error;
    }
  }
}

function send(device: number, unique: bigint, answer: Buffer | ErrorName): void {
  const body = typeof answer === 'string' ? Buffer.alloc(0) : answer;
  const head = Buffer.alloc(replyHeaderBytes);
  head.writeUInt32LE(replyHeaderBytes + body.length, 0);
  head.writeInt32LE(typeof answer === 'string' ? -errors[answer] : 0, 4);
  head.writeBigUInt64LE(unique, 8);
  try {
    writeSync(device, Buffer.concat([head, body]));
  } catch (error) {
    // The process that asked was killed.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

function answerTo(request: Buffer, files: readonly ServedFile[]): Buffer | ErrorName | undefined {
  const opcode = request.readUInt32LE(4);
  const node = Number(request.readBigUInt64LE(16));
  const body = request.subarray(headerBytes);
  const file = files[node - firstNode];
  switch (opcode) {
    case opcodes.init:
      return initReply(body);
    case opcodes.lookup:
      return lookup(body, files);
    case opcodes.getattr:
    case opcodes.setattr:
      return attributesReply(node, files);
    case opcodes.open:
      return openReply(openDirect);
    case opcodes.opendir:
      return openReply(0);
    case opcodes.read:
      return file === undefined ? 'EIO' : read(body, file);
    case opcodes.write:
      return file === undefined ? 'EIO' : write(body, file);
    case opcodes.fallocate: {
      // Only ever to punch holes, or to zero a range.
      const error = file?.zero(Number(body.readBigUInt64LE(8)), Number(body.readBigUInt64LE(16)));
      return error ?? Buffer.alloc(0);
    }
    case opcodes.fsync:
      return file?.flush() ?? Buffer.alloc(0);
    case opcodes.statfs:
      return Buffer.alloc(80);
    case opcodes.readdir:
    case opcodes.release:
    case opcodes.releasedir:
    case opcodes.flush:
    case opcodes.access:
    case opcodes.destroy:
      return Buffer.alloc(0);
    case opcodes.forget:
    case opcodes.batchForget:
    case opcodes.interrupt:
      return undefined;
    default:
      return 'ENOSYS';
  }
}

function initReply(body: Buffer): Buffer {
  const reply = Buffer.alloc(64);
  reply.writeUInt32LE(7, 0);
  reply.writeUInt32LE(31, 4);
  reply.writeUInt32LE(body.readUInt32LE(8), 8);
  reply.writeUInt32LE(initFlags, 12);
  reply.writeUInt16LE(64, 16);
  reply.writeUInt16LE(48, 18);
  reply.writeUInt32LE(maxWriteBytes, 20);
  reply.writeUInt32LE(1, 24);
  reply.writeUInt16LE(maxPages, 28);
  return reply;
}

function lookup(body: Buffer, files: readonly ServedFile[]): Buffer | ErrorName {
  const name = body.subarray(0, body.indexOf(0)).toString();
  const index = files.findIndex((file) => file.name === name);
  if (index < 0) return 'ENOENT';
  const reply = Buffer.alloc(40 + attributeBytes);
  reply.writeBigUInt64LE(BigInt(index + firstNode), 0);
  writeAttributes(reply.subarray(40), index + firstNode, files);
  return reply;
}

function attributesReply(node: number, files: readonly ServedFile[]): Buffer {
  const reply = Buffer.alloc(16 + attributeBytes);
  writeAttributes(reply.subarray(16), node, files);
  return reply;
}

function writeAttributes(into: Buffer, node: number, files: readonly ServedFile[]): void {
  const sizeBytes = files[node - firstNode]?.sizeBytes ?? 0;
  into.writeBigUInt64LE(BigInt(node), 0);
  into.writeBigUInt64LE(BigInt(sizeBytes), 8);
  into.writeBigUInt64LE(BigInt(sizeBytes / 512), 16);
  into.writeUInt32LE(node === rootNode ? directory : regularFile, 60);
  into.writeUInt32LE(1, 64);
  into.writeUInt32LE(4096, 80);
}

function openReply(flags: number): Buffer {
  const reply = Buffer.alloc(16);
  reply.writeUInt32LE(flags, 8);
  return reply;
}

function read(body: Buffer, file: ServedFile): Buffer | ErrorName {
  const offset = Number(body.readBigUInt64LE(8));
  const bytes = Buffer.alloc(Math.max(0, Math.min(body.readUInt32LE(16), file.sizeBytes - offset)));
  return file.read(offset, bytes) ?? bytes;
}

function write(body: Buffer, file: ServedFile): Buffer | ErrorName {
  const length = body.readUInt32LE(16);
  const error = file.write(body.subarray(40, 40 + length), Number(body.readBigUInt64LE(8)));
  if (error !== undefined) return error;
  const reply = Buffer.alloc(8);
  reply.writeUInt32LE(length, 0);
  return reply;
}
