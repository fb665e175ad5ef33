import { printable } from '../diagnostics/printable.ts';
/** Counts of predictions by class; the rows are the truth, the columns what was predicted. */
export interface Confusion {
  readonly classes: number;
  /** `counts[truth][predicted]` */
  readonly counts: number[][];
}

/** How one class fares against all others. Every measure whose denominator is zero is 0. */
export interface ClassMetrics {
  /** TP / (TP + FP) */
  readonly precision: number;
  /** TP / (TP + FN) */
  readonly recall: number;
  /** 2 TP / (2 TP + FP + FN) */
  readonly f1: number;
  /** Matthews correlation, this class against the rest: (TP·TN − FP·FN) / √((TP+FP)(TP+FN)(TN+FP)(TN+FN)) */
  readonly mcc: number;
  /** The images whose truth is this class. */
  readonly support: number;
}

/** What `ddrc eval --json` prints. Accuracy and all measures are fractions, not percents. */
export interface Report {
  readonly images: number;
  /** The fraction of images whose class was predicted; 0 where there are none. */
  readonly accuracy: number;
  /** Plain means over all classes, those without an image included. */
  readonly macro: Omit<ClassMetrics, 'support'>;
  /** The class names in the order of the class indices, which the keys of `classes` need not have: JavaScript puts whole numbers first. */
  readonly names: readonly string[];
  /** The measures by class name. */
  readonly classes: Readonly<Record<string, ClassMetrics>>;
  /** Rows: truth; columns: predicted; in the order of `names`. */
  readonly confusion: number[][];
}

/** An empty confusion matrix for this many classes. */
export function createConfusion(classes: number): Confusion {
  return { classes, counts: Array.from({ length: classes }, () => new Array<number>(classes).fill(0)) };
}

/**
 * Counts one prediction.
 * @throws RangeError where a class is not in 0 … classes-1
 */
export function addPrediction(confusion: Confusion, truth: number, predicted: number): void {
  for (const value of [truth, predicted]) {
    if (!Number.isInteger(value) || value < 0 || value >= confusion.classes)
      throw new RangeError(`class ${value} of ${confusion.classes}`);
  }
  confusion.counts[truth][predicted]++;
}

/**
 * Counts a batch.
 * @param truth the classes [N]
 * @param scores logits or probabilities [N,K], row by row; the prediction is each row's {@link argmax}
 */
export function addScores(confusion: Confusion, truth: ArrayLike<number | bigint>, scores: ArrayLike<number>): void {
  for (let n = 0; n < truth.length; n++) {
    addPrediction(confusion, Number(truth[n]), argmax(scores, n * confusion.classes, confusion.classes));
  }
}

/**
 * The index of the largest of `count` values from `start` on, counted from `start`; of equal ones the first. NaN is never the largest
 * unless it stands first.
 */
export function argmax(values: ArrayLike<number>, start = 0, count = values.length - start): number {
  let best = 0;
  for (let index = 1; index < count; index++) if (values[start + index] > values[start + best]) best = index;
  return best;
}

/** The fraction of predictions that are right: trace / total, 0 where there are none. */
export function accuracy({ counts }: Confusion): number {
  const correct = counts.reduce((sum, row, index) => sum + row[index], 0);
  return ratio(
    correct,
    counts.reduce((sum, row) => sum + total(row), 0),
  );
}

/** One class against the rest; see {@link ClassMetrics}. */
export function classMetrics({ counts }: Confusion, index: number): ClassMetrics {
  const all = counts.reduce((sum, row) => sum + total(row), 0);
  const support = total(counts[index]);
  const predicted = counts.reduce((sum, row) => sum + row[index], 0);
  const tp = counts[index][index];
  const fn = support - tp;
  const fp = predicted - tp;
  const tn = all - tp - fn - fp;
  // Two roots of two counts: the product of all four can pass 2⁵³, and the root of a square is exact.
  const scale = Math.sqrt((tp + fp) * (tp + fn)) * Math.sqrt((tn + fp) * (tn + fn));
  return {
    precision: ratio(tp, predicted),
    recall: ratio(tp, support),
    f1: ratio(2 * tp, 2 * tp + fp + fn),
    mcc: ratio(tp * tn - fp * fn, scale),
    support,
  };
}

/** All measures of a confusion matrix; `classes` are the names in the order of the class indices. */
export function report(confusion: Confusion, classes: readonly string[]): Report {
  const rows = classes.map((_, index) => classMetrics(confusion, index));
  const mean = (key: keyof ClassMetrics) => ratio(total(rows.map((row) => row[key])), rows.length);
  return {
    images: confusion.counts.reduce((sum, row) => sum + total(row), 0),
    accuracy: accuracy(confusion),
    macro: { precision: mean('precision'), recall: mean('recall'), f1: mean('f1'), mcc: mean('mcc') },
    names: [...classes],
    classes: Object.fromEntries(classes.map((name, index) => [name, rows[index]])),
    confusion: confusion.counts.map((row) => [...row]),
  };
}

/** The most classes whose confusion matrix a terminal has room for. */
const widestConfusion = 20;

/**
 * A report as plain text: a line for each class with its measures and, up to {@link widestConfusion} classes, its row of the confusion matrix, a line of
 * macro means, a line with the accuracy.
 */
export function formatReport(result: Report): string {
  const { names } = result;
  const columns = names.length > widestConfusion ? [] : names;
  const measures = ['precision', 'recall', 'f1', 'mcc'] as const;
  const header = ['class', ...measures, 'images', ...columns.map((name) => `→ ${printable(name)}`)];
  const lines = names.map((name, index) => {
    const row = result.classes[name];
    const counts = columns.map((_, column) => String(result.confusion[index][column]));
    return [printable(name), ...measures.map((key) => row[key].toFixed(3)), String(row.support), ...counts];
  });
  lines.push(['macro mean', ...measures.map((key) => result.macro[key].toFixed(3)), String(result.images)]);
  const table = [header, ...lines];
  const widths = header.map((_, column) => Math.max(...table.map((cells) => cells[column]?.length ?? 0)));
  const text = table.map((cells) =>
    cells
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column])))
      .join('  ')
      .trimEnd(),
  );
  const correct = result.confusion.reduce((sum, row, index) => sum + row[index], 0);
  if (columns.length < names.length)
    text.push(`the confusion matrix of ${names.length} classes is in --json and in metrics.jsonl`);
  text.push(`accuracy ${(100 * result.accuracy).toFixed(1)} % (${correct} of ${result.images})`);
  return text.join('\n');
}

function ratio(numerator: number, denominator: number): number {
  return denominator === 0 ? 0 : numerator / denominator;
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
