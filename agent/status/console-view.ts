import { constants } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { stripVTControlCharacters } from 'node:util';
import type { Clock, Timer } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';
import type { Status, StatusBoard } from './board.ts';

/** What the smallest text console has room for; nothing is lost on a larger one. */
const columns = 80;
const rows = 24;

/** Output of a busy action is no reason to draw more often. */
const shortestPauseSeconds = 0.25;

const kernelConsoles = '/sys/class/tty/console/active';

export interface ConsoleViewOptions {
  /** `auto`: every console that the kernel writes to; else the path of one. */
  readonly console: string;
  readonly board: StatusBoard;
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /** Told once if a console cannot be written to. */
  onTrouble(message: string): void;
  /** Where the kernel lists its consoles; for tests. */
  readonly kernelConsoles?: string;
}

/**
 * Shows on the consoles of the machine who it is and what it does: on a screen (`/dev/tty1`) a picture that is drawn again when something changes, on
 * any other console (serial lines) a line for each step. Never fails, and never waits for a console: what a slow one has no time for is left out.
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
  // tty0 is whichever screen is in front; a picture belongs to one.
  return names.map((name) => `/dev/${name === 'tty0' ? 'tty1' : name}`);
}

async function openView(
  path: string,
  { board, onTrouble, clock = systemClock }: ConsoleViewOptions,
): Promise<AsyncDisposable | undefined> {
  let handle: FileHandle;
  try {
    // Not the agent's own terminal, and no waiting for one that is halted.
    handle = await open(path, constants.O_WRONLY | constants.O_NOCTTY | constants.O_NONBLOCK | constants.O_APPEND);
  } catch (error) {
    onTrouble(`cannot show anything on ${path}: ${(error as Error).message}`);
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
    this.#timer ??= this.#clock.schedule(shortestPauseSeconds, () => this.#show());
  }

  #show(): void {
    this.#timer = undefined;
    const text = this.#draw(this.#board.current(), this.#board.lastLines(), addresses());
    if (text === this.#shown) return;
    this.#shown = text;
    // A console that is full (EAGAIN) or gone gets the next picture, if it can.
    this.#drawing = this.#drawing
      .then(() => this.#handle.write(text))
      .then(
        () => {},
        () => {},
      );
  }
}

/** Of this machine, without those of no use to anybody else. */
function addresses(): string[] {
  return Object.entries(networkInterfaces()).flatMap(([name, list = []]) =>
    list
      .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
      .map(({ address }) => `${name} ${address}`),
  );
}

/** The whole screen: `ESC [H` goes to its corner, `ESC [K` and `ESC [J` clear the rest of a line and of the screen. */
export function drawScreen(status: Status, lines: readonly string[], own: readonly string[]): string {
  const error = status.lastErrors.at(-1);
  const picture = [
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
  const room = rows - 1 - picture.length;
  const all = [...picture, ...lines.slice(-room)];
  return `\u001b[H${all.map((line) => `${fit(line)}\u001b[K\r\n`).join('')}\u001b[J`;
}

/** One line, which changes when a step does; progress would fill a serial console's log. */
function drawLine(status: Status): string {
  const last = status.action === undefined && status.lastAction !== undefined ? `; last: ${lastLine(status)}` : '';
  return `${printable(`nibs ${status.machine}: ${actionLine(status)}${last}`)}\r\n`;
}

function actionLine({ state, reason, action }: Status): string {
  if (action !== undefined) return `${action.name}: ${action.phase} since ${action.startedAt.slice(11, 19)} UTC`;
  if (state === 'connecting') return 'waiting for the server to answer';
  return state === 'idle' ? `none: ${reason ?? ''}` : 'none at the moment';
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

function printable(text: string): string {
  return stripVTControlCharacters(text).replace(/\p{Cc}+/gu, ' ');
}

/** Three dots: the font of a PC's text console has no ellipsis. */
function fit(text: string): string {
  const characters = Array.from(printable(text));
  return characters.length < columns ? characters.join('') : `${characters.slice(0, columns - 4).join('')}...`;
}
