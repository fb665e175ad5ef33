import type { EpochLine, TrainingUpdate } from './trainer.ts';

/** Where progress is shown: `process.stderr`, or what a test gives. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  /** Width of the terminal in characters. */
  readonly columns?: number;
  write(text: string): unknown;
}

/** Shows how far a training or another long job is. */
export interface ProgressDisplay {
  /** Takes what `train` tells; shown at most ten times a second on a terminal, every ten seconds elsewhere. */
  update(update: TrainingUpdate): void;
  /** Takes a count of another job, such as decoding images. */
  count(what: string, done: number, total: number): void;
  /** Prints the line of an epoch that is done. */
  epoch(line: EpochLine, epochs: number): void;
  /** Prints a line of text above the bar. */
  print(text: string): void;
  /** Takes the bar away. */
  end(): void;
}

const redrawEvery = 100;
const lineEvery = 10_000;
/** Which share of a new rate the shown rate takes, for each second that passed. */
const smoothing = 0.3;

/**
 * A bar in one line that is redrawn where the stream is a terminal, plain lines elsewhere.
 * @param now the time in ms; default `performance.now`
 */
export function createProgress(stream: ProgressStream, now: () => number = () => performance.now()): ProgressDisplay {
  const live = stream.isTTY === true;
  let drawn = false;
  let shownAt = Number.NEGATIVE_INFINITY;
  let first: { time: number; share: number } | null = null;
  let last: { key: string; time: number; done: number } | null = null;
  let rate: number | null = null;

  const clear = () => {
    if (drawn) stream.write('\r\x1b[K');
    drawn = false;
  };
  const print = (text: string) => {
    clear();
    stream.write(`${text}\n`);
  };
  /** `parts` by falling importance, each with its place in the line. */
  const show = (parts: readonly Part[], share: number, complete: boolean) => {
    const time = now();
    if (time - shownAt < (live ? redrawEvery : lineEvery) && !(complete && live)) return;
    shownAt = time;
    if (!live) {
      print(inOrder(parts).join('  '));
      return;
    }
    // A line as long as the terminal would wrap in some of them.
    stream.write(`\r\x1b[K${barLine(parts, share, (stream.columns ?? 80) - 1)}`);
    drawn = true;
  };
  /** Examples in a second, smoothed, of the phase called `key`; null where nothing is known yet. */
  const speed = (key: string, done: number) => {
    const time = now();
    if (last === null || last.key !== key || done < last.done) {
      rate = null;
      last = { key, time, done };
    } else if (time > last.time && done > last.done) {
      const seconds = (time - last.time) / 1000;
      const current = (done - last.done) / seconds;
      const weight = 1 - (1 - smoothing) ** seconds;
      rate = rate === null ? current : rate + weight * (current - rate);
      last = { key, time, done };
    }
    return rate;
  };

  return {
    print,
    end: clear,
    update({ phase, epoch, epochs, done, total, loss, accuracy }) {
      const perSecond = speed(phase, done);
      const share = done / total;
      const passed = phase === 'test' ? epochs : epoch - 1 + (phase === 'train' ? share : 1);
      first ??= { time: now(), share: passed };
      const trained = passed - first.share;
      const left = phase !== 'test' && trained > 0 ? ((now() - first.time) * (epochs - passed)) / trained : null;
      const names = { train: `epoch ${epoch}/${epochs}`, validate: `epoch ${epoch}/${epochs} validation`, test: 'test' };
      const parts: Part[] = [{ order: 0, text: names[phase] }];
      if (!live) parts.push({ order: 1, text: percent(share) });
      if (phase === 'train' && loss !== null) parts.push({ order: 2, text: `loss ${number(loss)}` });
      if (phase === 'train' && accuracy !== null) parts.push({ order: 3, text: `accuracy ${percent(accuracy, 1)}` });
      if (left !== null) parts.push({ order: 5, text: `${duration(left)} left` });
      if (perSecond !== null) parts.push({ order: 4, text: `${number(perSecond)} img/s` });
      show(parts, share, done === total);
    },
    count(what, done, total) {
      show(
        [
          { order: 0, text: what },
          { order: 1, text: `${done}/${total}` },
        ],
        total === 0 ? 1 : done / total,
        done === total,
      );
    },
    epoch({ epoch, train, val, seconds }, epochs) {
      const parts = [`epoch ${epoch}/${epochs}`, `loss ${number(train.loss)}`];
      if (train.accuracy !== undefined) parts.push(`accuracy ${percent(train.accuracy, 1)}`);
      if (val) parts.push(`val loss ${number(val.loss)}`);
      if (val?.accuracy !== undefined) parts.push(`val accuracy ${percent(val.accuracy, 1)}`);
      print([...parts, duration(seconds * 1000)].join('  '));
    },
  };
}

interface Part {
  /** Place in the line, from the left. */
  readonly order: number;
  readonly text: string;
}

/** The line of the bar in at most `width` characters: parts give way from the end of the list, then the bar takes what is left (10 to 30). */
function barLine(parts: readonly Part[], share: number, width: number): string {
  const shown = [...parts];
  const length = () => shown.reduce((sum, { text }) => sum + text.length + 2, -2);
  while (shown.length > 1 && length() > width) shown.pop();
  const room = Math.min(30, width - length() - 2);
  const [head, ...rest] = inOrder(shown);
  const texts = room >= 10 ? [head, bar(share, room), ...rest] : [head, ...rest];
  return texts.join('  ').slice(0, Math.max(0, width));
}

function inOrder(parts: readonly Part[]): string[] {
  return parts.toSorted((a, b) => a.order - b.order).map(({ text }) => text);
}

function bar(share: number, width: number): string {
  const full = Math.round(share * (width - 2));
  return `[${'#'.repeat(full)}${'.'.repeat(width - 2 - full)}]`;
}

/** Three significant digits. */
function number(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function percent(share: number, digits = 0): string {
  return `${(100 * share).toFixed(digits)} %`;
}

/** `45 s`, `3 min 20 s`, `2 h 05 min`. */
export function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(seconds % 60).padStart(2, '0')} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
}
