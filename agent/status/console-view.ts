import { constants } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import type { Clock, Timer } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';
import { reasonOf } from '../../errors/reason.ts';
import { printable } from '../../text/printable.ts';
import type { Status, StatusBoard } from './board.ts';

/** Size of the smallest text console. */
const columns = 80;
const rows = 24;

/** Minimum time between two updates. */
const minUpdateSeconds = 0.25;

const kernelConsoles = '/sys/class/tty/console/active';

export interface ConsoleViewOptions {
  /** `auto`: every console that the kernel writes to; else the path of one. */
  readonly console: string;
  readonly board: StatusBoard;
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /** Called once if a console cannot be opened. */
  onTrouble(message: string): void;
  /** Where the kernel lists its consoles; for tests. */
  readonly kernelConsoles?: string;
}

/**
 * Shows the status of the agent on consoles of the machine: a full-screen view on a screen
 * (`/dev/tty1`), a line for each step on any other console (serial lines). Never fails and never
 * waits for a console: a slow one misses updates.
 */
export async function openConsoleView(options: ConsoleViewOptions): Promise<AsyncDisposable> {
  const paths =
    options.console === 'auto' ? await findConsoles(options.kernelConsoles ?? kernelConsoles) : [options.console];
  const views = await Promise.all(paths.map((path) => openView(path, options)));
  return {
    async [Symbol.asyncDispose]() {
      for (const view of views) await view?.[Symbol.asyncDispose]();
    },
  };
}

async function findConsoles(file: string): Promise<string[]> {
  const names = (await readFile(file, 'utf8').catch(() => '')).split(/\s+/).filter((name) => name !== '');
  // tty0 is the screen in front; the view belongs to one screen.
  return names.map((name) => `/dev/${name === 'tty0' ? 'tty1' : name}`);
}

async function openView(
  path: string,
  { board, onTrouble, clock = systemClock }: ConsoleViewOptions,
): Promise<AsyncDisposable | undefined> {
  let handle: FileHandle;
  try {
    // Not as controlling terminal, and without waiting for one that is halted.
    handle = await open(path, constants.O_WRONLY | constants.O_NOCTTY | constants.O_NONBLOCK | constants.O_APPEND);
  } catch (error) {
    onTrouble(`cannot show the status on ${path}: ${reasonOf(error)}`);
    return undefined;
  }
  const isScreen = /^\/dev\/tty\d+$/.test(path);
  return new View(handle, board, clock, isScreen ? drawScreen : drawLine);
}

type Draw = (status: Status, lines: readonly string[], addresses: readonly string[]) => string;

class View implements AsyncDisposable {
  readonly #handle: FileHandle;
  readonly #board: StatusBoard;
  readonly #draw: Draw;
  readonly #subscription: Disposable;
  readonly #clock: Clock;
  #timer: Timer | undefined;
  #shown = '';
  #drawing: Promise<void> = Promise.resolve();

  constructor(handle: FileHandle, board: StatusBoard, clock: Clock, draw: Draw) {
    this.#clock = clock;
    this.#handle = handle;
    this.#board = board;
    this.#draw = draw;
    this.#subscription = board.subscribe(() => this.#plan());
    this.#plan();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#subscription[Symbol.dispose]();
    if (this.#timer !== undefined) {
      this.#timer[Symbol.dispose]();
      this.#show();
    }
    await this.#drawing;
    await this.#handle.close();
  }

  #plan(): void {
    this.#timer ??= this.#clock.schedule(minUpdateSeconds, () => this.#show());
  }

  #show(): void {
    this.#timer = undefined;
    const text = this.#draw(this.#board.current(), this.#board.lastLines(), addresses());
    if (text === this.#shown) return;
    this.#shown = text;
    // A console that is full (EAGAIN) or gone gets the next update, if it can.
    this.#drawing = this.#drawing
      .then(() => this.#handle.write(text))
      .then(
        () => {},
        () => {},
      );
  }
}

/** Addresses of this machine, without loopback and link-local ones. */
function addresses(): string[] {
  return Object.entries(networkInterfaces()).flatMap(([name, list = []]) =>
    list
      .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
      .map(({ address }) => `${name} ${address}`),
  );
}

/**
 * The full-screen view. `ESC [H` moves to the corner, `ESC [K` and `ESC [J` clear to the end of
 * line and screen.
 */
export function drawScreen(status: Status, lines: readonly string[], own: readonly string[]): string {
  const error = status.lastErrors.at(-1);
  const head = [
    `nibs ${status.version} on ${status.machine} (${status.hostName})`,
    '',
    `addresses  ${own.join(', ') || 'none'}`,
    `server     ${status.server ?? 'none'}${status.dialect === undefined ? '' : ` (dialect ${status.dialect})`}`,
    `workflow   ${status.workflow ?? '-'}`,
    `action     ${actionLine(status)}${progressOf(status)}`,
    `last       ${lastLine(status)}`,
    `error      ${error === undefined ? '-' : `${error.at.slice(11, 19)} ${error.message}`}`,
    '',
  ];
  const room = rows - 1 - head.length;
  const all = [...head, ...lines.slice(-room)];
  return `\u001b[H${all.map((line) => `${fit(line)}\u001b[K\r\n`).join('')}\u001b[J`;
}

/** One line a step; progress would fill the log of a serial console. */
function drawLine(status: Status): string {
  const last = status.action === undefined && status.lastAction !== undefined ? `; last: ${lastLine(status)}` : '';
  return `${printable(`nibs ${status.machine}: ${actionLine(status)}${last}`)}\r\n`;
}

function actionLine({ state, reason, action }: Status): string {
  if (action !== undefined) return `${action.name}: ${action.phase} since ${action.startedAt.slice(11, 19)} UTC`;
  if (state === 'connecting') return 'waiting for the server';
  return state === 'idle' ? `idle: ${reason ?? ''}` : 'none';
}

function progressOf({ action }: Status): string {
  const { doneBytes = 0, totalBytes = 0 } = action?.progress ?? {};
  if (totalBytes === 0) return '';
  return `, ${Math.floor((100 * doneBytes) / totalBytes)} % of ${(totalBytes / 1e6).toFixed(1)} MB`;
}

function lastLine({ lastAction }: Status): string {
  if (lastAction === undefined) return '-';
  return `${lastAction.name}: ${lastAction.verdict} after ${lastAction.seconds.toFixed(1)} s`;
}

/** Three dots: the font of a PC's text console has no ellipsis. */
function fit(text: string): string {
  const characters = Array.from(printable(text));
  return characters.length < columns ? characters.join('') : `${characters.slice(0, columns - 4).join('')}...`;
}
