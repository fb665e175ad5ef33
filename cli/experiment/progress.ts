import { duration } from '../quantity.ts';

interface RunningTraining {
  /** Of all its epochs, and what had been done of them when it went on; null where that is not known yet. */
  done: number | null;
  from: number | null;
  text: string;
  readonly since: number;
}

/** Shows how far an experiment is: a line for each training that begins or ends, and one for all that is going on. */
export class WholeProgress {
  /** Names of running trainings with the share that is done and the last line that they said. */
  private readonly running = new Map<string, RunningTraining>();
  private shownAt = Number.NEGATIVE_INFINITY;
  private drawn = false;
  /** Expected time of the trainings that this process has done, in ms. */
  private doneTime = 0;

  /**
   * @param expected how long each training is expected to take, in ms, those that are done left out
   * @param total how many trainings the experiment has, `before` of them done
   */
  constructor(
    private readonly stream: NodeJS.WriteStream,
    private readonly expected: ReadonlyMap<string, number>,
    private readonly total: number,
    private before: number,
    private readonly jobs: number,
    private readonly started = performance.now(),
  ) {}

  begin(name: string): void {
    this.running.set(name, { done: null, from: null, text: '', since: performance.now() });
    this.print(`${this.before + this.running.size} of ${this.total}  ${name}`);
  }

  /** Takes a line that a training said. */
  line(name: string, text: string): void {
    const run = this.running.get(name);
    if (!run) return;
    run.text = text;
    const epoch = /epoch (\d+)\/(\d+)(?:\D+?(\d+) %)?/.exec(text);
    if (epoch) run.done = (Number(epoch[1]) - 1 + Number(epoch[3] ?? 100) / 100) / Number(epoch[2]);
    // That its training has begun, or goes on, is worth a line.
    if (epoch && run.from === null) {
      run.from = (Number(epoch[1]) - 1) / Number(epoch[2]);
      this.shownAt = Number.NEGATIVE_INFINITY;
    }
    this.show();
  }

  end(name: string, succeeded: boolean): void {
    const run = this.running.get(name)!;
    this.running.delete(name);
    if (succeeded) {
      this.before++;
      this.doneTime += this.expected.get(name) ?? 0;
    }
    this.print(`${succeeded ? 'done' : 'stopped'}  ${name}  ${duration(performance.now() - run.since)}`);
  }

  /** Takes the line of what is going on away. */
  clear(): void {
    if (this.drawn) this.stream.write('\r\x1b[K');
    this.drawn = false;
  }

  print(text: string): void {
    this.clear();
    this.stream.write(`${text}\n`);
  }

  private show(): void {
    const live = this.stream.isTTY === true;
    const now = performance.now();
    if (now - this.shownAt < (live ? 200 : 30_000)) return;
    this.shownAt = now;
    const text = `all ${(100 * this.share()).toFixed(0)} %  ${this.left()}  ${[...this.running].map(([name, { text }]) => `${name}: ${text}`).join('  |  ')}`;
    if (!live) {
      this.print(text);
      return;
    }
    this.stream.write(`\r\x1b[K${text.slice(0, (this.stream.columns ?? 80) - 1)}`);
    this.drawn = true;
  }

  private all(): number {
    return [...this.expected.values()].reduce((a, b) => a + b, 0);
  }

  /** Of the expected time that this process has before it, what is done. */
  private share(): number {
    const running = [...this.running].reduce((sum, [name, { done, from }]) => {
      const share = done === null || from === null ? 0 : (done - from) / Math.max(1e-9, 1 - from);
      return sum + share * (this.expected.get(name) ?? 0);
    }, 0);
    return (this.doneTime + running) / Math.max(1e-9, this.all());
  }

  /** From how long it took so far, once that says something. */
  private left(): string {
    const share = this.share();
    if (share < 0.05) return `about ${duration(this.all() / this.jobs)} in all`;
    const elapsed = performance.now() - this.started;
    return `about ${duration((elapsed * (1 - share)) / share)} left`;
  }
}
