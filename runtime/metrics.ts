import { printable } from '../diagnostics/printable.ts';
import type { GroupIntervals, Interval } from './metrics/bootstrap.ts';
import { type Calibration, calibration, logLoss } from './metrics/calibration.ts';
import { rocAuc } from './metrics/ranking.ts';
import { argmax, type Scored } from './metrics/scored.ts';

export { argmax };

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
  /** TN / (TN + FP): the recall of all others as such. */
  readonly specificity: number;
  /** 2 TP / (2 TP + FP + FN) */
  readonly f1: number;
  /** Matthews correlation, this class against the rest: (TP·TN − FP·FN) / √((TP+FP)(TP+FN)(TN+FP)(TN+FN)) */
  readonly mcc: number;
  /** Area under the ROC curve, this class against the rest; null where the class has all images or none, or where probabilities are not known. */
  readonly auc: number | null;
  /** The images whose truth is this class. */
  readonly support: number;
}

/** What `ddrc eval --json` prints. Accuracy and all measures are fractions, not percents; scikit-learn's definitions and defaults, with `zero_division=0`. */
export interface Report {
  readonly images: number;
  /** The fraction of images whose class was predicted; 0 where there are none. */
  readonly accuracy: number;
  /** Matthews correlation of all classes together (Gorodkin 2004, R_K); `macro.mcc` is the mean of each class against the rest. */
  readonly mcc: number;
  /** Plain means over the classes that occur as truth or as prediction; of `auc` over the classes that have one, null where none has. */
  readonly macro: Omit<ClassMetrics, 'support'>;
  /** The class names in the order of the class indices, which the keys of `classes` need not have: JavaScript puts whole numbers first. */
  readonly names: readonly string[];
  /** The measures by class name. */
  readonly classes: Readonly<Record<string, ClassMetrics>>;
  /** Rows: truth; columns: predicted; in the order of `names`. */
  readonly confusion: number[][];
  /** Absent where probabilities are not known. */
  readonly calibration?: Calibration;
  /** See {@link logLoss}; absent where probabilities are not known. */
  readonly logLoss?: number;
  /** 95 % intervals by the bootstrap over groups; absent where no group is known. */
  readonly intervals?: GroupIntervals;
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

/** The fraction of predictions that are right: trace / total, 0 where there are none. */
export function accuracy({ counts }: Confusion): number {
  return ratio(total(counts.map((row, index) => row[index])), total(counts.map(total)));
}

/** Matthews correlation of all classes together: (c·n − Σ tₖpₖ) / √((n² − Σ pₖ²)(n² − Σ tₖ²)), c right of n, tₖ of class k, pₖ predicted as k; 0 for 0 / 0. */
export function multiclassMcc({ counts }: Confusion): number {
  const truths = counts.map(total);
  const predictions = counts.map((_, index) => total(counts.map((row) => row[index])));
  const all = total(truths);
  const right = total(counts.map((row, index) => row[index]));
  const product = (a: readonly number[], b: readonly number[]) => total(a.map((value, index) => value * b[index]));
  const scale = Math.sqrt(all * all - product(predictions, predictions)) * Math.sqrt(all * all - product(truths, truths));
  return ratio(right * all - product(truths, predictions), scale);
}

/** One class against the rest, as far as the counts tell; see {@link ClassMetrics}. */
export function classMetrics({ counts }: Confusion, index: number): Omit<ClassMetrics, 'auc'> {
  const all = total(counts.map(total));
  const support = total(counts[index]);
  const predicted = total(counts.map((row) => row[index]));
  const tp = counts[index][index];
  const fn = support - tp;
  const fp = predicted - tp;
  const tn = all - tp - fn - fp;
  // Two roots of two counts: the product of all four can pass 2⁵³, and the root of a square is exact.
  const scale = Math.sqrt((tp + fp) * (tp + fn)) * Math.sqrt((tn + fp) * (tn + fn));
  return {
    precision: ratio(tp, predicted),
    recall: ratio(tp, support),
    specificity: ratio(tn, tn + fp),
    f1: ratio(2 * tp, 2 * tp + fp + fn),
    mcc: ratio(tp * tn - fp * fn, scale),
    support,
  };
}

/**
 * All measures of a classification.
 * @param classes the names in the order of the class indices
 * @param scored the examples that were counted, where their probabilities are known
 */
export function report(confusion: Confusion, classes: readonly string[], scored: Scored | null = null): Report {
  const rows = classes.map((_, index) => ({ ...classMetrics(confusion, index), auc: scored && rocAuc(scored, index) }));
  const occurring = rows.filter(({ support }, index) => support + total(confusion.counts.map((row) => row[index])) > 0);
  const mean = (key: keyof Omit<ClassMetrics, 'auc'>) => ratio(total(occurring.map((row) => row[key])), occurring.length);
  const aucs = rows.map(({ auc }) => auc).filter((auc) => auc !== null);
  return {
    images: total(confusion.counts.map(total)),
    accuracy: accuracy(confusion),
    mcc: multiclassMcc(confusion),
    macro: {
      precision: mean('precision'),
      recall: mean('recall'),
      specificity: mean('specificity'),
      f1: mean('f1'),
      mcc: mean('mcc'),
      auc: aucs.length === 0 ? null : total(aucs) / aucs.length,
    },
    names: [...classes],
    classes: Object.fromEntries(classes.map((name, index) => [name, rows[index]])),
    confusion: confusion.counts.map((row) => [...row]),
    ...(scored && { calibration: calibration(scored), logLoss: logLoss(scored) }),
  };
}

/** The widest confusion matrix that is printed, in characters. */
const widestConfusion = 100;

/**
 * A report as plain text: a line for each class with its measures, a line of macro means; the confusion matrix, where it is not wider than
 * {@link widestConfusion}; what is said of all classes together, accuracy first. A measure that is not known, as in the report of an older version, is a dash.
 */
export function formatReport(result: Report): string {
  const { names } = result;
  const measures = ['precision', 'recall', 'specificity', 'f1', 'mcc', 'auc'] as const;
  const row = (name: string, of: Report['macro'], images: number) => [
    name,
    ...measures.map((key) => of[key]?.toFixed(3) ?? '-'),
    String(images),
  ];
  const table = aligned([
    ['class', ...measures, 'images'],
    ...names.map((name) => row(name, result.classes[name], result.classes[name].support)),
    row('macro mean', result.macro, result.images),
  ]);
  const confusion = aligned([
    ['truth \\ predicted', ...names],
    ...names.map((name, index) => [name, ...result.confusion[index].map(String)]),
  ]);
  const left = `the confusion matrix of ${names.length} classes is in --json and in metrics.jsonl`;
  const shown = confusion[0].length > widestConfusion ? [left] : confusion;
  return [...table, '', ...shown, '', ...overall(result)].join('\n');
}

/** What is said of all classes together, a line each. */
function overall({ images, accuracy, mcc, confusion, calibration, logLoss, intervals }: Report): string[] {
  const right = total(confusion.map((row, index) => row[index]));
  const lines = [`accuracy ${(100 * accuracy).toFixed(1)} % (${right} of ${images})`];
  if (intervals) {
    const { groups, level } = intervals;
    const between = ({ low, high }: Interval, show: (value: number) => string) => `${show(low)} to ${show(high)}`;
    const percent = between(intervals.accuracy, (value) => (100 * value).toFixed(1));
    const f1 = between(intervals.macroF1, (value) => value.toFixed(3));
    lines.push(`${100 * level} % interval by bootstrap over ${groups} groups: accuracy ${percent} %, macro F1 ${f1}`);
  }
  if (calibration && logLoss !== undefined)
    lines.push(
      `calibration error (ECE) ${calibration.ece.toFixed(3)}, log loss ${logLoss.toFixed(3)}, MCC of all classes ${mcc.toFixed(3)}`,
    );
  return lines;
}

/** The lines of a table whose first column begins, and whose others end, at the same place. The first row is the head. */
function aligned(rows: readonly (readonly string[])[]): string[] {
  const cells = rows.map((row) => row.map(printable));
  const widths = cells[0].map((_, column) => Math.max(...cells.map((row) => row[column].length)));
  return cells.map((row) =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))).join('  '),
  );
}

function ratio(numerator: number, denominator: number): number {
  return denominator === 0 ? 0 : numerator / denominator;
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
