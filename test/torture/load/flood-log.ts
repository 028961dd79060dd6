/** Checks the output of an action by the log of the agent. */
import type { Readable } from 'node:stream';

/** What an action prints, and how to know that it is that. */
export interface Flood {
  readonly script: string;
  /** What the script prints, without line ends. */
  readonly outputBytes: number;
  /** Takes each line of the output. False: it is none, or not the one that has to come. */
  readonly onLine: (line: string) => boolean;
}

/** A line of the log on the action: `12:34:56 INFO  [loud] message`. */
const ofAction = '[loud] ';
const at = '12:34:56 INFO  '.length;
/** The agent's own lines on an action. */
const maxOthers = 20;

/** Reads the log of an agent that runs the action `loud`. */
export class FloodLog {
  /** Called with the number of bytes of the output so far, for each chunk. */
  onBytes: (bytes: number) => void = () => {};
  outputBytes = 0;
  /** Lines on the action that are neither its output nor among the agent's own. */
  strangeLines = 0;
  /** The first lines on the action that are not its output. */
  readonly others: string[] = [];
  readonly #flood: Flood;

  constructor(flood: Flood) {
    this.#flood = flood;
  }

  async read(stdout: Readable): Promise<void> {
    stdout.setEncoding('latin1');
    let rest = '';
    for await (const chunk of stdout) {
      const text = rest + chunk;
      let begin = 0;
      for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', begin)) {
        if (text.startsWith(ofAction, begin + at)) this.#take(text.slice(begin + at + ofAction.length, end));
        else if (/ (WARN|ERROR) /.test(text.slice(begin + 8, begin + at))) this.#other(text.slice(begin, end));
        begin = end + 1;
      }
      rest = text.slice(begin);
      this.onBytes(this.outputBytes);
    }
  }

  violations(): readonly string[] {
    const { outputBytes } = this.#flood;
    return [
      ...(this.outputBytes === outputBytes ? [] : [`${this.outputBytes} bytes of ${outputBytes} have arrived`]),
      ...(this.strangeLines === 0
        ? []
        : [`${this.strangeLines} lines are not those expected: ${this.others.join('; ')}`]),
    ];
  }

  #take(line: string): void {
    if (this.#flood.onLine(line)) this.outputBytes += line.length;
    else this.#other(line);
  }

  /** The agent's own lines begin with a word; those of the output with a digit. */
  #other(line: string): void {
    if (this.others.length < maxOthers) this.others.push(line.slice(0, 200));
    if (!/^(the |action: )/.test(line) && !/^(pulling |image pulled)/.test(line)) this.strangeLines += 1;
  }
}
